"""Starting slivers: one after the other, never for ever, and not again and again.

systemd is the watchdog: what ends by itself is started again, up to the limit in sliver@.service. Where it
gave up, the owner is told and the sliver rests; an hour later, or when somebody changes or starts it, it
has another try.
"""

from __future__ import annotations

import time

from configmanager.backends import units
from host.events import Events
from host.run import CommandFailed, CommandTimedOut, Runner
from wire.errors import CommandError

# The next one is started when one is up, or after this long; and never sooner than that after the last.
PATIENCE_SECONDS = 60.0
APART_SECONDS = 3.0
REST_SECONDS = 3600.0


class SliverFailed(CommandError):
    """A sliver does not come up."""

    code = "sliver-failed"
    title = "A sliver does not start"
    hint = "`journalctl -u 'sliver@*'` on the node says more; the next pass tries again."


class SliverSlow(CommandError):
    """A sliver is not up yet."""

    code = "sliver-slow"
    title = "A sliver takes long to start"
    hint = "It goes on meanwhile, and the node looks again soon. A busy or slow node is the usual cause."


class SliverFailing(CommandError):
    """A sliver ended so often that it is left alone for a while."""

    code = "sliver-failing"
    title = "A sliver fails again and again"
    hint = "Mend its image or what its owner did; a change of its slice, or its owner's start, tries at once."


class Starter:
    """Starts the units of slivers."""

    def __init__(self, run: Runner, events: Events) -> None:
        self._run = run
        self._events = events
        self._last = float("-inf")
        self._told: dict[str, str] = {}

    def start(self, name: str, unit: str, *, fresh: bool) -> None:
        """Return when the sliver is up; a `fresh` start forgives what was before.

        Raises SliverFailed, SliverSlow, SliverFailing.
        """
        shown = units.properties(self._run, [unit], ("ActiveState", "InactiveEnterTimestampMonotonic"))[unit]
        active = shown.get("ActiveState", "")
        if active == "active":
            return
        ended = shown.get("InactiveEnterTimestampMonotonic", "0")
        if active == "failed" and not fresh:
            self._rest(name, unit, ended)
        elif (fresh or active == "inactive") and ended != "0":
            # systemd counts all starts, and would refuse the sixth of one that was only stopped.
            units.forget_failure(self._run, unit)
        time.sleep(max(0.0, self._last + APART_SECONDS - time.monotonic()))
        self._last = time.monotonic()
        try:
            self._run(["systemctl", "start", "--", unit], timeout=PATIENCE_SECONDS)
        except CommandTimedOut:
            raise SliverSlow(f"{name}: waited {PATIENCE_SECONDS:.0f} s") from None
        except CommandFailed:
            raise SliverFailed(f"{name}: {self._last_words(unit)}") from None
        self._told.pop(name, None)
        self._events.tell("sliver.started", name=name)

    def _rest(self, name: str, unit: str, since: str) -> None:
        """Clear the failure if it is time for another try. Raises SliverFailing."""
        seconds = time.monotonic() - int(since) / 1e6
        if seconds > REST_SECONDS:
            units.forget_failure(self._run, unit)
            return
        said = self._last_words(unit)
        if self._told.get(name) != since:
            self._told[name] = since
            self._events.tell("sliver.failing", name=name, detail=said)
        raise SliverFailing(f"{name}: {said}")

    def _last_words(self, unit: str) -> str:
        return units.last_words(self._run, unit) or "it said nothing"
