"""Waiting for events: found, missed, contradicted."""

import json
import threading
from typing import Any

import pytest

from tests.vm.harness.timeline import Timeline, WaitFailedError


def event(seq: int, name: str, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "uptime": float(seq), "program": "bootmanager", "event": name, **more}


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in events)


def test_found_at_once_and_by_value() -> None:
    timeline = Timeline()
    timeline.feed(lines(event(1, "step.done", step="a"), event(2, "step.done", step="b", seconds=2.5)))
    wanted = {"step": "b", "seconds": lambda seconds: seconds > 1}
    assert timeline.wait("step.done", wanted, timeout=0)["seq"] == 2


def test_line_in_two_pieces_and_garbage_between() -> None:
    timeline = Timeline()
    data = lines(event(1, "a")) + b"\x00boot\xff noise\n[1]\n" + lines(event(2, "b"))
    timeline.feed(data[:7])
    timeline.feed(data[7:])
    assert [item["event"] for item in timeline.all()] == ["a", "b"]


def test_heard_twice_counts_once() -> None:
    timeline = Timeline()
    timeline.add(event(1, "a"))
    timeline.add({**event(1, "a"), "id": 7, "received": 1.0})
    assert len(timeline.all()) == 1


def test_arrives_while_waiting() -> None:
    timeline = Timeline()
    threading.Timer(0.05, timeline.add, [event(1, "late")]).start()
    assert timeline.wait("late", {}, timeout=10)["seq"] == 1


def test_after_looks_only_at_what_came_later() -> None:
    timeline = Timeline()
    first, second = event(1, "runlevel"), event(2, "runlevel")
    timeline.add(first)
    timeline.add(second)
    assert timeline.wait("runlevel", {}, timeout=0, after=first) is second


def test_time_out_says_what_was_waited_for_and_what_came() -> None:
    timeline = Timeline()
    timeline.add(event(1, "step.started", step="format"))
    with pytest.raises(
        WaitFailedError, match=r"(?s)waited 0 s for step.done step='format'.*step.started.*END"
    ):
        timeline.wait("step.done", {"step": "format"}, timeout=0, story=lambda: "END")


def test_unexpected_error_ends_the_wait() -> None:
    timeline = Timeline()
    timeline.add(event(1, "error", code="no-disk"))
    with pytest.raises(WaitFailedError, match="an error came instead of"):
        timeline.wait("step.done", {}, timeout=10)
    # Once it was waited for, it is no surprise any more.
    assert timeline.wait("error", {"code": "no-disk"}, timeout=0)["seq"] == 1
    with pytest.raises(WaitFailedError, match="waited 0 s"):
        timeline.wait("step.done", {}, timeout=0)


def test_dead_machine_ends_the_wait() -> None:
    with pytest.raises(WaitFailedError, match="QEMU ended with status 1, while waiting for x"):
        Timeline().wait("x", {}, timeout=10, health=lambda: "QEMU ended with status 1")
