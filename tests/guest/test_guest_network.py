"""Slivers' network: who may send what to whom, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from configmanager.backends import network_rules
from configmanager.backends.base import Node
from configmanager.slots import Slot
from tests.guest.limited import command, converge, sliver, wanted
from tests.guest.network_site import ASK, MBIT, NODE, OUTSIDE, SERVE, Site, ask, joined


@pytest.fixture
def site(bare: Node) -> Iterator[Site]:
    with joined(bare) as made:
        yield made


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
    with site.outside.running(LISTEN, 6) as listener:
        assert listener.stdout.readline() == "up\n"
        before = counter("dropped_spoofed")
        site.a.python(SPOOF, source, OUTSIDE)
        assert listener.stdout.readline() == f"{heard}\n"
        assert counter("dropped_spoofed") - before == (0 if heard == NODE else 5)


MANY = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1, int(sys.argv[2]) + 1):
    sender.sendto(b"x", (sys.argv[1], port))
"""


def test_one_slivers_connections_leave_room_for_others(site: Site) -> None:
    site.settle()
    tracked = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    before, dropped = int(tracked.read_text()), counter("dropped_too_many")
    site.a.python(MANY, OUTSIDE, 20_000)
    assert counter("dropped_too_many") > dropped
    assert int(tracked.read_text()) - before <= network_rules.MOST_CONNECTIONS
    with site.outside.running(SERVE, 80, "outside") as outside:
        assert outside.stdout.readline() == "up\n"
        assert ask(site.b, OUTSIDE, 80) == f"outside {NODE}"
    # What was counted is no change that somebody made.
    desired = wanted(sliver("net_a", 1), sliver("net_b", 2))
    assert site.network.plan(desired, site.network.observe()) == ()


SIX = """
import socket
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.sendto(b"x", ("ff02::1", 9999, 0, socket.if_nametoindex("host0")))
"""


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_no_sliver_sees_anothers_traffic(site: Site) -> None:
    site.settle({"ports": "tcp:8080:80"})
    with (
        site.a.running(SERVE, 80, "precious") as server,
        site.a.running(SNIFF, 12) as own,
        site.b.running(SNIFF, 12) as other,
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
        # Nobody answers, and nobody says who the gateway is: whichever is noticed first.
        assert ask(site.b, OUTSIDE, 80) in ("TimeoutError", "OSError")
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
    with site.outside.running(LISTEN, 6) as listener:
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
