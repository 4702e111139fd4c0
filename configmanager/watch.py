"""Waiting at the server for a change, in one thread of its own.

What the server answers is a hint: it costs one signed call at most, and who made it up cannot make the node
call again and again, because hints that came to nothing are followed by ever longer pauses. Without answers
the node asks every 10 to 15 minutes as ever.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from host.http import ServerUnreachable
from wire.changes import CHANGED, UNCHANGED, ChangesKey
from wire.errors import BootError

log = logging.getLogger(__name__)

# A fleet that is changed at once asks spread over this time.
SPREAD_SECONDS = 1.0
# An answer that says "unchanged" sooner was not waited for.
SOON_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 1.0
LAST_PAUSE_SECONDS = 300.0


class Getter(Protocol):
    """What is needed of an HttpClient; may raise any BootError."""

    def get(self, path: str, *, limit: int) -> bytes:
        """Return the body at `path`."""


@dataclass(frozen=True)
class Waiting:
    """What is waited for: another generation than this one."""

    http: Getter
    key: ChangesKey
    generation: int


class Watch:
    """Calls `wake` when the server has another generation than the one that was set. Safe from any thread."""

    def __init__(self, wake: Callable[[], None], sleep: Callable[[float], None] = time.sleep) -> None:
        self._wake = wake
        self._sleep = sleep
        self._changed = threading.Condition()
        self._waiting: Waiting | None = None
        self._hinted: int | None = None
        self._failures = 0
        self._thread: threading.Thread | None = None

    def set(self, waiting: Waiting | None) -> None:
        """Wait for that from now on, or for nothing."""
        with self._changed:
            self._waiting = waiting
            if waiting is None:
                return
            if self._hinted is not None:
                self._failures = self._failures + 1 if waiting.generation == self._hinted else 0
            self._hinted = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
            if self._failures:
                self._sleep(_pause(self._failures))
            self._ask()

    def _ask(self) -> None:
        with self._changed:
            waiting = self._waiting
        if waiting is None:
            return
        begun = time.monotonic()
        try:
            answer = waiting.http.get(waiting.key.path(waiting.generation), limit=len(UNCHANGED))
            if answer not in (CHANGED, UNCHANGED):
                raise ServerUnreachable("neither a change nor none was answered")
        except BootError as error:
            log.info("no word of changes: %s", error)
            self._failures += 1
            return
        if answer == UNCHANGED:
            self._failures = 0 if time.monotonic() - begun > SOON_SECONDS else self._failures + 1
            return
        with self._changed:
            if self._waiting is not waiting:
                return
            self._waiting, self._hinted = None, waiting.generation
        self._sleep(random.uniform(0, SPREAD_SECONDS))  # noqa: S311 - not a secret
        self._wake()


def _pause(failures: int) -> float:
    longest: float = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16), LAST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
