"""The loop: learn what the node shall run, make it so, tell what came of it, wait.

The server may be away at any time and for any length: the node goes on with the record on its disk.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from configmanager.backends.base import Backend
from configmanager.bell import Bell
from configmanager.clock import Clock
from configmanager.converge import Pass, converge
from configmanager.notify import still_working
from configmanager.passes import Failure, Outcome
from configmanager.reboots import Reboots
from configmanager.records import DiskTrouble, Records, unexpired
from host.events import Events
from wire.errors import BootError, VerificationError
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
# How long a machine may take to go down before the reboot is asked for again.
REBOOT_SECONDS = 600.0


class RefusedSetting(VerificationError):
    """What the server says of one sliver, service, file, account or image breaks a rule."""

    code = "refused-setting"
    title = "A part of the configuration is refused"
    hint = "Correct it at the server; what it had before goes on, and the others are not concerned."


class Server(Protocol):
    """What the manager asks of the server; every method may raise any BootError."""

    def fetch(self) -> object:
        """Return what the node shall run, as plain data."""

    def watch(self, generation: int) -> None:
        """Let the manager be woken when the server has another generation than this one."""

    def report(self, level: RunLevel) -> None:
        """Tell the observed run level."""


class Manager:
    """One node's configuration, made so again and again."""

    def __init__(
        self,
        backends: Sequence[Backend],
        records: Records,
        server: Server,
        events: Events,
        clock: Clock,
        decided: Callable[[NodeSlivers], NodeSlivers] = lambda said: said,
    ) -> None:
        """`decided` lays what was decided on this node over the server's word."""
        self._backends = backends
        self._records = records
        self._server = server
        self._events = events
        self._clock = clock
        self._decided = decided
        self._wake = Bell()
        self._stopping = False
        self._complaints: dict[str, str] = {}
        self._reported: RunLevel | None = None
        self._told: RunLevel | None = None

    def run(self, reboots: Reboots, reboot: Callable[[], None], keep: Callable[[Outcome], None]) -> None:
        """Return when stop() was called. `reboot` begins a reboot; `keep` gets what came of each pass."""
        started = _uptime()
        outages = failed_passes = 0
        while not self._stopping:
            self._wake.forget()
            still_working()
            began = _uptime()
            away = self._refresh()
            outages = outages + 1 if away else 0
            desired = self.desired()
            made = Pass()
            if desired is None:
                self._keep(Outcome(began, _uptime(), False, 0, away), keep)
            elif not away or began - started > PATIENCE_SECONDS:
                made = self.converge(desired)
                if self._stopping:
                    return  # The pass was cut short, so nothing follows from it.
                # By the server's word: what slices decide here must not let a loop go on.
                reason = self._rebooting(self.said() or desired, made, reboots)
                failed = (*made.failed, *self.refused())
                self._keep(Outcome(began, _uptime(), not away, made.done, (*failed, *away), reason), keep)
                if reason:
                    self._leave(reason, reboot)
                    continue
                self._report(RunLevel.FAILBOOT if failed else RunLevel.BOOT, answered=not away)
            failed_passes = failed_passes + 1 if made.failed else 0
            self._wake.wait(min(pause(outages, failed_passes), self._until_expiry()))

    def stop(self) -> None:
        """End run() after what it is doing."""
        self._stopping = True
        self._wake.ring()

    def poll_now(self) -> None:
        """Let run() ask the server at once."""
        self._wake.ring()

    def refresh(self, *, older: bool = False) -> None:
        """Ask the server and keep its answer, also one that is `older` where a person wants that.

        Raises any BootError, DiskTrouble among them.
        """
        try:
            known = self._records.store(self._server.fetch(), older=older)
            self._clock.learn(known.timestamp)
        except OSError as error:
            raise DiskTrouble(str(error)) from None
        self._server.watch(known.generation)

    def desired(self) -> NodeSlivers | None:
        """Return what the node shall run now, None if it was never told."""
        said = self.said()
        return self._decided(said) if said is not None else None

    def said(self) -> NodeSlivers | None:
        """Return what the server said, without what has expired; None if it never said anything."""
        record = self._records.load()
        return unexpired(record, self.now()) if record is not None else None

    def now(self) -> float:
        """Return the time by which expiry is judged: authenticated, never before what was told."""
        return max(self._clock.now(), self._records.newest_time)

    def refused(self) -> tuple[Failure, ...]:
        """Return what of the server's last word does not count."""
        return tuple(
            Failure.of("configuration", name, RefusedSetting(f"{name}: {reason}"))
            for name, reason in self._records.refused.items()
        )

    def converge(self, desired: NodeSlivers) -> Pass:
        """Make it so, as far as possible; every failure is told and returned, none is raised."""
        made = converge(self._backends, desired, self._events, lambda: self._stopping)
        for failure in (*made.failed, *self.refused()):
            self._complain(failure)
        self._settle({failure.key for failure in (*made.failed, *self.refused())})
        return made

    def _rebooting(self, desired: NodeSlivers, made: Pass, reboots: Reboots) -> str:
        """Return why a reboot follows this pass, "" if none does."""
        if not made.wishes:
            self._complaints.pop("manager/reboot", None)
            return ""
        try:
            reboots.ask(desired, made.wishes)
        except (BootError, OSError) as error:
            trouble = error if isinstance(error, BootError) else DiskTrouble(str(error))
            failure = Failure.of("manager", "reboot", trouble)
            made.failed.append(failure)
            self._complain(failure)
            return ""
        return "; ".join(f"{wish.key}: {wish.reason}" for wish in made.wishes)

    def _leave(self, reason: str, reboot: Callable[[], None]) -> None:
        """Begin a reboot, and do nothing more until the system stops this program."""
        self._events.tell("reboot", reason=reason)
        until = _uptime() + REBOOT_SECONDS
        try:
            reboot()
        except BootError as error:
            self._complain(Failure.of("manager", "reboot", error))
            until = _uptime() + LAST_RETRY_SECONDS
        while not self._stopping and (left := until - _uptime()) > 0:
            self._wake.wait(left)
            if not self._stopping:
                self._wake.forget()

    def _until_expiry(self) -> float:
        now = self.now()
        record = self._records.load()
        later = (item.expires for item in (record.slivers if record else ()) if item.expires > now)
        return min(later, default=now + POLL_SECONDS + POLL_SPREAD_SECONDS) - now

    def _refresh(self) -> tuple[Failure, ...]:
        """Return what is wrong with the server, if anything."""
        try:
            self.refresh()
            if self._complaints.pop("server/", None):
                self._events.tell("server.back")
        except BootError as error:
            failure = Failure.of("server", "", error)
            self._complain(failure)
            self._keep_time()
            return (failure,)
        return ()

    def _keep_time(self) -> None:
        """Now and then without a server, so that a reboot does not take the time back."""
        now = self.now()
        if self._records.load() is None or now < self._records.newest_time + POLL_SECONDS:
            return
        try:
            self._records.keep_time(now)
        except BootError as error:
            self._complain(Failure.of("manager", "time", error))

    def _keep(self, outcome: Outcome, keep: Callable[[Outcome], None]) -> None:
        try:
            keep(outcome)
        except OSError as error:
            self._complain(Failure.of("manager", "outcome", DiskTrouble(str(error))))

    def _report(self, level: RunLevel, *, answered: bool) -> None:
        if level is not self._told:
            self._events.tell("runlevel", run_level=str(level))
            self._told = level
        if not answered or level is self._reported:
            return
        try:
            self._server.report(level)
        except BootError as error:
            self._complain(Failure.of("server", "", error))
        else:
            self._reported = level

    def _complain(self, failure: Failure) -> None:
        """Tell an error, but not the same one again at each pass."""
        if self._complaints.get(failure.key) == failure.detail:
            return
        self._complaints[failure.key] = failure.detail
        name = {"name": failure.name} if failure.backend != "server" else {}
        self._events.tell(
            "error",
            code=failure.code,
            title=failure.title,
            detail=failure.detail,
            hint=failure.hint,
            **name,
        )

    def _settle(self, still: set[str]) -> None:
        """Forget complaints that are settled, so that the same failure would be told anew."""
        kept = ("server/", "manager/")
        self._complaints = {
            key: text for key, text in self._complaints.items() if key in still or key.startswith(kept)
        }


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


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
