"""The events of one machine since its last power-on, and waiting for one of them.

Events arrive by the serial line (`bm.events=`) and from the server; the same event heard twice counts once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Health = Callable[[], str | None]
"""Says why waiting is useless (the machine is dead), or None."""


class WaitFailedError(AssertionError):
    """An event did not come; the text says what was waited for, and what came instead."""


def matches(event: Event, name: str, wanted: dict[str, Any]) -> bool:
    """Return whether an event has this name and these values; a callable value is asked instead."""
    if event.get("event") != name:
        return False
    return all(
        value(event.get(key)) if callable(value) else event.get(key) == value for key, value in wanted.items()
    )


class Timeline:
    """A growing list of events; safe to use from several threads."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._seen: set[tuple[Any, ...]] = set()
        self._expected: list[Event] = []
        self._rest = b""
        self._news = threading.Condition()

    def clear(self) -> None:
        """Forget everything: the machine was powered on anew."""
        with self._news:
            self._events, self._seen, self._expected, self._rest = [], set(), [], b""

    def feed(self, data: bytes) -> None:
        """Take bytes of a serial line; a line that is not a JSON object is left to the log."""
        with self._news:
            *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                self.add(event)

    def add(self, event: Event) -> None:
        """Take one event, unless it was heard before."""
        # A program that starts again counts from 1 again, at another uptime; another boot is another boot.
        key = tuple(event.get(name) for name in ("program", "boot", "seq", "uptime"))
        with self._news:
            if key in self._seen:
                return
            self._seen.add(key)
            self._events.append(event)
            self._news.notify_all()

    def all(self, name: str | None = None, /, **wanted: Any) -> list[Event]:
        """Return the events so far, in order of arrival; with a name, those that match."""
        with self._news:
            return [event for event in self._events if name is None or matches(event, name, wanted)]

    def wait(
        self,
        name: str,
        wanted: dict[str, Any],
        *,
        timeout: float,
        after: Event | None = None,
        health: Health = lambda: None,
        story: Callable[[], str] = lambda: "",
    ) -> Event:
        """Return the first event that matches, of those after `after`, waiting up to `timeout` seconds.

        Raises WaitFailedError when the time is over, when `health` gives a reason, or when an `error` event
        comes that nobody has waited for.
        """
        asked = name + "".join(f" {key}={value!r}" for key, value in wanted.items())
        end = time.monotonic() + timeout
        seen = 0
        with self._news:
            if after is not None:
                seen = next(i for i, event in enumerate(self._events) if event is after) + 1
            while True:
                sick = health()
                for event in self._events[seen:]:
                    if matches(event, name, wanted):
                        self._expected.append(event)
                        return event
                    if self._is_unexpected(event):
                        raise WaitFailedError(self._report(f"an error came instead of {asked}", story))
                seen = max(seen, len(self._events))
                if sick is not None:
                    raise WaitFailedError(self._report(f"{sick}, while waiting for {asked}", story))
                left = end - time.monotonic()
                if left <= 0:
                    raise WaitFailedError(self._report(f"waited {timeout:.0f} s for {asked}", story))
                self._news.wait(min(left, 0.5))

    def _is_unexpected(self, event: Event) -> bool:
        return event.get("event") == "error" and not any(event is known for known in self._expected)

    def _report(self, what: str, story: Callable[[], str]) -> str:
        last = "\n".join(f"  {json.dumps(event)}" for event in self._events[-12:]) or "  (none)"
        return f"{what}\nlast events:\n{last}\n{story()}"
