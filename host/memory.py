"""The memory of the machine as the kernel counts it, and the most that was in use, for the record."""

from __future__ import annotations

import threading
import time
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
EVERY_SECONDS = 0.5


def total() -> int:
    """Return what the kernel has to give, in bytes."""
    return _values(MEMINFO)["MemTotal"]


def in_use() -> int:
    """Return total minus available memory, in bytes; what lies in RAM disks counts as used."""
    values = _values(MEMINFO)
    return values["MemTotal"] - values["MemAvailable"]


def available(meminfo: Path = MEMINFO) -> int:
    """Return the bytes of memory that programs may still take without anything being moved out."""
    return _values(meminfo)["MemAvailable"]


def _values(meminfo: Path) -> dict[str, int]:
    lines = (line.partition(":") for line in meminfo.read_text().splitlines())
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in lines}


class PeakMemory:
    """Samples in a thread from `start` on; `peak` is the largest value seen, in bytes."""

    def __init__(self) -> None:
        self.peak = in_use()

    def start(self) -> None:
        """Start sampling; the thread ends with the program."""
        threading.Thread(target=self._sample, name="peak-memory", daemon=True).start()

    def _sample(self) -> None:
        while True:
            time.sleep(EVERY_SECONDS)
            self.peak = max(self.peak, in_use())
