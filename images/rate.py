"""How far something is, how fast it goes of late, and how long it will take at that."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from host.texts import _

WINDOW_SECONDS = 10.0
_SAMPLE_SECONDS = 0.25
# Of the first piece of all nobody can say how long the others will take.
_TELLING = 0.02
_KIB = 1024
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Estimate:
    """Bytes done of the total, bytes per second of late, and seconds left: None if that cannot be said."""

    done: int
    total: int
    bytes_per_second: float
    seconds_left: float | None

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / self.total if self.total else 1.0

    def text(self) -> str:
        """Return it in words."""
        text = _("{done} of {total} MiB", done=self.done // _MIB, total=self.total // _MIB)
        if self.seconds_left is None:
            return text
        minutes, seconds = divmod(round(self.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        speed = self.bytes_per_second / _KIB
        rate = f"{speed / 1024:.1f} MiB/s" if speed >= 100 else f"{speed:.0f} KiB/s"
        return _("{done}, {rate}, {time} left", done=text, rate=rate, time=left)


class Rate:
    """Counts what is done of `total` bytes. Any thread.

    The speed is that of the last `window` seconds, pauses included, so a standstill shows; what came in
    the first second, or is less than a fiftieth of all, says too little to be told.
    """

    def __init__(
        self, total: int, window: float = WINDOW_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        # (when, bytes done by then): the first is the newest from before the window.
        self._samples = deque([(clock(), 0)])

    def add(self, size: int) -> None:
        """Count `size` more bytes as done."""
        with self._lock:
            self._forget_old()
            self._done += size
            now, last = self._clock(), self._samples[-1][0]
            if len(self._samples) > 1 and now - last < _SAMPLE_SECONDS:
                self._samples[-1] = (last, self._done)
            else:
                self._samples.append((now, self._done))

    def estimate(self) -> Estimate:
        """Return how things stand now."""
        with self._lock:
            self._forget_old()
            since, before = self._samples[0]
            seconds = self._clock() - since
            is_told = seconds >= 1 and self._done >= self._total * _TELLING
            speed = (self._done - before) / seconds if is_told else 0.0
            left = self._total - self._done
            return Estimate(self._done, self._total, speed, left / speed if speed else None)

    def _forget_old(self) -> None:
        edge = self._clock() - self._window
        while len(self._samples) > 1 and self._samples[1][0] <= edge:
            self._samples.popleft()


class Rates:
    """Counts two kinds of bytes that go at speeds of their own: what is at hand, and what comes from afar.

    What the dongle gives in a second says nothing of how long the network takes. Any thread.
    """

    def __init__(self, at_hand: int, afar: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_hand = Rate(at_hand, clock=clock)
        self._afar = Rate(afar, clock=clock)

    def add(self, size: int, *, afar: bool) -> None:
        """Count `size` more bytes as done."""
        (self._afar if afar else self._at_hand).add(size)

    def estimate(self) -> Estimate:
        """Return how things stand; the time left is that of the slower kind, which the other runs beside."""
        both = [rate.estimate() for rate in (self._at_hand, self._afar)]
        open_ = [each for each in both if each.done < each.total] or both
        left = [each.seconds_left for each in open_]
        known = [seconds for seconds in left if seconds is not None]
        return Estimate(
            sum(each.done for each in both),
            sum(each.total for each in both),
            sum(each.bytes_per_second for each in open_),
            max(known) if len(known) == len(left) else None,
        )
