"""The machine: every row of the table can be taken, and nothing else."""

import pytest
from transitions import MachineError

from bootmanager.machine import TRANSITIONS, NodeMachine, State
from wire.messages import TargetState

EVENTS = sorted({event for event, _, _ in TRANSITIONS})
LEGAL = {(event, source): destination for event, source, destination in TRANSITIONS}


def machine_in(state, entered=lambda *_: None):
    machine = NodeMachine(entered)
    machine._machine.set_state(state)
    return machine


@pytest.mark.parametrize("source", State)
@pytest.mark.parametrize("event", EVENTS)
def test_the_table_is_all_there_is(event, source):
    machine = machine_in(source)
    if (event, source) in LEGAL:
        machine.fire(event, "why")
        assert machine.state is LEGAL[event, source]
    else:
        with pytest.raises(MachineError):
            machine.fire(event, "why")
        assert machine.state is source


def test_it_starts_by_asking():
    assert NodeMachine(lambda *_: None).state is State.AUTO


def test_each_target_state_can_be_wanted():
    assert {f"want_{state}" for state in TargetState} <= set(EVENTS)


def test_every_state_that_works_can_fail_into_debug_mode():
    assert {source for event, source, _ in TRANSITIONS if event == "fail"} == set(State) - {State.DBG}


def test_a_change_is_told_with_its_reason():
    told = []
    machine_in(State.AUTO, lambda *change: told.append(change)).fire("want_inst", "the server wants inst")
    assert told == [(State.INST, "the server wants inst")]
