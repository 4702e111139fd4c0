"""Slivers' network under load: who may send what to whom, and what competitors really get of a link."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from configmanager.backends.base import Node, Verb
from configmanager.backends.network import BandwidthGiven, Network
from configmanager.backends.network_settings import FILE
from configmanager.slots import FILE as SLOTS
from configmanager.slots import Slot
from host.events import Event
from host.run import Runner
from tests.guest.limited import Space, command, converge, linked, sliver, wanted

NODE, OUTSIDE, EXEMPT = "203.0.113.1", "203.0.113.2", "198.51.100.2"
SETTINGS = Path("/", FILE)
SECONDS = 8.0
MBIT = 1_000_000


@dataclass(frozen=True)
class Site:
    """Two slivers' networks, one beyond the node's link `up0`, and the backend."""

    network: Network
    a: Space
    b: Space
    outside: Space

    def settle(self, a: dict[str, object] | None = None, b: dict[str, object] | None = None) -> None:
        converge(self.network, wanted(sliver("net_a", 1, **(a or {})), sliver("net_b", 2, **(b or {}))))


@pytest.fixture
def site(bare: Node) -> Iterator[Site]:
    network, outside = Network(bare), Space("outside")
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwarding.read_text()
    with ExitStack() as stack:
        command("ip", "netns", "add", outside.name)
        stack.callback(command, "ip", "netns", "delete", outside.name)
        command("ip", "link", "add", "up0", "type", "veth", "peer", "name", "net0", "netns", outside.name)
        stack.callback(command, "ip", "link", "delete", "up0")
        command("ip", "address", "add", f"{NODE}/24", "dev", "up0")
        command("ip", "link", "set", "up0", "up")
        outside.run("ip", "address", "add", f"{OUTSIDE}/24", "dev", "net0")
        outside.run("ip", "address", "add", f"{EXEMPT}/32", "dev", "net0")
        outside.run("ip", "link", "set", "net0", "up")
        outside.run("ip", "link", "set", "lo", "up")
        # The way that goes straight to slivers' addresses, past all published ports.
        outside.run("ip", "route", "add", "100.64.0.0/16", "via", NODE)
        # The link counts as one to the outside by a default route, which the guest's own goes before.
        command("ip", "route", "add", "default", "via", OUTSIDE, "dev", "up0", "metric", "9000")
        command("ip", "route", "add", EXEMPT, "via", OUTSIDE)
        a, b = (stack.enter_context(linked(Slot(number))) for number in (1, 2))
        forwarding.write_text("1")
        stack.callback(forwarding.write_text, before)
        try:
            yield Site(network, a, b, outside)
        finally:
            converge(network, wanted())
            Path("/", SLOTS).unlink(missing_ok=True)
            SETTINGS.unlink(missing_ok=True)


SERVE = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"{sys.argv[2]} {peer[0]}".encode())
    connection.close()
"""
ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as connection:
        print(connection.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def ask(space: Space, address: object, port: int) -> str:
    return space.python(ASK, address, port).strip()


def counter(name: str, what: str = "packets") -> int:
    listed = json.loads(command("nft", "--json", "list", "counters", "table", "inet", "slivers"))["nftables"]
    return next(each["counter"][what] for each in listed if each.get("counter", {}).get("name") == name)


def test_a_published_port_leads_to_its_owner_and_nothing_else_does(site: Site) -> None:
    site.settle({"ports": "tcp:8080:80"})
    with site.a.running(SERVE, 80, "a") as a, site.b.running(SERVE, 8080, "b") as b:
        assert a.stdout.readline() == b.stdout.readline() == "up\n"
        assert ask(site.outside, NODE, 8080) == f"a {OUTSIDE}"
        # Another sliver reaches it as everybody does, and has no use of the number for itself.
        assert ask(site.b, NODE, 8080) == f"a {Slot(2).address}"
        assert command("python3", "-c", ASK, NODE, 8080).strip() == f"a {NODE}"
        assert command("python3", "-c", ASK, "127.0.0.1", 8080).strip() == "ConnectionRefusedError"
        before = counter("dropped_isolated")
        assert ask(site.b, Slot(1).address, 80) == "TimeoutError"
        assert ask(site.outside, Slot(1).address, 80) == "TimeoutError"
        assert ask(site.outside, Slot(2).address, 8080) == "TimeoutError"
        assert counter("dropped_isolated") > before
        # To the other one, if that is what the server says.
        site.settle({}, {"ports": "tcp:8080:8080"})
        assert ask(site.outside, NODE, 8080) == f"b {OUTSIDE}"


def test_slivers_reach_the_outside_with_the_nodes_address_and_not_the_node(site: Site) -> None:
    site.settle()
    with site.outside.running(SERVE, 80, "outside") as outside:
        assert outside.stdout.readline() == "up\n"
        assert ask(site.a, OUTSIDE, 80) == f"outside {NODE}"
    before = counter("dropped_to_node")
    assert ask(site.a, Slot(1).gateway, 22) == "TimeoutError"
    assert ask(site.a, NODE, 22) == "TimeoutError"
    assert counter("dropped_to_node") > before
    assert "Success" not in site.a.python(ASK, "::1", 22)
    # The node reaches its slivers.
    with site.a.running(SERVE, 80, "a") as a:
        assert a.stdout.readline() == "up\n"
        assert command("python3", "-c", ASK, Slot(1).address, 80).strip() == f"a {Slot(1).gateway}"


SPOOF = """
import socket, struct, sys
source, target = (socket.inet_aton(each) for each in sys.argv[1:3])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
datagram = struct.pack("!HHHH", 4000, 9999, 8 + 5, 0) + b"spoof"
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 7, 0, 64, 17, 0, source, target)
for _ in range(5):
    raw.sendto(header + datagram, (sys.argv[2], 0))
"""
LISTEN = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 9999))
server.settimeout(float(sys.argv[1]))
print("up", flush=True)
try:
    print(server.recvfrom(100)[1][0], flush=True)
