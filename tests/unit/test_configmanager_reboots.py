"""Reboots that backends ask for: how many, and what begins anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.reboots import ONE_CONFIGURATION, SAME_ACTION, RebootLoop, Reboots, Wish
from wire.slivers import NodeSlivers, Sliver

WANTED = NodeSlivers(1000, 1, "node1", (Sliver("demo_one", 1, 5000),))


class Machine:
    """Boots again after each reboot that is allowed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boots = 0

    @property
    def reboots(self) -> Reboots:
        (self.folder / "boot_id").write_text(f"{self.boots}\n")
        return Reboots(self.folder / "reboots.json", self.folder / "boot_id")

    def ask(self, *actions: str, wanted: NodeSlivers = WANTED) -> None:
        self.reboots.ask(wanted, [Wish("disk", action, "why") for action in actions])
        self.boots += 1


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_same_action_is_stopped_after_three(machine: Machine) -> None:
    for _ in range(SAME_ACTION):
        machine.ask("change kernel")
    for _ in range(2):
        with pytest.raises(RebootLoop, match="disk: change kernel: asks again after each of 3 reboots"):
            machine.ask("change kernel")


def test_different_actions_may_each_have_one_up_to_a_bound(machine: Machine) -> None:
    for number in range(ONE_CONFIGURATION):
        machine.ask(f"change {number}")
    with pytest.raises(RebootLoop, match="10 reboots"):
        machine.ask("change another")


def test_two_that_take_turns_are_stopped_too(machine: Machine) -> None:
    for number in range(ONE_CONFIGURATION):
        machine.ask(f"change {number % 2}")
    with pytest.raises(RebootLoop):
        machine.ask("change 0")


def test_a_kill_before_the_reboot_counts_once(machine: Machine) -> None:
    for _ in range(20):
        machine.ask("change kernel")
        machine.boots = 0
    machine.boots = 1
    machine.ask("change kernel")


def test_another_configuration_begins_anew_but_not_another_timestamp(machine: Machine) -> None:
    for time in range(SAME_ACTION):
        machine.ask("change kernel", wanted=replace(WANTED, timestamp=2000 + time, generation=time))
    with pytest.raises(RebootLoop):
        machine.ask("change kernel", wanted=replace(WANTED, timestamp=3000))
    machine.ask("change kernel", wanted=replace(WANTED, slivers=()))


def test_a_person_lets_it_go_on(machine: Machine) -> None:
    assert not machine.reboots.release()
    for _ in range(SAME_ACTION):
        machine.ask("change kernel")
    assert not machine.reboots.note().stopped
    with pytest.raises(RebootLoop):
        machine.ask("change kernel")
    assert "change kernel" in machine.reboots.note().stopped
    assert machine.reboots.release()
    machine.ask("change kernel")


def test_a_damaged_note_is_none(machine: Machine) -> None:
    machine.ask("change kernel")
    (machine.folder / "reboots.json").write_text("{")
    assert machine.reboots.note().total == 0
    machine.ask("change kernel")
