"""How often the server refused this node, counted across reboots in the journal on the dongle.

A pause is measured in seconds since the kernel started, because no clock can be trusted by a node that
its server refuses. A pause begun in an earlier boot begins anew with this one. Whoever writes to the
dongle can make the node pause, once a boot, and no longer.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from host.journal import Journal
from wire.errors import TrustError

log = logging.getLogger(__name__)

ALLOWED = 3
PAUSE_SECONDS = 15 * 60.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_REFUSED = "authentication-refused"
_CLEARED = "authentication-cleared"


class CallsPaused(TrustError):
    """The server refused this node too often; it is left alone for a while."""

    code = "calls-paused"
    title = "No calls to the server for now"
    hint = "Correct the key medium or the node's entry at the server, then `bootmanager retry` on the node."


class Refusals:
    """The count, as the journal tells it."""

    def __init__(self, journal: Journal, *, boot_id: Path = BOOT_ID) -> None:
        self._journal = journal
        self._boot_id = boot_id.read_text().strip()

    def gate(self) -> None:
        """Raise CallsPaused where no call may be made now."""
        count, wait = self.count(), self.seconds_to_wait()
        if wait > 0:
            raise CallsPaused(f"the server refused this node {count} times; next try in {wait:.0f} s")

    def count(self) -> int:
        """Return the refusals since the last accepted call or the last person who acted."""
        return len(self._refused())

    def seconds_to_wait(self) -> float:
        """Return how long no call may be made, 0 when one may."""
        refused = self._refused()
        if len(refused) < ALLOWED:
            return 0.0
        boot, uptime = refused[-1]
        since = _uptime() - uptime if boot == self._boot_id else _uptime()
        return min(PAUSE_SECONDS, max(0.0, PAUSE_SECONDS - since))

    def refused(self) -> None:
        """Count one refusal."""
        self._note(_REFUSED, boot=self._boot_id, uptime=round(_uptime(), 1))

    def cleared(self) -> None:
        """Forget the refusals: a call was accepted, or a person acted."""
        if self._refused():
            self._note(_CLEARED)

    def _note(self, kind: str, **data: object) -> None:
        try:
            self._journal.append(kind, **data)
        except OSError as error:
            # A dongle in trouble costs the count, and must not hide why the server was asked.
            log.warning("the journal takes no %s: %s", kind, error)

    def _refused(self) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for record in self._journal.records():
            match record:
                case {"kind": str(kind), "boot": str(boot), "uptime": float(uptime)} if kind == _REFUSED:
                    found.append((boot, uptime))
                case {"kind": str(kind)} if kind == _CLEARED:
                    found.clear()
        return found


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
