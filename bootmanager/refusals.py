"""How often the server refused this node, counted across reboots in the journal on the dongle."""

from __future__ import annotations

import time

from host.journal import Journal

ALLOWED = 3
PAUSE_SECONDS = 15 * 60.0

_REFUSED = "authentication-refused"
_CLEARED = "authentication-cleared"


class Refusals:
    """Says when the next call may be made. Uses this boot's monotonic time: no clock is trusted."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._in_ram = 0
        # Where earlier boots used up the tries, this one begins with the whole pause.
        self._wait_until = time.monotonic() + PAUSE_SECONDS if self.count() >= ALLOWED else 0.0

    def count(self) -> int:
        """Return the refusals since the last accepted call or the last person who acted."""
        stored = 0
        for record in self._journal.records():
            if record["kind"] == _REFUSED:
                stored += 1
            elif record["kind"] == _CLEARED:
                stored = 0
        return max(stored, self._in_ram)

    def seconds_to_wait(self) -> float:
        """Return how long no call may be made, 0 when one may."""
        return max(0.0, self._wait_until - time.monotonic())

    def refused(self) -> None:
        """Count one refusal; from the third on, each starts a pause. Raises OSError with the dongle's trouble."""
        self._in_ram = self.count() + 1
        if self._in_ram >= ALLOWED:
            self._wait_until = time.monotonic() + PAUSE_SECONDS
        self._journal.append(_REFUSED)

    def cleared(self) -> None:
        """Forget the refusals: a call was accepted, or a person acted."""
        had_any = self.count() > 0
        self._in_ram, self._wait_until = 0, 0.0
        if had_any:
            self._journal.append(_CLEARED)
