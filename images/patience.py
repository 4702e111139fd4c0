"""How long a node waits for others before it asks the server itself: about as long as it takes for such work.

So a slow line, which all share, gives neighbours time, and one that only pretends to fetch costs little.
"""

from __future__ import annotations

from collections.abc import Callable

# What somebody may take for a blob, or without having anything new, at least.
LEAST_SECONDS = 10.0
# For how long others are waited for altogether, unless this node itself has fetched for longer.
IDLE_SECONDS = 60.0


class Patience:
    """Knows what was fetched from the server and how long nothing came. Not for several threads at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._fetching: dict[str, float] = {}
        self._longest = 0.0
        # How long something was being fetched, without the time since `_busy_since`.
        self._busy_seconds = 0.0
        self._busy_since = 0.0
        self._idle_since: float | None = None
        self._idle_seconds = 0.0
        self._counted_at = 0.0

    @property
    def fetching(self) -> frozenset[str]:
        """What is being fetched from the server."""
        return frozenset(self._fetching)

    @property
    def seconds(self) -> float:
        """How long one blob, or one that is waited for, may take."""
        return max(LEAST_SECONDS, 2 * self._longest)

    @property
    def is_at_end(self) -> bool:
        """Whether others were waited for long enough, all in all."""
        return self._idle_seconds > max(IDLE_SECONDS, self._busy_seconds)

    def begin(self, digest: str) -> None:
        """Note that a blob is being fetched from the server."""
        now = self._clock()
        if not self._fetching:
            self._busy_since = now
        self._fetching[digest] = now

    def end(self, digest: str) -> None:
        """Note that it is fetched, or failed."""
        begun = self._fetching.pop(digest, None)
        if begun is None:
            return
        now = self._clock()
        self._longest = max(self._longest, now - begun)
        if not self._fetching:
            self._busy_seconds += now - self._busy_since

    def goes_on(self) -> None:
        """Note that something comes."""
        self._idle_since = None

    def idles(self) -> float:
        """Count time in which nothing comes, and return since when that is so."""
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = self._counted_at = now
        self._idle_seconds += now - self._counted_at
        self._counted_at = now
        return self._idle_since
