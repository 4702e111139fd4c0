"""The manager: which configuration counts, what is told, when it is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from configmanager import manager as module
from configmanager import plugins
from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.manager import Manager, pause
from configmanager.records import Records, StaleConfiguration, WrongNode, unexpired
from host.events import Event, Events
from host.http import ServerUnreachable
from host.run import CommandMissing, Runner
from wire.messages import RunLevel
from wire.slivers import NodeService, NodeSlivers, Sliver

REPLY = NodeSlivers(1000, 1, "node1", (Sliver("demo_one", 1, 5000),))


class Things(Backend):
    """Remembers what it was asked to do; things in `broken` fail."""

    name: ClassVar[str] = "things"
    claims: ClassVar[frozenset[str]] = frozenset({"things"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.there: dict[str, Item] = {}
        self.broken: set[str] = set()
        self.done: list[str] = []

    def observe(self) -> tuple[Item, ...]:
        return tuple(self.there.values())

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({item.name: "digest" for item in desired.slivers}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.name in self.broken:
            raise CommandMissing(action.name)
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
        else:
            self.there[action.name] = Item(action.name, "digest", True)
        self.done.append(f"{action.verb} {action.name}")

    def teardown(self, name: str) -> None:
        self.there.pop(name, None)


class Rivals(Things):
    """Claims what Things claims."""

    name: ClassVar[str] = "rivals"


class Server:
    """Answers what `replies` yield; the pass after the last stops the manager."""

    def __init__(self, *replies: NodeSlivers | Exception) -> None:
        self.replies = list(replies)
        self.levels: list[RunLevel] = []
        self.stop: Callable[[], None] = lambda: None

    def fetch(self) -> NodeSlivers:
        reply = self.replies.pop(0)
        if not self.replies:
            self.stop()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def report(self, level: RunLevel) -> None:
        self.levels.append(level)


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def things(told: list[Event], tmp_path: Path) -> Things:
    return Things(Node(Runner(), Events("test", (told.append,)), lambda ref, target: None, tmp_path))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause", lambda outages, failed: 0.0)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(module.time, "time", lambda: 2000.0)


def run(things: Things, server: Server, file: Path) -> None:
    """Let the manager have as many passes as the server has replies, the last one without actions."""
    manager = Manager((things,), Records(file), server, things.node.events)
    server.stop = manager.stop
    manager.run()


def names(told: list[Event]) -> list[str]:
    return [event.event for event in told]


def test_a_node_comes_up_and_says_so_once(things: Things, told: list[Event], tmp_path: Path) -> None:
    server = Server(REPLY, REPLY, REPLY)
    run(things, server, tmp_path / "record.json")
    assert things.done == ["create demo_one"]
    assert server.levels == [RunLevel.BOOT]
    assert names(told) == ["action", "runlevel"]


def test_without_the_server_the_record_counts(things: Things, told: list[Event], tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    Records(file).store(REPLY)
    off = ServerUnreachable("off")
    server = Server(off, off, off)
    run(things, server, file)
    assert things.done == ["create demo_one"]
    assert server.levels == []
    # One outage is one error, however long it lasts.
    assert names(told) == ["error", "action", "runlevel"]


def test_the_run_level_is_reported_when_the_server_is_back(things: Things, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    Records(file).store(REPLY)
    server = Server(ServerUnreachable("off"), REPLY, REPLY)
    run(things, server, file)
    assert server.levels == [RunLevel.BOOT]


def test_one_failure_is_told_once_and_does_not_stop_the_others(
    things: Things, told: list[Event], tmp_path: Path
) -> None:
    things.broken.add("demo_one")
    reply = replace(REPLY, slivers=(*REPLY.slivers, Sliver("demo_two", 2, 5000)))
    server = Server(reply, reply, reply)
    run(things, server, tmp_path / "record.json")
    assert things.done == ["create demo_two"]
    assert server.levels == [RunLevel.FAILBOOT]
    errors = [event.data for event in told if event.event == "error"]
    assert [(error["code"], error["name"]) for error in errors] == [("command-missing", "demo_one")]


def test_what_failed_and_works_again_is_reported(things: Things, tmp_path: Path) -> None:
    things.broken.add("demo_one")
    server = Server(REPLY, REPLY, REPLY, REPLY)
    fetch, count = server.fetch, 0

    def repaired() -> NodeSlivers:
        nonlocal count
        count += 1
        if count == 2:
            things.broken.clear()
        return fetch()

    server.fetch = repaired  # type: ignore[method-assign]
    run(things, server, tmp_path / "record.json")
    assert server.levels == [RunLevel.FAILBOOT, RunLevel.BOOT]


def test_an_expired_sliver_is_removed_also_without_the_server(things: Things, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    Records(file).store(replace(REPLY, slivers=(Sliver("demo_one", 1, 1999),)))
    things.there["demo_one"] = Item("demo_one", "digest", True)
    off = ServerUnreachable("off")
    run(things, Server(off, off), file)
    assert things.done == ["remove demo_one"]


def test_a_full_disk_is_an_error_like_others(
    things: Things, told: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(things, "apply", full)
    run(things, Server(REPLY, REPLY), tmp_path / "record.json")
    assert [event.data["code"] for event in told if event.event == "error"] == ["disk-trouble"]


def test_records_keep_the_newer_and_refuse_another_nodes(tmp_path: Path) -> None:
    records = Records(tmp_path / "record.json")
    assert records.load() is None
    full = replace(REPLY, services=(NodeService("clock", "[Service]\n"),))
    records.store(full)
    assert records.load() == full
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StaleConfiguration):
        records.store(replace(full, timestamp=999, slivers=()))
    with pytest.raises(WrongNode):
        records.store(replace(full, node_id=2))
    assert records.load() == full


@pytest.mark.parametrize("text", ["", "{", "[]", '{"timestamp": 1}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    records = Records(tmp_path / "record.json")
    assert records.load() is None
    records.store(REPLY)
    assert records.load() == REPLY


def test_expiry_does_not_trust_a_clock_that_lags() -> None:
    record = replace(REPLY, slivers=(Sliver("gone", 1, 900), Sliver("here", 2, 1100)))
    assert [item.name for item in unexpired(record, 0.0).slivers] == ["here"]
    assert unexpired(record, 1200.0).slivers == ()


def test_pauses_grow_within_bounds() -> None:
    assert 600 <= pause(0, 0) <= 900
    assert 0.5 <= pause(1, 0) <= 1
    assert 60 <= pause(50, 0) <= 120
    assert 7.5 <= pause(0, 1) <= 15
    assert pause(0, 50) <= 600


def test_rival_backends_are_refused_before_anything_is_touched(things: Things) -> None:
    rivals = Rivals(things.node)
    with pytest.raises(plugins.ConflictingBackends, match=r"things.*rivals.*claim things"):
        plugins.check_claims((things, rivals))
    with pytest.raises(plugins.ConflictingBackends, match="name:things"):
        plugins.check_claims((things, Things(things.node)))


def test_backends_are_loaded_from_entry_points(things: Things) -> None:
    good = EntryPoint("slivers", "configmanager.backends.slivers:Slivers", plugins.GROUP)
    assert [backend.name for backend in plugins.load(things.node, [good, good])] == ["slivers"]
    for value in ("no.such.module:Backend", "configmanager.records:Records", "configmanager.records:Nothing"):
        with pytest.raises(plugins.BrokenBackend):
            plugins.load(things.node, [EntryPoint("bad", value, plugins.GROUP)])
    with pytest.raises(plugins.BrokenBackend, match="no distribution"):
        plugins.load(things.node, [])


def test_a_backend_comes_behind_those_that_it_names(things: Things) -> None:
    def made(name: str, *after: str) -> Things:
        kind = type(name, (Things,), {"name": name, "after": frozenset(after)})
        made: Things = kind(things.node)
        return made

    backends = (made("a", "c", "not-installed"), made("b"), made("c", "b"), made("d"))
    assert [backend.name for backend in plugins.ordered(backends)] == ["b", "d", "c", "a"]
    with pytest.raises(plugins.BrokenBackend, match=r"a, b, a|b, a, b"):
        plugins.ordered((made("a", "b"), made("b", "a")))


def test_a_stop_ends_the_wait_at_once(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pause", lambda outages, failed: 60.0)
    before = time.monotonic()
    run(things, Server(REPLY), tmp_path / "record.json")
    assert time.monotonic() - before < 5
