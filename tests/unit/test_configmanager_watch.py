"""Waiting for a change on the node: who wakes the manager, and how seldom."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import watch as module
from configmanager.watch import Waiting, Watch
from host.http import ServerUnreachable
from wire.changes import CHANGED, UNCHANGED, ChangesKey
from wire.session import NodeKey

KEY = ChangesKey.derive(NodeKey(bytes(range(32))), 7)


class Line:
    """Gives one answer after the other, and then waits until the test ends."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.empty = threading.Event()
        self._end = threading.Event()

    def get(self, path: str, *, limit: int) -> bytes:
        self.asked.append(path)
        if not self.answers:
            self.empty.set()
            self._end.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert len(answer) <= limit
        return answer


class Scene:
    """A watch whose pauses are noted and take no time."""

    def __init__(self) -> None:
        self.woken = threading.Semaphore(0)
        self.pauses: list[float] = []
        self.watch = Watch(self.woken.release, self.pauses.append)

    def set(self, line: Line, generation: int = 3) -> None:
        self.watch.set(Waiting(line, KEY, generation))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(module, "SPREAD_SECONDS", 0.0)
    return Scene()


def test_a_change_wakes_the_manager_once(scene: Scene) -> None:
    line = Line(CHANGED)
    scene.set(line)
    assert scene.woken.acquire(timeout=5)
    # Nothing is asked until the manager says from where on.
    assert line.asked == [f"/changes/7/3/{KEY.value(3)}"]
    scene.set(line, 4)
    assert line.empty.wait(5)
    assert line.asked[1:] == [f"/changes/7/4/{KEY.value(4)}"]
    assert not scene.woken.acquire(blocking=False)


def test_what_is_lost_is_asked_again_ever_more_seldom(scene: Scene) -> None:
    off = ServerUnreachable("off")
    line = Line(*[off] * 30, b"<html>", CHANGED)
    scene.set(line)
    assert scene.woken.acquire(timeout=5)
    pauses = scene.pauses[:-1]
    assert len(pauses) == 31
    assert 0.5 <= pauses[0] <= 1
    assert all(150 <= pause <= 300 for pause in pauses[12:])


def test_a_wait_that_ends_without_a_change_goes_on_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOON_SECONDS", -1.0)
    line = Line(UNCHANGED, UNCHANGED, UNCHANGED)
    scene.set(line)
    assert line.empty.wait(5)
    assert scene.pauses == []


def test_answers_that_come_too_soon_are_not_asked_for_without_end(scene: Scene) -> None:
    line = Line(*[UNCHANGED] * 10)
    scene.set(line)
    assert line.empty.wait(5)
    assert scene.pauses[-1] >= 150


def test_hints_that_come_to_nothing_are_followed_by_pauses(scene: Scene) -> None:
    line = Line(*[CHANGED] * 14)
    for generation in (*[3] * 12, 4, 5):
        if generation == 4:
            assert max(scene.pauses) >= 150
            scene.pauses.clear()
        # As the manager does: nothing is waited for while it asks.
        scene.watch.set(None)
        scene.set(line, generation)
        assert scene.woken.acquire(timeout=5)
    # A hint that was one: as quick as before.
    assert all(pause == 0 for pause in scene.pauses)


def test_who_set_nothing_is_not_woken(scene: Scene) -> None:
    line = Line()
    scene.set(line)
    assert line.empty.wait(5)
    scene.watch.set(None)
    line.answers.append(CHANGED)
    line._end.set()
    other = Line()
    scene.set(other, 9)
    # The late answer is dealt with when the next thing is asked.
    assert other.empty.wait(5)
    assert not scene.woken.acquire(blocking=False)


def test_the_vector_is_what_the_programs_do() -> None:
    vectors = json.loads((Path(__file__).parents[2] / "docs/protocol-vectors.json").read_text())
    given = vectors["changes"]
    assert KEY.secret.hex() == given["key_hex"]
    assert KEY.path(given["generation"]) == given["path"]
    assert replace(KEY, node_id=8).value(given["generation"]) not in given["path"]
