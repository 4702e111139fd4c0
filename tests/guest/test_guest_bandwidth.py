"""Bandwidth under load: what competing slivers really get of a link."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from configmanager.backends.base import Node
from configmanager.backends.network import BandwidthGiven
from tests.guest.limited import Space, command, sliver, wanted
from tests.guest.network_site import EXEMPT, MBIT, OUTSIDE, SETTINGS, Site, joined

# Links are so slow that an emulated machine fills them, and that a packet of 64 KiB takes 50 ms.
SECONDS = 8.0


@pytest.fixture
def site(bare: Node) -> Iterator[Site]:
    with joined(bare) as made:
        yield made


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
    SETTINGS.write_text(f"[network]\nrate = {12 * MBIT}\n")
    site.settle({"net_share": 3}, {"net_share": 1})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_share 3:1 of 12 Mbit/s -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s = {a / b:.2f}")
    assert 2.4 < a / b < 3.6
    assert 10 * MBIT < a + b < 12.5 * MBIT


@pytest.mark.slow
def test_a_guarantee_comes_before_shares(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {10 * MBIT}\n")
    site.settle({"net_min": 7 * MBIT}, {"net_share": 100})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_min 7 of 10 Mbit/s against net_share 100 -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s")
    assert a > 6.2 * MBIT
    assert b > 1.7 * MBIT


@pytest.mark.slow
def test_most_holds_for_one_and_the_other_takes_the_rest(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {10 * MBIT}\n")
    site.settle({"net_max": 2 * MBIT}, {})
    a, b = rates(site, (site.a, OUTSIDE), (site.b, OUTSIDE))
    print(f"net_max 2 of 10 Mbit/s -> {a / MBIT:.1f} : {b / MBIT:.1f} Mbit/s")
    assert 1.5 * MBIT < a < 2.2 * MBIT
    assert b > 6.5 * MBIT


@pytest.mark.slow
def test_exempt_destinations_have_limits_of_their_own(site: Site) -> None:
    SETTINGS.write_text(f"[network]\nrate = {4 * MBIT}\nexempt = 198.51.100.0/24\n")
    site.settle({"net2_max": 12 * MBIT}, {"net2_max": 6 * MBIT})
    plain, a, b = rates(site, (site.a, OUTSIDE), (site.a, EXEMPT), (site.b, EXEMPT))
    print(f"rate 4, net2_max 12 and 6 -> {plain / MBIT:.1f}, {a / MBIT:.1f}, {b / MBIT:.1f} Mbit/s")
    assert 3 * MBIT < plain < 4.4 * MBIT
    assert 9 * MBIT < a < 13 * MBIT
    assert 4.5 * MBIT < b < 6.5 * MBIT


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
