"""Blobs that are to be brought: a window of them is looked at, and one of these is chosen at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from images.manifest import Blob

# Blobs among which the next one is chosen.
WINDOW = 64


@dataclass
class Wish:
    """Blobs not looked at yet; looked at and to be fetched, by name; and such as are in the cache.

    Of those looked at as many as are `promised` will be picked by somebody who is on the way. `since` is when
    it began, by the monotonic clock. Not for several threads at once.
    """

    unread: Iterator[Blob]
    is_cached: Callable[[Blob], bool]
    since: float
    open: dict[str, list[Blob]] = field(default_factory=dict)
    cached: deque[Blob] = field(default_factory=deque)
    promised: int = 0

    def look_ahead(self) -> None:
        """Look at as many as the window has room for."""
        for blob in islice(self.unread, max(0, WINDOW - self._looked_at)):
            if self.is_cached(blob):
                self.cached.append(blob)
            else:
                self.open.setdefault(blob.sha256, []).append(blob)

    def promise(self) -> bool:
        """Promise to pick one; False if there is none that is not promised."""
        self.look_ahead()
        if self._looked_at == self.promised:
            return False
        self.promised += 1
        return True

    def pick(self, digest: str) -> Blob:
        """Take out one that is to be fetched, as was promised."""
        self.promised -= 1
        same = self.open[digest]
        blob = same.pop()
        if not same:
            del self.open[digest]
        return blob

    def pick_cached(self) -> Blob:
        """Take out one that is in the cache, as was promised."""
        self.promised -= 1
        return self.cached.popleft()

    def put_back(self, blob: Blob) -> None:
        """Take one in again, and promise to pick another."""
        self.open.setdefault(blob.sha256, []).append(blob)
        self.promised += 1

    @property
    def _looked_at(self) -> int:
        return len(self.cached) + sum(map(len, self.open.values()))
