"""Debug mode: how it goes on asking, and who ends the pause of a node that its server refuses."""

import pytest

from bootmanager import debug as module
from bootmanager import standing
from bootmanager.debug import DebugMode, Released
from bootmanager.engine import Engine
from bootmanager.machine import State
from bootmanager.wish import leave_wish
from host.console import Console
from host.events import Events
from host.http import ServerUnreachable
from host.journal import Journal
from host.options import Options
from host.ports import Host
from host.refusals import CallsPaused, Refusals
from host.server import AuthenticationRefused, ServerClient, ServerNotAuthentic
from steps.base import Effect, Facts, Step, holds
from tests.unit.menu_desk import NotingRunner
from wire.errors import BootError
from wire.messages import ImageRef, NodeDetails, TargetState
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
    engine = Engine(Host(None, None, Events("t"), Console([]), Options(), tmp_path))
    engine.facts = Facts((configuration(1), journal))
    stay = DebugMode(engine, lambda engine: None)
    monkeypatch.setattr(module, "interfaces", lambda run: ())
    monkeypatch.setattr(module, "remembered", lambda facts, run: None)
    monkeypatch.setattr(module, "start_sshd", lambda run, keys: "256 SHA256:x")
    counts = []
    monkeypatch.setattr(stay._person, "wait", lambda seconds: counts.append(refusals.count()) or not left)
    stay.stay(None, State.AUTO)
    assert sum(count > 0 for count in counts[1:]) == pauses


class Stay:
    """A node in debug mode whose server answers what the test says; nobody waits."""

    def __init__(self, monkeypatch, folder, answers, at_each_wait=lambda stay: None):
        self.answers, self.told = list(answers), []
        monkeypatch.setattr(module, "steps_for", lambda state: (self.step(),))
        monkeypatch.setattr(module, "interfaces", lambda run: ("eth0 up",))
        monkeypatch.setattr(module, "remembered", lambda facts, run: facts.get(NodeDetails))
        monkeypatch.setattr(module, "start_sshd", lambda run, keys: "256 SHA256:x")
        events = Events("t", (lambda event: self.told.append(event.event),))
        self.folder = folder
        self.engine = Engine(Host(None, None, events, Console([]), Options(), folder))
        self.mode = DebugMode(self.engine, lambda engine: None)
        waits = self.mode._person

        def wait(seconds):
            at_each_wait(self)
            return waits.is_set()

        monkeypatch.setattr(waits, "wait", wait)

    def step(self):
        answers = self.answers

        class Asks(Step):
            name, title, effect = "check_in", "Ask", Effect.READS

            def observe(self, context):
                answer = answers.pop(0)
                if isinstance(answer, BootError):
                    raise answer
                return holds(answer)

        return Asks()

    def knowing(self, details):
        self.engine.facts = Facts((configuration(1), ServerClient.__new__(ServerClient), details))
        return self


def details(state="dbg", generation=1, password=""):
    image = ImageRef("base", "ab")
    return NodeDetails(7, "n7", TargetState(state), "r", generation, image, console_password=password)


def test_the_operator_releases_and_menus_get_to_know_why(monkeypatch, tmp_path):
    stay = Stay(monkeypatch, tmp_path, [details(), details("boot", 2)]).knowing(details())
    assert stay.mode.stay(None, State.DBG) == Released("the operator asked for boot", "auto")
    assert standing.ended(tmp_path, 1) == "The node goes on: the operator asked for boot."
    assert standing.load(tmp_path).node == "7 n7"


@pytest.mark.parametrize(
    ("wish", "reason"), [("auto", "a person asked for another try"), ("rins", "a person asked for rins")]
)
def test_a_person_ends_it_by_a_wish(monkeypatch, tmp_path, wish, reason):
    def wishing(stay):
        leave_wish(NotingRunner(), tmp_path, wish)
        stay.mode._person.set()

    stay = Stay(monkeypatch, tmp_path, [], wishing).knowing(details())
    assert stay.mode.stay(None, State.DBG) == Released(reason, wish)


def test_a_wish_from_before_is_none(monkeypatch, tmp_path):
    leave_wish(NotingRunner(), tmp_path, "rins")
    stay = Stay(monkeypatch, tmp_path, [], lambda stay: stay.mode._person.set()).knowing(details())
    assert stay.mode.stay(None, State.DBG).state == "auto"


def test_another_password_counts_as_soon_as_the_server_tells_it(monkeypatch, tmp_path):
    seen = []
    answers = [details(password="new"), details("boot", 2)]
    stay = Stay(monkeypatch, tmp_path, answers, lambda stay: seen.append(stay.mode._password))
    stay.knowing(details(password="old")).mode.stay(None, State.DBG)
    assert seen == ["old", "new"]


def test_another_cause_is_shown_as_soon_as_it_is_found(monkeypatch, tmp_path):
    shown = []
    answers = [ServerUnreachable("cable"), details("boot", 2)]
    stay = Stay(monkeypatch, tmp_path, answers, lambda stay: shown.append(standing.load(tmp_path)))
    monkeypatch.setattr(Engine, "_retried", lambda engine, step: engine._once(step))
    stay.knowing(details()).mode.stay(None, State.DBG)
    assert [(each.code, each.step) for each in shown] == [("", ""), ("server-unreachable", "check_in")]


@pytest.mark.parametrize("cause", [ServerUnreachable("in the middle"), ServerNotAuthentic("a portal")])
def test_what_may_pass_after_the_check_in_is_tried_again_when_the_server_answers(
    monkeypatch, tmp_path, cause
):
    same = details("rins")
    stay = Stay(monkeypatch, tmp_path, [ServerUnreachable("still"), same, same]).knowing(same)
    monkeypatch.setattr(Engine, "_retried", lambda engine, step: engine._once(step))
    assert stay.mode.stay(cause, State.RINS) == Released("the server answers now", None)
    assert stay.answers == [same]


def test_what_does_not_pass_waits_for_somebody(monkeypatch, tmp_path):
    same = details("rins")
    stay = Stay(monkeypatch, tmp_path, [same, same, details("boot", 2)]).knowing(same)
    assert stay.mode.stay(AuthenticationRefused("no"), State.RINS).state == "auto"
    assert stay.answers == []


def test_a_server_that_answers_and_does_not_serve_is_left_alone_for_longer_each_time(monkeypatch, tmp_path):
    asked = []
    stay = Stay(monkeypatch, tmp_path, [details("rins")] * 100).knowing(details("rins"))
    for _ in range(10):
        before = len(stay.answers)
        stay.mode.stay(ServerUnreachable("images"), State.RINS)
        asked.append(before - len(stay.answers))
    # 5, 10, 20 s, ... 600 s; the server is asked for orders once a minute.
    assert asked == [1, 2, 3, 4, 5, 6, 9, 13, 13, 13]
