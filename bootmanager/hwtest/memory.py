"""Memory: patterns over what is free, by all processors at once (stressapptest(1)).

What the running system itself occupies is not tested; for that there is memtest86+ from another medium.
"""

from __future__ import annotations

import re
import time

from bootmanager.hwtest.result import Progress, Result, judged, not_possible
from host import memory
from host.run import Runner
from host.texts import _

TEST = "memory"
QUICK_SECONDS, LONG_SECONDS = 25, 1800
# Between two words on how far it is; each slice takes other pages, as the kernel gives them.
_SLICE_SECONDS = 25
# Of what is free: for the system, which has no swap.
RESERVE_BYTES = 160 * 2**20
LEAST_BYTES = 32 * 2**20
_LIMIT = _("no error")
_FOUND = re.compile(r"Stats: Found (\d+) hardware incidents")
_RATE = re.compile(r"Stats: Memory Copy: .* at ([0-9.]+)MB/s")
# It fills memory first, and compares all of it in the end.
_MORE_SECONDS = 300.0


def check(run: Runner, *, long: bool, progress: Progress) -> Result:
    """Test for about as long as the names say. Raises CommandTimedOut, CommandMissing."""
    size = memory.available() - RESERVE_BYTES
    if size < LEAST_BYTES:
        why = _("{size} MiB are free beside the reserve", size=max(size, 0) // 2**20)
        return not_possible(TEST, "RAM", why)
    until = time.monotonic() + (LONG_SECONDS if long else QUICK_SECONDS)
    rates = []
    while time.monotonic() < until:
        left = until - time.monotonic()
        progress(_("memory: {size} MiB, {seconds:.0f} s left", size=size // 2**20, seconds=left))
        seconds = max(5, min(_SLICE_SECONDS, int(left)))
        # Should memory get short after all, this is what the kernel shall end.
        line = [
            "choom",
            "--adjust",
            "1000",
            "--",
            "stressapptest",
            "-s",
            str(seconds),
            "-M",
            str(size // 2**20),
        ]
        done = run(line, timeout=seconds + _MORE_SECONDS, ok=(0, 1))
        incidents, rate = _read(done.stdout)
        rates.append(rate)
        if done.status != 0 or incidents:
            fault = _("{n} errors in {size} MiB", n=incidents or _("some"), size=size // 2**20)
            return judged(TEST, "RAM", fault, "", _LIMIT)
    figures = {"mib": size // 2**20, "mb_per_s": max(rates)}
    return judged(TEST, "RAM", "", f"{size // 2**20} MiB, {max(rates):.0f} MB/s", _LIMIT, figures)


def _read(said: str) -> tuple[int, float]:
    found, rate = _FOUND.search(said), _RATE.search(said)
    return int(found[1]) if found else 0, float(rate[1]) if rate else 0.0
