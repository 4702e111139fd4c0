"""The loop: learn what the node shall run, make it so, tell what came of it, wait.

The server may be away at any time and for any length: the node goes on with the record on its disk.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from configmanager.backends.base import Action, Backend
from configmanager.records import Records, unexpired
from host.events import Events
from wire.errors import BootError, JournalError
from wire.messages import RunLevel
from wire.slivers import NodeSlivers

POLL_SECONDS = 600.0
POLL_SPREAD_SECONDS = 300.0
# How long the server is tried at the start before the node makes do with its record.
PATIENCE_SECONDS = 10.0
# After a failure: of the server, and of something that was to be made.
FIRST_RETRY_SECONDS = 1.0
FIRST_REPAIR_SECONDS = 15.0
LAST_RETRY_SECONDS = 120.0


class DiskTrouble(JournalError):
    """The node's own disk fails, or is full."""

    code = "disk-trouble"
    title = "The node's files cannot be read or written"
    hint = "The disk is full, read-only or dying: `df /var /var/lib/machines`, then the kernel's messages."


class Server(Protocol):
    """What the manager asks of the server; every method may raise any BootError."""

    def fetch(self) -> NodeSlivers:
        """Return what the node shall run."""

    def report(self, level: RunLevel) -> None:
        """Tell the observed run level."""


@dataclass(frozen=True)
class Failure:
    """An action, or the look at a whole backend, that failed."""

    backend: str
    name: str
    error: BootError


class Manager:
    """One node's configuration, made so again and again."""

    def __init__(self, backends: Sequence[Backend], records: Records, server: Server, events: Events) -> None:
        self._backends = backends
        self._records = records
        self._server = server
        self._events = events
        self._wake = threading.Event()
        self._stopping = False
        self._complaints: dict[str, str] = {}
        self._reported: RunLevel | None = None
        self._told: RunLevel | None = None

    def run(self) -> None:
        """Return when stop() was called."""
        started = time.monotonic()
        outages = failed_passes = 0
        while not self._stopping:
            self._wake.clear()
            answered = self._refresh()
            outages = 0 if answered else outages + 1
            desired = self._desired()
            failed: list[Failure] = []
            if desired is not None and (answered or time.monotonic() - started > PATIENCE_SECONDS):
                failed = self.converge(desired)
                if self._stopping:
                    return  # The pass was cut short, so nothing follows from it.
                self._report(RunLevel.FAILBOOT if failed else RunLevel.BOOT, answered)
            failed_passes = failed_passes + 1 if failed else 0
            self._wake.wait(pause(outages, failed_passes))

    def stop(self) -> None:
        """End run() after what it is doing."""
        self._stopping = True
        self._wake.set()

    def poll_now(self) -> None:
        """Let run() ask the server at once."""
        self._wake.set()

    def refresh(self) -> None:
        """Ask the server and keep its answer. Raises any BootError, DiskTrouble among them."""
        try:
            self._records.store(self._server.fetch())
        except OSError as error:
            raise DiskTrouble(str(error)) from None

    def converge(self, desired: NodeSlivers) -> list[Failure]:
        """Make it so, as far as possible; every failure is told and returned, none is raised."""
        failed: list[Failure] = []
        for backend in self._backends:
            failed += self._converge_one(backend, desired)
        self._settle({self._key(failure.backend, failure.name) for failure in failed} | {"server"})
        return failed

    def _converge_one(self, backend: Backend, desired: NodeSlivers) -> list[Failure]:
        failed: list[Failure] = []

        def attempt(name: str, work: Callable[[], object]) -> None:
            try:
                work()
            except BootError as error:
                failed.append(Failure(backend.name, name, error))
            except OSError as error:
                failed.append(Failure(backend.name, name, DiskTrouble(str(error))))

        actions: list[Action] = []
        attempt("", lambda: actions.extend(backend.plan(desired, backend.observe())))
        for action in actions:
            if self._stopping:
                break
            self._events.tell("action", backend=backend.name, verb=str(action.verb), name=action.name)
            attempt(action.name, lambda action=action: backend.apply(desired, action))  # type: ignore[misc]
        for failure in failed:
            self._complain(self._key(failure.backend, failure.name), failure.error, name=failure.name)
        return failed

    def _desired(self) -> NodeSlivers | None:
        record = self._records.load()
        return unexpired(record, time.time()) if record is not None else None

    def _refresh(self) -> bool:
        try:
            self.refresh()
        except BootError as error:
            self._complain("server", error)
            return False
        if self._complaints.pop("server", None):
            self._events.tell("server.back")
        return True

    def _report(self, level: RunLevel, answered: bool) -> None:
        if level is not self._told:
            self._events.tell("runlevel", run_level=str(level))
            self._told = level
        if not answered or level is self._reported:
            return
        try:
            self._server.report(level)
        except BootError as error:
            self._complain("server", error)
        else:
            self._reported = level

    def _complain(self, key: str, error: BootError, **more: str) -> None:
        """Tell an error, but not the same one again at each pass."""
        if self._complaints.get(key) == str(error):
            return
        self._complaints[key] = str(error)
        self._events.tell(
            "error", code=error.code, title=error.title, detail=error.detail, hint=error.advice, **more
        )

    def _settle(self, still: set[str]) -> None:
        """Forget complaints that are settled, so that the same failure would be told anew."""
        self._complaints = {key: text for key, text in self._complaints.items() if key in still}

    @staticmethod
    def _key(backend: str, name: str) -> str:
        return f"{backend}/{name}"


def pause(outages: int, failed_passes: int) -> float:
    """Return seconds until the next pass; random parts keep a fleet from acting in step."""
    if outages:
        return _backoff(FIRST_RETRY_SECONDS, outages, LAST_RETRY_SECONDS)
    if failed_passes:
        return _backoff(FIRST_REPAIR_SECONDS, failed_passes, POLL_SECONDS)
    return random.uniform(POLL_SECONDS, POLL_SECONDS + POLL_SPREAD_SECONDS)  # noqa: S311 - not a secret


def _backoff(first: float, count: int, last: float) -> float:
    longest: float = min(first * 2.0 ** min(count - 1, 16), last)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
