"""The network over passes: what somebody changed is put right, what died is carried on, nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from configmanager.backends.base import Node, Verb
from host.events import Event
from host.run import Runner
from tests.guest.limited import command, converge, sliver, wanted
from tests.guest.network_site import NODE, OUTSIDE, SERVE, Site, ask, joined

pytestmark = pytest.mark.slow


@pytest.fixture
def site(bare: Node) -> Iterator[Site]:
    with joined(bare) as made:
        yield made


def traces() -> str:
    """All that the backend leaves anywhere."""
    qdiscs = command("tc", "qdisc", "show")
    record = Path("/var/lib/configmanager/network.json")
    forwards = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip("0\n")
    tree = "51fe" if "51fe:" in qdiscs else ""
    return command("nft", "list", "ruleset") + tree + str(record.exists() or "") + forwards


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
    site.leave()
    assert traces() == ""


def test_a_link_that_is_left_passes_nothing(site: Site) -> None:
    site.settle()
    with site.outside.running(SERVE, 80, "outside") as outside:
        assert outside.stdout.readline() == "up\n"
        assert ask(site.a, OUTSIDE, 80) == f"outside {NODE}"
        (action,) = site.network.plan(wanted(), site.network.observe())
        site.network.apply(wanted(), action)
        assert ask(site.a, OUTSIDE, 80) == "TimeoutError"
    site.leave()
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
    site.leave()
    assert traces() == ""
