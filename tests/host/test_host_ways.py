"""Several ways out, of which one leads to the server: routes of a network namespace."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

ROOT = Path(__file__).parents[2]
LISTEN = (
    "import socket, time\n"
    "listening = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('there', flush=True)\n"
    "time.sleep(600)\n"
)
NODE, FAR = f"wn{os.getpid()}", f"wf{os.getpid()}"
SERVERS = {4: "10.0.2.2", 6: "fd00:2::2"}
# By version: the node's own address on each interface, and its gateway there.
PLACES = {
    4: {"dead": ("10.9.0.2", "10.9.0.1"), "good": ("10.50.0.2", "10.50.0.1")},
    6: {"dead": ("fd00:9::2", "fd00:9::1"), "good": ("fd00:50::2", "fd00:50::1")},
}


def command(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def in_node(*words):
    return command("ip", "netns", "exec", NODE, *words)


@pytest.fixture(scope="module", autouse=True)
def node():
    """A node with two interfaces; beyond one is its server, beyond the other nobody answers."""
    with ExitStack() as stack:
        for name in (NODE, FAR):
            command("ip", "netns", "add", name)
            stack.callback(command, "ip", "netns", "delete", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        for interface in ("dead", "good"):
            command(
                *("ip", "-n", NODE, "link", "add", interface, "type", "veth"),
                *("peer", "name", interface, "netns", FAR),
            )
            for name in (NODE, FAR):
                command("ip", "-n", name, "link", "set", interface, "up")
            for version, places in PLACES.items():
                own, gateway = places[interface]
                length = 24 if version == 4 else 64
                nodad = ["nodad"] if version == 6 else []
                command("ip", "-n", NODE, "address", "add", f"{own}/{length}", "dev", interface, *nodad)
                if interface == "good":
                    command("ip", "-n", FAR, "address", "add", f"{gateway}/{length}", "dev", "good", *nodad)
        for server, length in ((SERVERS[4], 32), (SERVERS[6], 128)):
            command("ip", "-n", FAR, "address", "add", f"{server}/{length}", "dev", "lo")
        line = ["ip", "netns", "exec", FAR, sys.executable, "-c", LISTEN]
        listening = subprocess.Popen(line, stdout=subprocess.PIPE)
        stack.callback(listening.wait)
        stack.callback(listening.kill)
        listening.stdout.readline()
        yield


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request):
    """Default routes of equal rank by both interfaces, as DHCP and routers make them; the dead one first."""
    ip = ("ip", f"-{request.param}", "-n", NODE, "route")
    for interface in ("dead", "good"):
        via = PLACES[request.param][interface][1]
        command(*ip, "append", "default", "via", via, "dev", interface, "metric", "1024")
    yield request.param
    while command(*ip, "show", "default"):
        command(*ip, "delete", "default")


def way_out(host, port=8080):
    return json.loads(in_node(sys.executable, "-m", "tests.host.way_out", host, str(port)))


def test_the_way_by_which_the_server_answers_is_preferred(version):
    own, gateway = PLACES[version]["good"]
    found = way_out(SERVERS[version])
    assert found["choice"]
    assert found["ways"][0]["interface"] == "good"
    assert (found["ways"][0]["address"], found["ways"][0]["gateway"]) == (own, gateway)
    assert found["own"] == own
    for event, data in found["heard"]:
        assert (event, data["interface"]) == ("network.dead_end", "dead")
        assert data["goal"] == f"{SERVERS[version]} port 8080"
    # Whatever the kernel makes of ways of equal rank: no other connection takes the dead one.
    for port in range(40000, 40008):
        words = (
            "ip",
            "-j",
            f"-{version}",
            "route",
            "get",
            SERVERS[version],
            "dport",
            "1",
            "sport",
            str(port),
        )
        (route,) = json.loads(in_node(*words, "ipproto", "tcp"))
        assert route["dev"] == "good"


def test_the_dead_way_is_named(version):
    # The better rank is the dead one's.
    via = PLACES[version]["dead"][1]
    in_node("ip", f"-{version}", "route", "add", "default", "via", via, "dev", "dead", "metric", "10")
    found = way_out(SERVERS[version])
    named = [(event, data["gateway"]) for event, data in found["heard"]]
    # Of IPv6 routers the kernel itself passes over one that is silent, sooner or later.
    assert named == [("network.dead_end", via)] or (version == 6 and not named)
    assert found["ways"][0]["interface"] == "good"


def test_a_server_that_is_away_changes_nothing(version):
    routes = in_node("ip", f"-{version}", "route", "show", "default")
    found = way_out(SERVERS[version], 8081)
    assert in_node("ip", f"-{version}", "route", "show", "default") == routes
    assert {data["interface"] for _, data in found["heard"]} == {"dead", "good"}
    assert found["own"] == ""
