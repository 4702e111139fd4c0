"""Debug mode: how it goes on asking, and who ends the pause of a node that its server refuses."""

from pathlib import Path

import pytest

from bootmanager import debug as module
from bootmanager.debug import DebugMode
from bootmanager.engine import Engine
from bootmanager.machine import State
from host.console import Console
from host.events import Events
from host.journal import Journal
from host.options import Options
from host.ports import Host
from host.refusals import CallsPaused, Refusals
from steps.base import Effect, Facts, Step, holds
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey


def configuration(key):
    return NodeConfiguration(7, NodeKey(bytes([key] * 32)), "http://x", NetworkSettings())


@pytest.mark.parametrize(("inserted", "pauses"), [([1, 1, 1], 3), ([1, 2], 1), ([2, 2, 3], 1)])
def test_another_key_medium_ends_the_pause_once(monkeypatch, tmp_path, inserted, pauses):
    journal, left = Journal(tmp_path / "journal.jsonl"), list(inserted)
    refusals = Refusals(journal)

    class Reads(Step):
        name, title, effect = "read_configuration", "Read it", Effect.READS

        def observe(self, context):
            return holds(configuration(left.pop(0)))

    class Calls(Step):
        name, title, effect = "set_clock", "Call", Effect.READS

        def observe(self, context):
            for _ in range(3):
                refusals.refused()
            raise CallsPaused("3 times")

    monkeypatch.setattr(module, "steps_for", lambda state: (Reads(), Calls()))
    engine = Engine(Host(None, None, Events("t"), Console([]), Options(), Path("/nowhere")))
    engine.facts = Facts((configuration(1), journal))
    stay = DebugMode(engine, lambda engine: None)
    monkeypatch.setattr(stay, "_show", lambda cause, was: None)
    counts = []
    monkeypatch.setattr(stay._person, "wait", lambda seconds: counts.append(refusals.count()) or not left)
    stay.stay(None, State.AUTO)
    assert sum(count > 0 for count in counts[1:]) == pauses