except TimeoutError:
    print("nothing", flush=True)
"""


@pytest.mark.parametrize(
    ("source", "heard"),
    [(str(Slot(1).address), NODE), (str(Slot(2).address), "nothing"), ("203.0.113.77", "nothing")],
)
def test_a_raw_socket_sends_only_with_the_slivers_own_address(site: Site, source: str, heard: str) -> None:
    site.settle()
    with site.outside.running(LISTEN, 3) as listener:
        assert listener.stdout.readline() == "up\n"
        before = counter("dropped_spoofed")
        site.a.python(SPOOF, source, OUTSIDE)
        assert listener.stdout.readline() == f"{heard}\n"
        assert counter("dropped_spoofed") - before == (0 if heard == NODE else 5)


SIX = """
import socket
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.sendto(b"x", ("ff02::1", 9999, 0, socket.if_nametoindex("host0")))
"""


def test_nothing_but_version_4_gets_through(site: Site) -> None:
    site.settle()
    before = counter("dropped_not_ipv4")
    site.a.run("ip", "address", "add", "fe80::77/64", "dev", "host0", "nodad")
    site.a.python(SIX)
    assert counter("dropped_not_ipv4") > before


ARP = """
import socket, struct, sys
own, claimed, asked = (socket.inet_aton(each) for each in sys.argv[1:4])
mac = bytes.fromhex(open("/sys/class/net/host0/address").read().replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x806))
raw.bind(("host0", 0x806))
body = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, claimed, bytes(6), asked)
raw.settimeout(2)
raw.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + body)
try:
    while True:
        frame = raw.recv(2000)
        if frame[20:22] == b"\\x00\\x02":
            print("answered")
            break
except TimeoutError:
    print("no answer")
"""


def test_arp_is_answered_for_the_slivers_own_address_only(site: Site) -> None:
    site.settle()
    gateway = Slot(1).gateway
    assert site.a.python(ARP, Slot(1).address, Slot(1).address, gateway) == "answered\n"
    assert site.a.python(ARP, Slot(1).address, Slot(2).address, gateway) == "no answer\n"
    assert str(Slot(2).address) not in command("ip", "neighbour", "show", "dev", "sliver1")


SNIFF = """
import socket, sys, time
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
raw.settimeout(0.5)
print("up", flush=True)
end = time.monotonic() + float(sys.argv[1])
seen = 0
while time.monotonic() < end:
    try:
        seen += b"precious" in raw.recv(70000)
    except TimeoutError:
        pass
