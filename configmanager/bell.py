"""What wakes the manager: rung by signals, timers and threads.

Not threading.Event: a signal's handler runs between any two steps of the thread that waits, and would wait
for ever for the event's lock where that thread has it. SimpleQueue.put() may be called from there.
"""

from __future__ import annotations

import queue
from contextlib import suppress


class Bell:
    """Ends one wait for each time that it is rung. Safe from any thread and signal handler."""

    def __init__(self) -> None:
        self._rung: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End the wait, or the next one."""
        self._rung.put(None)

    def wait(self, seconds: float) -> None:
        """Return when it is rung, or was rung before, at the latest after so long."""
        with suppress(queue.Empty):
            self._rung.get(timeout=max(seconds, 0.0))

    def forget(self) -> None:
        """Count what was rung before as heard."""
        for _ in range(self._rung.qsize()):
            self._rung.get()
