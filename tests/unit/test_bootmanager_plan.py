"""Every plan adds up: each step is offered, and every fact that it needs was given before."""

import configparser
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bootmanager import plan
from bootmanager.machine import State

SETUP = Path(__file__).parents[2] / "setup.cfg"


@pytest.fixture(autouse=True)
def offered(monkeypatch):
    """The steps that this tree offers, whatever is installed."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(SETUP)
    lines = parser["options.entry_points"][plan.GROUP].strip().splitlines()
    pairs = [[part.strip() for part in line.split("=")] for line in lines]
    entries = [EntryPoint(name, value, plan.GROUP) for name, value in pairs]
    monkeypatch.setattr(plan, "entry_points", lambda group: entries if group == plan.GROUP else [])


@pytest.mark.parametrize("state", [State.NEW, State.INST, State.RINS, State.BOOT, State.IMAGE, State.OTHER])
def test_facts_add_up(state):
    before = plan.steps_for(State.AUTO)
    known = tuple(kind for step in before for kind in step.gives)
    found = plan.steps_for(state, known)
    assert tuple(step.name for step in found) == plan.PLANS[state]


def test_facts_add_up_when_a_newer_medium_is_looked_for():
    known = tuple(kind for step in plan.steps_for(State.AUTO) for kind in step.gives)
    found = plan.steps_named(plan.MEDIUM_STEPS, known)
    assert tuple(step.name for step in found) == plan.MEDIUM_STEPS


def test_a_plan_that_does_not_add_up_is_refused():
    with pytest.raises(ValueError, match="needs"):
        plan.steps_for(State.INST)
