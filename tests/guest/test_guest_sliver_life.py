"""A sliver's life: stopped, started, made again, by its owner, the server, itself or the watchdog; ended."""

from __future__ import annotations

import os
import stat
import time
from itertools import pairwise

import pytest

from configmanager.backends import sliver_start
from configmanager.backends.base import Verb
from configmanager.backends.sliver_start import SliverFailed, SliverFailing, SliverSlow
from configmanager.backends.slivers import Slivers
from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import FOLDER, SliverGuest, nothing_left, property_of, traces, unit
from tests.guest.waiting import eventually

pytestmark = pytest.mark.slow

ONE = unit("demo-one")


@pytest.fixture(scope="module")
def node_of_module(guest_of_module: Guest, node_system: None, slice_key):
    with nothing_left():
        node = SliverGuest(guest_of_module, slice_key)
        yield node
        node.converge()


@pytest.fixture
def node(node_of_module: SliverGuest):
    """With the sliver `demo_one`, which runs; tests leave it to the next one in whatever state."""
    node_of_module.converge(node_of_module.sliver())
    node_of_module.guest.told.clear()
    return node_of_module


def restarted(node: SliverGuest, before: str) -> bool:
    up = property_of(ONE, "ActiveState") == "active"
    return up and node.leader("demo-one") not in ("", before)


def test_stopping_keeps_the_disk_until_somebody_starts_it(node):
    node.inside("demo-one", "echo precious > /root/data")
    node.backend.stop("demo_one")
    assert traces().machines == frozenset()
    assert not [link for link in traces().links if link.startswith("sliver")]
    # Another process of the manager, as after a reboot, leaves it stopped.
    node.backend = Slivers(node.guest.node)
    assert node.converge(node.sliver()) == []
    assert property_of(ONE, "ActiveState") == "inactive"
    node.backend.start(node.wanted(node.sliver()), "demo_one")
    assert node.inside("demo-one", "cat /root/data") == "precious\n"


def test_one_that_is_not_enabled_is_stopped_and_keeps_its_disk(node):
    node.inside("demo-one", "echo precious > /root/data")
    node.converge(node.sliver(enabled="0"))
    assert property_of(ONE, "ActiveState") == "inactive"
    assert (FOLDER / "demo-one/upper/root/data").read_text() == "precious\n"
    node.converge(node.sliver(enabled="1"))
    assert node.inside("demo-one", "cat /root/data") == "precious\n"


def test_the_watchdog_starts_what_was_killed(node):
    before, times = node.leader("demo-one"), int(property_of(ONE, "NRestarts"))
    run("systemctl", "kill", "--signal=KILL", "--kill-whom=all", "--", ONE)
    eventually(lambda: restarted(node, before), what="a restart", seconds=180)
    assert int(property_of(ONE, "NRestarts")) == times + 1
    assert node.inside("demo-one", "hostname") == "demo-one\n"


@pytest.mark.parametrize("how", ["reboot", "poweroff"])
def test_one_that_ends_itself_comes_back(node, how):
    before, times = node.leader("demo-one"), int(property_of(ONE, "NRestarts"))
    node.inside("demo-one", f"systemctl --no-block {how}")
    eventually(lambda: restarted(node, before), what=how, seconds=180)
    assert int(property_of(ONE, "NRestarts")) == times + 1


def test_stopping_the_unit_lets_the_sliver_end_well(node):
    """As halting the node does: its units end before file systems and network go."""
    end = (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=sh -c 'date > /root/ended'\n"
    )
    node.inside("demo-one", f'printf "{end}" > /etc/systemd/system/end.service; systemctl start end')
    run("systemctl", "stop", "--", ONE)
    assert (FOLDER / "demo-one/upper/root/ended").exists()
    assert property_of(ONE, "Result") == "success"
    assert "shutdown.target" in property_of(ONE, "Conflicts")
    assert "shutdown.target" in property_of(ONE, "Before")


def test_the_watchdog_has_a_limit_and_the_server_hears_of_it(node_of_module):
    node, sliver = node_of_module, node_of_module.sliver()
    node.converge(node.sliver(enabled="0"))
    # As an overlay notes that its sliver removed a file: here the one that it starts by.
    programs = FOLDER / "demo-one/upper/usr/lib/systemd"
    programs.mkdir(parents=True)
    os.mknod(programs / "systemd", stat.S_IFCHR, 0)
    with pytest.raises(SliverFailed):
        node.backend.start(node.wanted(sliver), "demo_one")
    eventually(lambda: property_of(ONE, "ActiveState") == "failed", what="the limit")
    restarts = property_of(ONE, "NRestarts")
    for _ in range(2):
        (action,) = node.backend.plan(node.wanted(sliver), node.backend.observe())
        assert action.verb is Verb.START
        with pytest.raises(SliverFailing):
            node.backend.apply(node.wanted(sliver), action)
    assert [event["name"] for event in node.events("sliver.failing")] == ["demo_one"]
    assert property_of(ONE, "NRestarts") == restarts
    # Its owner may mend it: by a new disk, on which nothing of the old one is.
    node.backend.recreate(node.wanted(sliver), "demo_one")
    assert node.inside("demo-one", "hostname; ls /root") == "demo-one\n"
    node.backend.teardown("demo_one")
    assert not (FOLDER / "demo-one").exists()


HOLD = """[Unit]
DefaultDependencies=no
Before=basic.target
[Service]
Type=oneshot
ExecStart=sleep infinity
"""


def test_slivers_start_one_after_the_other_and_a_slow_one_holds_nobody_up(node_of_module, monkeypatch):
    node = node_of_module
    names = ["one", "two", "three"]
    node.converge(*(node.sliver(name, enabled="0") for name in names))
    node.guest.told.clear()
    # The second one's system waits for ever, like one with a broken service.
    units = FOLDER / "two/upper/etc/systemd/system"
    (units / "basic.target.wants").mkdir(parents=True)
    (units / "hold.service").write_text(HOLD)
    (units / "basic.target.wants/hold.service").symlink_to("../hold.service")
    wanted = node.wanted(*map(node.sliver, names))
    actions = node.backend.plan(wanted, node.backend.observe())
    assert [(action.verb, action.name) for action in actions] == [(Verb.START, name) for name in names]
    node.backend.apply(wanted, actions[0])
    begun = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(sliver_start, "PATIENCE_SECONDS", 20.0)
        with pytest.raises(SliverSlow):
            node.backend.apply(wanted, actions[1])
    assert 20 <= time.monotonic() - begun < 40
    node.backend.apply(wanted, actions[2])
    assert [event["name"] for event in node.events("sliver.started")] == ["one", "three"]
    entered = [int(property_of(unit(name), "InactiveExitTimestampMonotonic")) / 1e6 for name in names]
    assert all(later - sooner >= 3 for sooner, later in pairwise(entered))
