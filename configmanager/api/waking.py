"""Asking the manager for a pass, as often as anybody likes: it makes one at once, then one a minute at most.

A pass asks the server, so what a slice may bring about has to be bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

APART_SECONDS = 60.0


class Waker:
    """Calls `wake` soon after being called, for several calls once. Safe from any thread."""

    def __init__(self, wake: Callable[[], None], apart: float = APART_SECONDS) -> None:
        self._wake = wake
        self._apart = apart
        self._turn = threading.Lock()
        self._last = float("-inf")
        self._waiting = False

    def __call__(self) -> None:
        """Have it called at once, or `apart` seconds after the last time."""
        with self._turn:
            if self._waiting:
                return
            self._waiting = True
            wait = max(0.0, self._last + self._apart - time.monotonic())
        timer = threading.Timer(wait, self._fire)
        timer.daemon = True
        timer.start()

    def _fire(self) -> None:
        with self._turn:
            self._waiting = False
            self._last = time.monotonic()
        self._wake()
