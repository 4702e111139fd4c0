"""What the command line says, and how it asks the daemon."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from configmanager import alone as module
from configmanager import cli, passes, show
from configmanager.alone import DAEMON, Busy, NoPass, alone, ask, daemon
from configmanager.backends.services import Services
from configmanager.backends.slivers import Slivers
from configmanager.passes import Failure, Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records
from configmanager.status import Status
from host import commands
from host.run import CommandMissing
from tests.unit.configmanager_fakes import FakeNode
from wire.slivers import NodeService, NodeSlivers
from wire.structure import unstructure

WANTED = NodeSlivers(1_800_000_000, 1, "node1", services=(NodeService("clock", "[Service]\n"),))
FAILED = Failure.of("services", "clock", CommandMissing("a\x1b[2Jthing that was looked for in vain " * 3))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """A node that was told what it shall run and has not begun."""
    found = FakeNode(tmp_path)
    records = Records(tmp_path / "records")
    records.store(unstructure(WANTED))
    (tmp_path / "boot_id").write_text("1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(cli, "_backends", lambda: (Services(found.node),))
    monkeypatch.setattr(cli, "_desired", lambda: WANTED)
    monkeypatch.setattr(cli, "Records", lambda: records)
    monkeypatch.setattr(cli, "Reboots", lambda: Reboots(tmp_path / "reboots", tmp_path / "boot_id"))
    monkeypatch.setattr(cli, "EVENTS", tmp_path / "events.jsonl")
    monkeypatch.setattr(cli, "Runner", lambda: found.runner)
    monkeypatch.setattr(Status.look.__func__, "__defaults__", (tmp_path / "pass.json",))  # type: ignore[attr-defined]
    return found


def said(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(cli.main, list(words))
    assert done.exit_code == status, (done.output, done.exception)
    assert all(len(line) <= 80 for line in done.output.splitlines()) or "json" in words
    return done.output


def make(node: FakeNode) -> None:
    backend = Services(node.node)
    for action in backend.plan(WANTED, ()):
        backend.apply(WANTED, action)


def test_plan(node: FakeNode) -> None:
    assert said("plan").split("\n")[1].split() == ["services", "create", "clock", "is", "not", "there"]
    assert json.loads(said("plan", "--format", "json")) == {
        "services": [{"verb": "create", "name": "clock", "reason": "is not there"}]
    }
    make(node)
    assert said("plan") == "nothing to do\n"


def test_a_backend_that_cannot_look_hides_no_other(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise CommandMissing("nft")

    broken = Services(node.node)
    monkeypatch.setattr(broken, "observe", missing)
    monkeypatch.setattr(broken, "name", "broken")
    monkeypatch.setattr(cli, "_backends", lambda: (broken, Services(node.node)))
    for command in ("plan", "status"):
        assert "[command-missing]" in said(command, status=int(command == "plan"))
    assert "services  create  clock" in said("plan", status=1)
    done = CliRunner().invoke(cli.main, ["plan", "--format", "json"])
    assert (done.exit_code, json.loads(done.stdout)["services"][0]["name"]) == (1, "clock")
    assert list(json.loads(said("status", "--format", "json"))["backends"]) == ["services"]


def test_missing_rights_are_no_traceback(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: str) -> None:
        raise PermissionError(13, "Permission denied", "/run/configmanager/lock")

    monkeypatch.setattr(cli, "alone", closed)
    monkeypatch.setattr(commands.os, "geteuid", lambda: 1000)
    assert said("apply", status=1).endswith("This is for root.\n")


def test_status_before_anything_happened(node: FakeNode) -> None:
    assert "nothing is there" in said("status")
    assert json.loads(said("status", "--format", "json"))["last_pass"] is None


def test_status_says_what_runs_and_what_failed(node: FakeNode, tmp_path: Path) -> None:
    make(node)
    outcome = Outcome(1.0, 2.0, False, 3, (FAILED,), "services: change clock: why")
    passes.keep(outcome, tmp_path / "pass.json")
    text = said("status")
    assert "\x1b" not in text
    assert "no usable answer of the server" in text
    assert "2027-01-15 08:00:00 UTC" in text
    assert ["services", "clock", "runs"] in [line.split() for line in text.splitlines()]
    assert "[command-missing]" in text
    plain = json.loads(said("status", "--format", "json"))
    assert plain["last_pass"]["reboot"] == outcome.reboot
    assert plain["backends"]["services"] == [{"name": "clock", "running": True, "whole": True}]
    assert plain["failed"][0]["code"] == "command-missing"


def test_stopped_reboots_are_shown_and_released(node: FakeNode, tmp_path: Path) -> None:
    note = {"configuration": "x", "boot": "1", "total": 4, "asked": {"a: b": 4}, "stopped": "a: b: again"}
    (tmp_path / "reboots").write_text(json.dumps(note))
    assert "stopped: a: b: again" in said("status")
    assert "allowed again" in said("release")
    assert "nothing was stopped" in said("release")
    assert "stopped" not in said("status")


def test_logs(node: FakeNode, tmp_path: Path) -> None:
    make(node)
    events = [
        {"seq": 1, "time": 1.0, "event": "program.started", "hostname": "node1"},
        {"seq": 2, "time": 2.0, "event": "service.started", "name": "clock"},
        {
            "seq": 3,
            "time": 3.0,
            "event": "error",
            "title": "T",
            "detail": "d " * 60,
            "code": "c",
            "hint": "h",
        },
    ]
    (tmp_path / "events.jsonl").write_text(
        "".join(json.dumps(event) + "\n" for event in events) + '{"seq": 4'
    )
    text = said("logs")
    assert "program.started hostname=node1" in text
    assert "error: T: d d" in text
    assert "program.started" not in said("logs", "-n", "2")
    only = said("logs", "clock")
    assert "program.started" not in only
    assert "-- bm-clock.service\nout of luck\n" in only
    plain = json.loads(said("logs", "clock", "--format", "json"))
    assert [event["seq"] for event in plain["events"]] == [2]
    assert plain["journal"] == {"bm-clock.service": "out of luck"}
    assert "nothing was told of x" in said("logs", "x", status=1)


def test_logs_of_what_is_no_sliver_but_has_events(
    node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_backends", lambda: (Slivers(node.node),))
    for name in ("/etc/motd", "sliver demo_two", "Demo"):
        event = {"time": 0.0, "event": "error", "name": name, "title": "T", "detail": "d", "code": "c"}
        (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
        assert "error: T: d" in said("logs", name)
    assert "nothing was told of /etc/issue" in said("logs", "/etc/issue", status=1)


def test_a_table_keeps_its_columns() -> None:
    text = show.table([("slivers", "demo_one", "word " * 30)], ("BACKEND", "NAME", "STATE"))
    assert {line[:19].strip() for line in text.splitlines()[2:]} == {""}


# --- one at a time ---


def test_one_at_a_time_and_the_daemon_is_known(tmp_path: Path) -> None:
    with alone(DAEMON, tmp_path), pytest.raises(Busy), alone("apply", tmp_path):
        pass
    with alone(DAEMON, tmp_path):
        assert daemon(tmp_path) == os.getpid()
    with alone("apply", tmp_path):
        assert daemon(tmp_path) == 0


@pytest.fixture
def hups() -> Iterator[threading.Event]:
    """Set when this process was asked for a pass."""
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())
    yield asked
    signal.signal(signal.SIGHUP, before)


def test_the_pass_that_counts_began_after_it_was_asked_for(
    tmp_path: Path, hups: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    file, shown = tmp_path / "pass.json", []
    old = Outcome(1.0, 2.0, True, 0)

    def meanwhile() -> None:
        shown.append(hups.is_set())
        begun = 9e9 if len(shown) > 3 else 1.0
        passes.keep(replace(old, began=begun), file)

    assert ask(os.getpid(), meanwhile, file).began == 9e9
    assert shown == [True] * 5


def test_a_daemon_that_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(process: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(module.os, "kill", gone)
    with pytest.raises(NoPass, match="4711 has ended"):
        ask(4711, lambda: None, tmp_path / "pass.json")
