"""The packet filter for slivers between two networks of the node, with packets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.host.sliver_network import HEAR, NODE_A, NODE_B, OUTSIDE_A, OUTSIDE_B, SERVE, Site, joined, member

pytestmark = pytest.mark.host

ECHO = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
client.settimeout(3)
# An echo request with the identifier 7, and its checksum.
client.sendto(bytes([8, 0, 0xF7, 0xF8, 0, 7, 0, 0]), (sys.argv[1], 0))
while client.recv(100)[20:22] != bytes([0, 0]):
    pass
print("answered")
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with joined() as made:
        yield made


def test_a_node_with_slivers_is_no_router_between_its_networks(site: Site) -> None:
    with site.a.running(SERVE, 80), site.b.running(SERVE, 80):
        # It would be one.
        assert site.a.ask(OUTSIDE_B, 80).startswith(f"{OUTSIDE_A} ")
        site.rules([member("one", 1)])
        assert site.a.ask(OUTSIDE_B, 80) == "TimeoutError"
        assert site.b.ask(OUTSIDE_A, 80) == "TimeoutError"
        assert "packets 0" not in site.node.run("nft", "list", "counter", "inet", "slivers", "dropped_routed")
        # Slivers get out into both, with the node's address there.
        assert site.slivers[0].ask(OUTSIDE_A, 80).startswith(f"{NODE_A} ")
        assert site.slivers[0].ask(OUTSIDE_B, 80).startswith(f"{NODE_B} ")


def test_a_published_port_is_reached_from_each_network(site: Site) -> None:
    site.rules([member("one", 1, "tcp:8080:80")])
    with site.slivers[0].running(SERVE, 80):
        assert site.a.ask(NODE_A, 8080).startswith(f"{OUTSIDE_A} ")
        assert site.b.ask(NODE_B, 8080).startswith(f"{OUTSIDE_B} ")


# --- ports of those who go out ---


def seen(site: Site, number: int, own: int, kind: str = "tcp") -> int:
    """From which port of the node a sliver is seen outside that sends from that port of its own."""
    address, port = site.slivers[number - 1].ask(OUTSIDE_A, 7000, own=own, kind=kind).split()
    assert address == NODE_A
    return int(port)


def test_a_sliver_takes_no_port_of_the_node_or_of_another_sliver(site: Site) -> None:
    site.rules([member("one", 1), member("two", 2, "tcp:8080:80", "tcp:50000:81")])
    with site.a.running(SERVE, 7000):
        for own in (22, 8080, 40_000, 50_000):
            assert 32768 <= seen(site, 1, own) < 50_000
    with site.a.running(HEAR, 7000):
        assert 32768 <= seen(site, 1, 68, "udp") < 50_000


def test_what_comes_to_the_nodes_own_port_does_not_come_to_a_sliver_that_used_that(site: Site) -> None:
    site.rules([member("one", 1)])
    with site.a.running(HEAR, 7000):
        seen(site, 1, 68, "udp")
    with site.node.running(HEAR, 68):
        assert site.a.ask(NODE_A, 68, own=7000, kind="udp") == f"{OUTSIDE_A} 7000"


def test_who_sends_from_a_published_port_is_seen_at_it(site: Site) -> None:
    site.rules([member("one", 1), member("two", 2, "tcp:8080:80", "tcp:8081:80", "udp:53:5353")])
    with site.a.running(SERVE, 7000):
        assert seen(site, 2, 80) == 8080
        assert seen(site, 1, 80) >= 32768
    with site.a.running(HEAR, 7000):
        assert seen(site, 2, 5353, "udp") == 53


def test_two_slivers_with_one_port_reach_one_place(site: Site) -> None:
    site.rules([member("one", 1), member("two", 2)])
    with site.a.running(HEAR, 7000):
        assert len({seen(site, number, 9999, "udp") for number in (1, 2)}) == 2


def test_an_echo_is_answered(site: Site) -> None:
    site.rules([member("one", 1)])
    assert site.slivers[0].run(sys.executable, "-c", ECHO, OUTSIDE_B) == "answered\n"
