"""How much of something may be had, on average and at once."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """Fills by `rate` a second up to `most`."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = most
        self._clock = clock
        self._level = most
        self._since = clock()

    def delay(self) -> float:
        """Return the seconds until there is something, 0 if there is."""
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._since) * self._rate)
        self._since = now
        return max(0.0, -self._level / self._rate)

    def spend(self, amount: float) -> None:
        """Take so much, also of what is not there yet."""
        self._level -= amount