print(seen, flush=True)
"""


def test_no_sliver_sees_anothers_traffic(site: Site) -> None:
    site.settle({"ports": "tcp:8080:80"})
    with (
        site.a.running(SERVE, 80, "precious") as server,
        site.a.running(SNIFF, 4) as own,
        site.b.running(SNIFF, 4) as other,
    ):
        for process in (server, own, other):
            assert process.stdout.readline() == "up\n"
        assert "precious" in ask(site.outside, NODE, 8080)
        assert int(own.stdout.readline()) > 0
        assert int(other.stdout.readline()) == 0


def test_an_unknown_slivers_interface_passes_nothing(site: Site) -> None:
    converge(site.network, wanted(sliver("net_a")))
    with site.outside.running(SERVE, 80, "outside") as outside:
        assert outside.stdout.readline() == "up\n"
        assert ask(site.b, OUTSIDE, 80) == "TimeoutError"
        assert ask(site.a, OUTSIDE, 80) == f"outside {NODE}"


# --- counting and marking ---


def test_bytes_are_counted_for_each_sliver_and_survive_new_rules(site: Site) -> None:
    site.settle({"ports": "tcp:8080:80"})
    with site.a.running(SERVE, 80, "x" * 50) as server:
        assert server.stdout.readline() == "up\n"
        for _ in range(3):
            ask(site.outside, NODE, 8080)
    sent, received = counter("sent_net_a", "bytes"), counter("received_net_a", "bytes")
    assert sent > 150
    assert received > 150
    assert counter("sent_net_b", "bytes") < sent
    site.settle({"ports": "tcp:8081:80", "net_max": 50 * MBIT})
    assert counter("sent_net_a", "bytes") >= sent
    assert counter("received_net_a", "bytes") >= received
    # Who is gone has no counter, and begins from zero when the name comes again.
    converge(site.network, wanted(sliver("net_b", 2)))
    assert "net_a" not in command("nft", "list", "table", "inet", "slivers")
    site.settle()
    assert counter("sent_net_a", "bytes") == 0


def test_connections_are_marked_with_the_slot(site: Site) -> None:
    site.settle()
    with site.outside.running(LISTEN, 3) as listener:
        assert listener.stdout.readline() == "up\n"
        command(
            "nft", "add table inet probe; add chain inet probe p { type filter hook postrouting priority 5; }"
        )
        command("nft", "add rule inet probe p udp dport 9999 meta mark 1 ct mark 1 counter")
        try:
            site.a.python(SPOOF, Slot(1).address, OUTSIDE)
            assert listener.stdout.readline() == f"{NODE}\n"
            assert "packets 5" in command("nft", "list", "table", "inet", "probe")
        finally:
            command("nft", "delete", "table", "inet", "probe")


# --- bandwidth ---

SINK = """
import socket, sys, threading, time
server = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
connections = [server.accept()[0] for _ in range(int(sys.argv[2]))]
counts = {}
def read(connection):
    name = connection.recv(1).decode()
    counts[name] = 0
    while data := connection.recv(65536):
        counts[name] += len(data)
for connection in connections:
    threading.Thread(target=read, args=(connection,), daemon=True).start()
time.sleep(2)
before = dict(counts)
time.sleep(float(sys.argv[3]))
print(*(8 * (counts[name] - before[name]) / float(sys.argv[3]) for name in sorted(counts)), flush=True)
"""
SEND = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.argv[3].encode())
while True:
    connection.sendall(b"x" * 65536)
"""


def rates(site: Site, *senders: tuple[Space, str]) -> list[float]:
    """Bit/s that arrive from each sender, all sending at once as much as they can."""
    with ExitStack() as stack:
        sink = stack.enter_context(site.outside.running(SINK, 5001, len(senders), SECONDS))
        assert sink.stdout.readline() == "up\n"
        for number, (space, address) in enumerate(senders):
            stack.enter_context(space.running(SEND, address, 5001, "abcdef"[number]))
        return [float(word) for word in sink.stdout.readline().split()]


