"""Which of several servers is asked next: those that work, the least busy first, the last resort last."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)

# For how long one that failed is not asked: at first, and at most, doubled with each failure in a row.
ASIDE_SECONDS = 60.0
MAXIMUM_ASIDE_SECONDS = 600.0
# Asked for one blob at most.
_TIMES = 2


class Mirrors:
    """Base URLs, and how they did. Any thread.

    `server` is the last resort: never put aside, and not asked while a mirror works.
    """

    def __init__(
        self, server: str, mirrors: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = server
        # The server named as a mirror too remains the last resort.
        self._mirrors = [url for url in dict.fromkeys(mirrors) if url != server]
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._aside_until: dict[str, float] = {}

    @contextmanager
    def one(self, already: Counter[str]) -> Iterator[str]:
        """Yield the URL to ask now, and count it in `already`: how often each was asked for this blob."""
        with self._lock:
            url = self._choose(already)
            already[url] += 1
            self._busy[url] += 1
            self._asked[url] += 1
        try:
            yield url
        finally:
            with self._lock:
                self._busy[url] -= 1

    def worked(self, url: str) -> None:
        """Note that a blob came from there."""
        with self._lock:
            self._failures.pop(url, None)

    def failed(self, url: str, reason: str, *, lied: bool = False) -> None:
        """Put one aside: for a minute, for longer each time in a row, or at once for longest if it lied."""
        if url == self.server:
            return
        with self._lock:
            self._failures[url] += 1
            seconds = min(ASIDE_SECONDS * 2.0 ** (self._failures[url] - 1), MAXIMUM_ASIDE_SECONDS)
            if lied:
                seconds = MAXIMUM_ASIDE_SECONDS
            self._aside_until[url] = self._clock() + seconds
        log.warning("%s is not asked for %.0f s: %s", url, seconds, reason)

    def _choose(self, already: Counter[str]) -> str:
        now = self._clock()
        usable = [url for url in self._mirrors if already[url] < _TIMES and self._is_usable(url, now)]
        return min(
            usable, key=lambda url: (already[url], self._busy[url], self._asked[url]), default=self.server
        )

    def _is_usable(self, url: str, now: float) -> bool:
        if not self._failures[url]:
            return True
        # Back from aside, and one thread alone finds out whether it works again.
        return now >= self._aside_until[url] and not self._busy[url]
