"""Ending at once what several threads do, wherever they wait: in a pause, or for an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager


class Halt:
    """A signal to give up, which is never taken back."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []

    def set(self) -> None:
        """Wake whoever pauses, and cut short what stands in a `cutting` block."""
        with self._lock:
            self._set.set()
            for cut in self._cuts:
                cut()

    def check(self) -> None:
        """Raise CancelledError if the signal was given."""
        if self._set.is_set():
            raise CancelledError

    def pause(self, seconds: float) -> None:
        """Wait that long. Raises CancelledError as soon as the signal is given."""
        if self._set.wait(seconds):
            raise CancelledError

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Call `cut`, from another thread, if the signal is given inside the with block.

        Whatever error comes of that leaves the block as CancelledError.
        """
        with self._lock:
            self.check()
            self._cuts.append(cut)
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            with self._lock:
                self._cuts.remove(cut)
