"""A disk's surface: read past the page cache, nothing is ever written.

Quick: places all over the disk, the first and the last among them, for a time. Long: every byte.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable

from bootmanager.hwtest.result import Progress, Result, judged, not_possible
from host.texts import _
from hwdetect.content import human_size
from hwdetect.inventory import Disk

TEST = "disk"
CHUNK_BYTES = 2**20
PLACES = 512
PROGRESS_SECONDS = 5.0
_LIMIT = _("every sector read")


def check(disk: Disk, *, seconds: float, progress: Progress) -> Result:
    """Read a disk; `seconds` bounds a quick test, 0 is for all of the disk."""
    places = range(0, disk.size_bytes, CHUNK_BYTES) if not seconds else spread(disk.size_bytes)
    try:
        handle = os.open(disk.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        return not_possible(TEST, disk.path, _("it cannot be opened: {reason}", reason=error.strerror))
    try:
        return _read(handle, disk, places, seconds, progress)
    finally:
        os.close(handle)


def spread(size_bytes: int) -> list[int]:
    """Return the places of a quick test: in an order in which wherever it is cut off, they are all over."""
    last = max(0, size_bytes - CHUNK_BYTES) // CHUNK_BYTES
    count = min(PLACES, last + 1)
    places = [last * number // max(1, count - 1) * CHUNK_BYTES for number in range(count)]
    # Both ends, then halves, quarters, eighths ...
    order, step = [0, count - 1], count
    while step > 1:
        order += range(step // 2, count, step)
        step //= 2
    return [places[number] for number in dict.fromkeys([*order, *range(count)])]


def _read(handle: int, disk: Disk, places: Iterable[int], seconds: float, progress: Progress) -> Result:
    buffer = mmap.mmap(-1, CHUNK_BYTES)
    begun = said = time.monotonic()
    done = 0
    for place in places:
        length = min(CHUNK_BYTES, disk.size_bytes - place)
        why = _unread(handle, buffer, place, length)
        if why:
            bad = _first_bad(handle, buffer, range(place, place + length, disk.logical_sector))
            fault = _("first bad LBA {number}: {reason}", number=bad // disk.logical_sector, reason=why)
            before = _("{size} before it were read", size=human_size(done))
            return judged(TEST, disk.path, fault, before, _LIMIT)
        done += length
        now = time.monotonic()
        if now - said > PROGRESS_SECONDS:
            said = now
            rate, size = done / 1e6 / (now - begun), human_size(done)
            progress(_("disk {disk}: {size} read, {rate:.0f} MB/s", disk=disk.path, size=size, rate=rate))
        if seconds and now - begun > seconds:
            break
    rate = done / 1e6 / max(time.monotonic() - begun, 1e-6)
    figures = {"bytes": done, "mb_per_s": round(rate, 1)}
    detail = _("{size} at {rate:.0f} MB/s", size=human_size(done), rate=rate)
    return judged(TEST, disk.path, "", detail, _LIMIT, figures)


def _unread(handle: int, buffer: mmap.mmap, place: int, length: int) -> str:
    """Say why a range cannot be read, "" where it can."""
    try:
        got = os.preadv(handle, [memoryview(buffer)[:length]], place)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "" if got == length else _("it ends there")


def _first_bad(handle: int, buffer: mmap.mmap, sectors: range) -> int:
    """Return the place of the first sector that cannot be read; of all can by now, that of the first."""
    bad = (place for place in sectors if _unread(handle, buffer, place, sectors.step))
    return next(bad, sectors.start)
