"""The services backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Verb
from configmanager.backends.services import ServiceFailed, Services
from configmanager.backends.units import UnitState
from tests.unit.configmanager_fakes import FakeNode
from wire.slivers import NodeService, NodeSlivers

DESIRED = NodeSlivers(1, 1, "node1", services=(NodeService("clock", "[Service]\nExecStart=/bin/true\n"),))


def converge(fake: FakeNode, desired: NodeSlivers) -> list[Verb]:
    backend = Services(fake.node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    return [action.verb for action in actions]


def test_a_service_is_made_changed_and_removed(tmp_path: Path) -> None:
    fake = FakeNode(tmp_path)
    file = tmp_path / "etc/systemd/system/bm-clock.service"
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert file.read_text() == DESIRED.services[0].unit
    assert fake.runner.verbs() == [
        "enable bm-clock.service",
        "daemon-reload",
        "reset-failed bm-clock.service",
        "start bm-clock.service",
    ]
    assert converge(fake, DESIRED) == []

    changed = replace(DESIRED, services=(NodeService("clock", "[Service]\nExecStart=/bin/date\n"),))
    fake.runner.argvs.clear()
    assert converge(fake, changed) == [Verb.CHANGE]
    assert fake.runner.verbs()[0] == "stop bm-clock.service"
    assert fake.runner.active["bm-clock.service"] == "active"

    assert converge(fake, replace(DESIRED, services=())) == [Verb.REMOVE]
    assert not file.exists()
    assert fake.runner.active["bm-clock.service"] == "inactive"
    assert converge(fake, replace(DESIRED, services=())) == []


def test_other_units_are_not_touched(tmp_path: Path) -> None:
    fake = FakeNode(tmp_path)
    other = tmp_path / "etc/systemd/system/other.service"
    other.parent.mkdir(parents=True)
    other.write_text("[Service]\n")
    assert converge(fake, replace(DESIRED, services=())) == []
    assert other.exists()


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    fake = FakeNode(tmp_path)
    fake.runner.broken.add("bm-clock.service")
    with pytest.raises(ServiceFailed, match="clock: out of luck"):
        converge(fake, DESIRED)
    fake.runner.broken.clear()
    assert converge(fake, DESIRED) == [Verb.CREATE]
    fake.runner.active["bm-clock.service"] = "failed"
    assert converge(fake, DESIRED) == [Verb.START]


@pytest.mark.parametrize(
    ("state", "up"),
    [
        (UnitState("active", "success", "simple"), True),
        (UnitState("activating", "success", "notify"), True),
        (UnitState("inactive", "success", "simple"), False),
        (UnitState("inactive", "success", "oneshot"), True),
        (UnitState("active", "success", "oneshot", remains=True), True),
        (UnitState("inactive", "success", "oneshot", remains=True), False),
        (UnitState("failed", "exit-code", "oneshot"), False),
        (UnitState("", "", ""), False),
    ],
)
def test_when_a_unit_counts_as_up(state: UnitState, up: bool) -> None:
    assert state.up is up