def test_the_rest_is_divided_by_shares(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {24 * MBIT}\n")
    site.settle({"net_share": 3}, {"net_share": 1})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_share 3:1 of 24 Mbit/s -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s = {a / b:.2f}")
    assert 2.4 < a / b < 3.6
    assert 20 * MBIT < a + b < 25 * MBIT


def test_a_guarantee_comes_before_shares(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {20 * MBIT}\n")
    site.settle({"net_min": 14 * MBIT}, {"net_share": 100})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_min 14 of 20 Mbit/s against net_share 100 -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s")
    assert a > 12.5 * MBIT
    assert b > 3.5 * MBIT


def test_most_holds_for_one_and_the_other_takes_the_rest(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {20 * MBIT}\n")
    site.settle({"net_max": 4 * MBIT}, {})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_max 4 of 20 Mbit/s -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s")
    assert 2.5 * MBIT < a < 4.4 * MBIT
    assert b > 13 * MBIT


def test_exempt_destinations_have_limits_of_their_own(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {8 * MBIT}\nexempt = 198.51.100.0/24\n")
    site.settle({"net2_max": 24 * MBIT}, {"net2_max": 12 * MBIT})
    plain, a, b = rates(site, (site.a, OUTSIDE), (site.a, EXEMPT), (site.b, EXEMPT))
    print(f"rate 8, net2_max 24 and 12 -> {plain / MBIT:.1f}, {a / MBIT:.1f}, {b / MBIT:.1f} Mbit/s")
    assert 6 * MBIT < plain < 8.8 * MBIT
    assert 18 * MBIT < a < 26 * MBIT
    assert 9 * MBIT < b < 13 * MBIT


def test_guarantees_beyond_the_link_are_refused_to_the_younger(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {10 * MBIT}\n")
    desired = wanted(sliver("net_a", 1, net_min=8 * MBIT), sliver("net_b", 2, net_min=8 * MBIT))
    (action,) = site.network.plan(desired, site.network.observe())
    with pytest.raises(BandwidthGiven, match="net_b does not get its net_min or net2_min of the"):
        site.network.apply(desired, action)
    shown = json.loads(command("tc", "-json", "class", "show", "dev", "up0"))
    sure = {each["handle"]: each["rate"] for each in shown if each["class"] == "htb"}
    assert sure["51fe:1001"] == MBIT
    assert sure["51fe:1002"] == 1


# --- to come and go ---


def traces() -> str:
    """All that the backend leaves anywhere."""
    qdiscs = command("tc", "qdisc", "show")
    record = Path("/var/lib/configmanager/network.json")
    return (
        command("nft", "list", "ruleset") + ("51fe" if "51fe:" in qdiscs else "") + str(record.exists() or "")
    )


def test_what_somebody_changes_is_put_right_and_nothing_stays(site: Site, told: list[Event]) -> None:
    site.settle()
    desired = wanted(sliver("net_a", 1), sliver("net_b", 2))
    for change in (
        ["nft", "flush", "chain", "inet", "slivers", "enter"],
        ["nft", "delete", "table", "arp", "slivers"],
        ["nft", "delete", "element", "inet", "slivers", "addresses", '{ "sliver1" . 100.64.0.6 }'],
        ["tc", "class", "change", "dev", "up0", "classid", "51fe:1001", "htb", "rate", "5mbit"],
        ["tc", "qdisc", "delete", "dev", "up0", "root"],
    ):
        command(*change)
        assert [action.verb for action in converge(site.network, desired)] == [Verb.CREATE], change
    # A table with sets of another kind, as another version might have left it.
    command(
        "nft", "destroy table inet slivers; add table inet slivers; add set inet slivers marks { type mark; }"
    )
    converge(site.network, desired)
    assert "network.reset" in [event.event for event in told]
    # Another link: the old one is given back.
    command("ip", "route", "delete", "default", "dev", "up0")
    converge(site.network, desired)
    assert "51fe:" not in command("tc", "qdisc", "show", "dev", "up0")
    converge(site.network, wanted())
    assert traces() == ""


class Dying(Runner):
    """A runner whose process dies before its n-th change."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, argv, **more):  # type: ignore[no-untyped-def]
        if "input" in more:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        return super().__call__(argv, **more)


@pytest.mark.parametrize("after", range(4))
def test_a_pass_that_died_is_carried_on(site: Site, after: int) -> None:
    desired = wanted(sliver("net_a", 1), sliver("net_b", 2))
    real = site.network.node.run
    object.__setattr__(site.network.node, "run", Dying(after))
    died = False
    try:
        for action in site.network.plan(desired, site.network.observe()):
            site.network.apply(desired, action)
    except KeyboardInterrupt:
        died = True
    object.__setattr__(site.network.node, "run", real)
    assert bool(converge(site.network, desired)) == died
    converge(site.network, wanted())
    assert traces() == ""
