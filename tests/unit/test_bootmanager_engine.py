"""The engine: observe, run, observe again; what is retried and what is not; the preview changes nothing."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootmanager.engine import ATTEMPTS, Engine, GoalNotReached
from host.console import Console
from host.events import Events
from host.journal import Journal
from host.options import Options
from host.os_errors import DiskWriteFailed, NoSpaceLeft
from host.ports import Host
from host.run import Runner
from steps.base import Change, Effect, Facts, Keeps, Observation, Step, holds, lacks
from wire.errors import ConfigurationError, TransientError


@dataclass(frozen=True)
class Made:
    times: int


class Sometimes(TransientError):
    code = "test-sometimes"
    title = "Sometimes"
    hint = "Again."


class Never(ConfigurationError):
    code = "test-never"
    title = "Never"
    hint = "No."


class Make(Step):
    """Holds once it has run; `runs` counts."""

    name = "make"
    title = "Make it"
    effect = Effect.DESTROYS
    gives = (Made,)

    def __init__(self, works: bool = True) -> None:
        self.runs = 0
        self.works = works

    def observe(self, context) -> Observation:
        if self.runs and self.works:
            return holds(Made(self.runs))
        return lacks(Change(Keeps.DESTROY, "/dev/x", "everything"))

    def run(self, context) -> None:
        self.runs += 1


class Fails(Step):
    """Fails a number of times, then holds."""

    name = "fails"
    title = "Fail"
    effect = Effect.READS

    def __init__(self, error, times) -> None:
        self.error, self.times, self.seen = error, times, 0

    def observe(self, context) -> Observation:
        self.seen += 1
        if self.seen <= self.times:
            raise self.error("because")
        return holds()


class Needs(Step):
    name = "needs"
    title = "Need it"
    effect = Effect.READS
    needs = (Made,)

    def observe(self, context) -> Observation:
        assert context.facts[Made]
        return holds()


@pytest.fixture
def told():
    return []


@pytest.fixture
def engine(told, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    events = Events("test", (told.append,))
    return Engine(Host(Runner(), None, events, Console([]), Options(), Path("/nowhere")))


def names(told):
    return [event.event for event in told]


def test_what_lacks_is_run_once_and_gives_its_facts(engine, told):
    step = Make()
    engine.execute([step, Needs()])
    assert step.runs == 1
    assert engine.facts[Made] == Made(1)
    assert names(told) == ["step.started", "step.done", "step.started", "step.done"]


def test_what_holds_is_not_run(engine, told):
    step = Make()
    step.runs = 5
    engine.execute([step])
    assert (step.runs, names(told)) == (5, ["step.started", "step.kept"])


def test_a_goal_that_is_not_reached_is_an_error(engine, told):
    with pytest.raises(GoalNotReached, match="/dev/x: everything"):
        engine.execute([Make(works=False)])
    assert names(told)[-1] == "step.failed"


def test_what_may_go_away_is_tried_again(engine, told):
    engine.execute([Fails(Sometimes, 2)])
    assert names(told).count("step.retry") == 2


def test_tries_are_bounded(engine):
    step = Fails(Sometimes, 99)
    with pytest.raises(Sometimes):
        engine.execute([step])
    assert step.seen == ATTEMPTS


def test_other_errors_are_not_retried(engine):
    step = Fails(Never, 1)
    with pytest.raises(Never):
        engine.execute([step])
    assert step.seen == 1


def test_facts_found_before_a_failure_stay(engine):
    with pytest.raises(Never):
        engine.execute([Make(), Fails(Never, 1)])
    assert Made in engine.facts


def raised_by(code, name=None):
    """An error as the kernel gives it; what a step got is called with a text."""
    return lambda _: OSError(code, os.strerror(code), name)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EIO, DiskWriteFailed), (errno.EROFS, DiskWriteFailed), (errno.ENOSPC, NoSpaceLeft)],
)
def test_what_the_machine_is_to_blame_for_is_an_error_of_the_step(engine, told, code, kind):
    step = Fails(raised_by(code, "/etc/hostname"), 1)
    with pytest.raises(kind) as error:
        engine.execute([step])
    detail = f"/etc/hostname: {os.strerror(code)}"
    assert (error.value.detail, step.seen, engine.failed) == (detail, 1, "fails")
    assert told[-1].event == "step.failed"
    assert told[-1].data == {"step": "fails", "code": kind.code, "detail": detail}


def test_also_where_it_comes_of_running_a_step(engine):
    step = Make()
    step.run = lambda context: Path("/dev/full").write_text("x")
    with pytest.raises(NoSpaceLeft):
        engine.execute([step])
    assert engine.failed == "make"


def test_a_fault_of_the_program_is_told_as_one_with_its_step(engine, told):
    with pytest.raises(FileNotFoundError, match="secret-name"):
        engine.execute([Fails(raised_by(errno.ENOENT, "/secret-name"), 1)])
    assert engine.failed == "fails"
    assert told[-1].event == "step.failed"
    assert told[-1].data == {"step": "fails", "code": "internal", "detail": "FileNotFoundError"}


def test_the_preview_shows_what_the_machine_is_to_blame_for(engine):
    (seen,) = engine.preview([Fails(raised_by(errno.EIO, "/dev/sda"), 1)])
    assert isinstance(seen.error, DiskWriteFailed)
    assert "/dev/sda: Input/output error" in seen.blocked
    with pytest.raises(FileNotFoundError):
        engine.preview([Fails(raised_by(errno.ENOENT), 1)])


def test_the_preview_runs_nothing(engine, told):
    step = Make()
    first, second = engine.preview([step, Needs()])
    assert (step.runs, told, engine.facts.kinds()) == (0, [], ())
    assert first.changes == (Change(Keeps.DESTROY, "/dev/x", "everything"),)
    assert "Made" in second.blocked


def test_the_preview_shows_what_fails(engine):
    (seen,) = engine.preview([Fails(Never, 1)])
    assert "Never" in seen.blocked
    assert isinstance(seen.error, Never)


def test_the_journal_has_start_and_done(engine, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    engine.facts = Facts((journal,))
    engine.execute([Make()])
    assert [record["kind"] for record in journal.records()] == ["start", "done"]


def test_a_lost_journal_stops_nothing(engine, told, tmp_path):
    (tmp_path / "file").write_text("")
    engine.facts = Facts((Journal(tmp_path / "file/journal.jsonl"),))
    engine.execute([Make()])
    assert names(told) == ["step.started", "journal.lost", "journal.lost", "step.done"]
