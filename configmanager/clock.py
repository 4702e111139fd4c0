"""What time it is, for judging expiry: the newest authenticated time, gone on since.

The system's clock is anybody's to set, and a sliver that is removed does not come back. So it is looked at
only in a boot that has had no word from the server yet, and believed then if it is neither before the time
that is known nor far beyond it. What has been settled holds for the boot, whatever the clock does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from host.files import write_atomic

FILE = Path("/run/configmanager/clock.json")
# A node that was off for longer, and boots without its server, goes on where it was: rather keep what has
# expired for a while than destroy what has not.
FAR_SECONDS = 30 * 86400.0


class Clock:
    """Unix seconds that only the server takes back within a boot."""

    def __init__(self, floor: float, file: Path = FILE, uptime: Callable[[], float] | None = None) -> None:
        """`floor` is the newest time that is known from before; `file` is forgotten with the boot."""
        self._file = file
        self._uptime = uptime or _uptime
        self._offset = self._settled()
        if self._offset is None:
            wall = time.time()
            self._settle(wall if floor <= wall <= floor + FAR_SECONDS or not floor else floor)

    def now(self) -> float:
        """Return the time."""
        return (self._offset or 0.0) + self._uptime()

    def learn(self, authenticated: float) -> None:
        """Take the server's time."""
        self._settle(authenticated)

    def _settle(self, now: float) -> None:
        self._offset = now - self._uptime()
        write_atomic(self._file, json.dumps({"offset": self._offset}))

    def _settled(self) -> float | None:
        try:
            found = json.loads(self._file.read_text())["offset"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, float) else None


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
