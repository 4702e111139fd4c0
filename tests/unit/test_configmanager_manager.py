"""The manager: which configuration counts, what is told, when it is tried again."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import manager as module
from configmanager.backends.base import Action, Item, Node
from configmanager.clock import Clock
from configmanager.manager import Manager, pause
from configmanager.passes import Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records
from host.events import Event, Events
from host.http import ServerUnreachable
from host.run import Runner
from tests.unit.configmanager_things import Things
from wire.messages import RunLevel
from wire.slivers import Attribute, NodeSlivers, Sliver
from wire.structure import unstructure

REPLY = NodeSlivers(1000, 1, "node1", (Sliver("demo_one", 1, 5000),))


class Server:
    """Answers what `replies` yield; the pass after the last stops the manager."""

    def __init__(self, *replies: NodeSlivers | Exception) -> None:
        self.replies = list(replies)
        self.levels: list[RunLevel] = []
        self.watched: list[int] = []
        self.stop: Callable[[], None] = lambda: None

    def fetch(self) -> object:
        reply = self.replies.pop(0)
        if not self.replies:
            self.stop()
        if isinstance(reply, Exception):
            raise reply
        return unstructure(reply)

    def watch(self, generation: int) -> None:
        self.watched.append(generation)

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


def run(
    things: Things,
    server: Server,
    folder: Path,
    boot: str = "1",
    others: tuple[Things, ...] = (),
    decided: Callable[[NodeSlivers], NodeSlivers] = lambda said: said,
) -> list[Outcome]:
    """Let the manager have as many passes as the server has replies, the last one without actions.

    A reboot ends it too.
    """
    kept: list[Outcome] = []
    (folder / "boot_id").write_text(boot)
    records = Records(folder / "records")
    clock = Clock(records.newest_time, folder / "clock")
    manager = Manager((things, *others), records, server, things.node.events, clock, decided)
    server.stop = manager.stop
    manager.run(Reboots(folder / "reboots", folder / "boot_id"), manager.stop, kept.append)
    return kept


def know(folder: Path, reply: NodeSlivers) -> None:
    """Let the node have a record of before."""
    Records(folder / "records").store(unstructure(reply))


def names(told: list[Event]) -> list[str]:
    return [event.event for event in told]


def test_a_node_comes_up_and_says_so_once(things: Things, told: list[Event], tmp_path: Path) -> None:
    server = Server(REPLY, REPLY, REPLY)
    run(things, server, tmp_path)
    assert things.done == ["create demo_one"]
    assert server.levels == [RunLevel.BOOT]
    assert names(told) == ["action", "runlevel"]


def test_without_the_server_the_record_counts(things: Things, told: list[Event], tmp_path: Path) -> None:
    know(tmp_path, REPLY)
    off = ServerUnreachable("off")
    server = Server(off, off, off)
    run(things, server, tmp_path)
    assert things.done == ["create demo_one"]
    assert server.levels == []
    # One outage is one error, however long it lasts.
    assert names(told) == ["error", "action", "runlevel"]


def test_the_run_level_is_reported_when_the_server_is_back(things: Things, tmp_path: Path) -> None:
    know(tmp_path, REPLY)
    server = Server(ServerUnreachable("off"), REPLY, REPLY)
    run(things, server, tmp_path)
    assert server.levels == [RunLevel.BOOT]


def test_one_failure_is_told_once_and_does_not_stop_the_others(
    things: Things, told: list[Event], tmp_path: Path
) -> None:
    things.broken.add("demo_one")
    reply = replace(REPLY, slivers=(*REPLY.slivers, Sliver("demo_two", 2, 5000)))
    server = Server(reply, reply, reply)
    run(things, server, tmp_path)
    assert things.done == ["create demo_two"]
    assert server.levels == [RunLevel.FAILBOOT]
    errors = [event.data for event in told if event.event == "error"]
    assert [(error["code"], error["name"]) for error in errors] == [("command-missing", "demo_one")]


def test_what_failed_and_works_again_is_reported(things: Things, tmp_path: Path) -> None:
    things.broken.add("demo_one")
    server = Server(REPLY, REPLY, REPLY, REPLY)
    fetch, count = server.fetch, 0

    def repaired() -> object:
        nonlocal count
        count += 1
        if count == 2:
            things.broken.clear()
        return fetch()

    server.fetch = repaired  # type: ignore[method-assign]
    run(things, server, tmp_path)
    assert server.levels == [RunLevel.FAILBOOT, RunLevel.BOOT]


def test_an_expired_sliver_is_removed_also_without_the_server(things: Things, tmp_path: Path) -> None:
    know(tmp_path, replace(REPLY, slivers=(Sliver("demo_one", 1, 1999),)))
    things.there["demo_one"] = Item("demo_one", "digest", True)
    off = ServerUnreachable("off")
    run(things, Server(off, off), tmp_path)
    assert things.done == ["remove demo_one"]


def faulty(*_: object) -> Iterator[Action]:
    raise KeyError("what nobody thought of")
    yield


@pytest.mark.parametrize("at", ["observe", "plan", "apply"])
def test_a_fault_in_a_backend_keeps_no_other_from_its_work(
    things: Things, told: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    others = Things(things.node)
    # A plan may be a generator, which fails when it is read.
    monkeypatch.setattr(things, at, faulty if at == "plan" else lambda *_: next(faulty()))
    server = Server(REPLY, REPLY, REPLY)
    run(things, server, tmp_path, others=(others,))
    assert others.done == ["create demo_one"]
    assert server.levels == [RunLevel.FAILBOOT]
    errors = [event.data for event in told if event.event == "error"]
    assert [(error["code"], error["detail"]) for error in errors] == [
        ("internal", "KeyError: 'what nobody thought of'")
    ]


def test_a_node_that_was_never_told_anything_says_so(things: Things, tmp_path: Path) -> None:
    off = ServerUnreachable("off")
    outcomes = run(things, Server(off, off), tmp_path)
    assert [(each.answered, [one.code for one in each.failed]) for each in outcomes] == [
        (False, ["server-unreachable"])
    ] * 2


def test_a_full_disk_is_an_error_like_others(
    things: Things, told: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(things, "apply", full)
    run(things, Server(REPLY, REPLY), tmp_path)
    assert [event.data["code"] for event in told if event.event == "error"] == ["disk-trouble"]


def test_a_reboot_ends_the_pass_and_the_next_one_goes_on(
    things: Things, told: list[Event], tmp_path: Path
) -> None:
    two = replace(REPLY, slivers=(*REPLY.slivers, Sliver("demo_two", 2, 5000)))
    things.reboots["demo_one"] = 1
    (outcome,) = run(things, Server(two, two), tmp_path, boot="1")
    assert things.done == ["create demo_two"]
    assert outcome.reboot == "things: create demo_one: it counts after a reboot"
    assert names(told)[-1] == "reboot"
    server = Server(two, two, two)
    run(things, server, tmp_path, boot="2")
    assert things.done == ["create demo_two", "create demo_one"]
    assert server.levels == [RunLevel.BOOT]


def test_a_reboot_loop_ends_in_a_failure_with_its_cause(
    things: Things, told: list[Event], tmp_path: Path
) -> None:
    things.reboots["demo_one"] = 100
    for boot in ("1", "2", "3"):
        (outcome,) = run(things, Server(REPLY, REPLY), tmp_path, boot)
        assert outcome.reboot
    server = Server(REPLY, REPLY, REPLY)
    outcomes = run(things, server, tmp_path, boot="4")
    assert [outcome.reboot for outcome in outcomes] == ["", ""]
    assert server.levels == [RunLevel.FAILBOOT]
    assert [event.data["code"] for event in told if event.event == "error"] == ["reboot-loop"]
    # The settings were changed at the server.
    changed = replace(REPLY, slivers=(replace(REPLY.slivers[0], slice_id=9),))
    (outcome,) = run(things, Server(changed, changed), tmp_path, boot="4")
    assert outcome.reboot


def test_what_is_decided_here_lets_no_reboot_loop_go_on(things: Things, tmp_path: Path) -> None:
    things.reboots["demo_one"] = 100
    for boot in ("1", "2", "3", "4"):
        lent = (Attribute("cpu_share", f"3{boot}"),)
        slivers = (replace(REPLY.slivers[0], attributes=lent),)
        outcomes = run(
            things,
            Server(REPLY, REPLY),
            tmp_path,
            boot,
            decided=lambda said, to=slivers: replace(said, slivers=to),
        )
        assert bool(outcomes[0].reboot) is (boot != "4")


def test_a_slivers_time_ends_without_a_poll(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pause", lambda outages, failed: 60.0)
    learn = Clock.learn
    monkeypatch.setattr(Clock, "learn", lambda clock, when: learn(clock, when + 0.9))
    reply = replace(REPLY, slivers=(replace(REPLY.slivers[0], expires=1001),))
    off = ServerUnreachable("off")
    server = Server(reply, off, off)
    monkeypatch.setattr(things, "teardown", lambda name: server.stop())
    begun = time.monotonic()
    run(things, server, tmp_path)
    assert things.done == ["create demo_one", "remove demo_one"]
    assert 0.05 < time.monotonic() - begun < 5


def test_one_slivers_fault_is_told_and_the_rest_is_made(
    things: Things, told: list[Event], tmp_path: Path
) -> None:
    server = Server(REPLY, REPLY, REPLY, REPLY)
    fetch, bad = server.fetch, {"name": "demo_two", "slice_id": 2, "expires": 5000, "image": "/"}

    def answer() -> object:
        reply = fetch()
        assert isinstance(reply, dict)
        return {**reply, "slivers": [*reply["slivers"], bad]}

    server.fetch = answer  # type: ignore[method-assign]
    run(things, server, tmp_path)
    assert things.done == ["create demo_one"]
    assert server.levels == [RunLevel.FAILBOOT]
    errors = [event.data for event in told if event.event == "error"]
    assert [(error["code"], error["name"]) for error in errors] == [("refused-setting", "sliver demo_two")]


def test_the_server_is_watched_from_what_it_said_last(things: Things, tmp_path: Path) -> None:
    server = Server(
        replace(REPLY, generation=3), ServerUnreachable("off"), replace(REPLY, generation=5), REPLY
    )
    run(things, server, tmp_path)
    assert server.watched == [3, 5, 0]


def test_pauses_grow_within_bounds() -> None:
    assert 600 <= pause(0, 0) <= 900
    assert 0.5 <= pause(1, 0) <= 1
    assert 60 <= pause(50, 0) <= 120
    assert 7.5 <= pause(0, 1) <= 15
    assert pause(0, 50) <= 600


def test_a_stop_ends_the_wait_at_once(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pause", lambda outages, failed: 60.0)
    before = time.monotonic()
    run(things, Server(REPLY), tmp_path)
    assert time.monotonic() - before < 5


def test_a_signal_between_any_two_steps_ends_the_wait_and_locks_nothing(
    things: Things, tmp_path: Path
) -> None:
    clock = Clock(0.0, tmp_path / "clock")
    manager = Manager((things,), Records(tmp_path / "records"), Server(), things.node.events, clock)
    passed: list[int] = []

    def signalled(*_: object) -> object:
        manager.poll_now()
        return signalled

    def wait() -> None:
        sys.settrace(signalled)  # type: ignore[arg-type]
        for number in range(3):
            manager._wake.forget()
            manager._wake.wait(60.0)
            passed.append(number)

    threading.Thread(target=wait, daemon=True).start()
    deadline = time.monotonic() + 30
    while len(passed) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert passed == [0, 1, 2]


def test_what_was_decided_here_is_laid_over_the_servers_word(things: Things, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    records.store(unstructure(REPLY))
    clock = Clock(records.newest_time, tmp_path / "clock")
    nothing = replace(REPLY, slivers=())
    manager = Manager((things,), records, Server(), things.node.events, clock, lambda said: nothing)
    assert manager.said() == REPLY
    assert manager.desired() == nothing
    assert manager.now() >= REPLY.timestamp
