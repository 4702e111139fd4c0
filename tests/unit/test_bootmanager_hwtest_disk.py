"""A disk's surface is read, all over in a quick test, and the first sector that cannot be read is named."""

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest

from bootmanager.hwtest import disk as module
from bootmanager.hwtest.disk import CHUNK_BYTES, check, spread
from bootmanager.hwtest.result import Outcome
from hwdetect.content import DiskState
from hwdetect.inventory import Disk


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of 20.5 MiB, a file; not every file system knows O_DIRECT."""
    monkeypatch.setattr(os, "O_DIRECT", 0)
    path = tmp_path / "disk"
    path.write_bytes(b"x" * (20 * CHUNK_BYTES + CHUNK_BYTES // 2))
    return Disk(
        str(path), "m", "s", "", path.stat().st_size, "ata", False, False, True, 512, DiskState.FOREIGN
    )


def bad_at(monkeypatch, *sectors):
    """Let sectors of 512 bytes be unreadable."""
    real = os.preadv

    def preadv(handle, buffers, place):
        covered = range(place // 512, (place + len(buffers[0]) - 1) // 512 + 1)
        if any(sector in covered for sector in sectors):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle, buffers, place)

    monkeypatch.setattr(os, "preadv", preadv)


def test_all_of_it_is_read(disk):
    result = check(disk, seconds=0, progress=lambda text: None)
    assert (result.outcome, result.figures["bytes"]) == (Outcome.PASSED, disk.size_bytes)
    assert "MB/s" in result.detail


@pytest.mark.parametrize("sectors", [(5000,), (5000, 4999, 30000), (0,), (41983,)])
def test_the_first_bad_sector_is_named(disk, monkeypatch, sectors):
    bad_at(monkeypatch, *sectors)
    result = check(disk, seconds=0, progress=lambda text: None)
    assert result.outcome is Outcome.FAILED
    assert f"first bad LBA {min(sectors)}: Input/output error" in result.detail


def test_a_disk_that_is_shorter_than_it_says(disk):
    os.truncate(disk.path, 10 * CHUNK_BYTES)
    result = check(disk, seconds=0, progress=lambda text: None)
    assert f"first bad LBA {10 * CHUNK_BYTES // 512}: it ends there" in result.detail


def test_a_quick_test_ends_in_its_time(disk, monkeypatch, clock):
    monkeypatch.setattr(module.time, "monotonic", clock)
    real, places = os.preadv, []

    def slow(handle, buffers, place):
        places.append(place)
        clock.now += 3
        return real(handle, buffers, place)

    monkeypatch.setattr(os, "preadv", slow)
    said = []
    result = check(disk, seconds=10, progress=said.append)
    assert result.outcome is Outcome.PASSED
    assert len(places) == 4
    assert said


@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 512, 4000, 10**6])
def test_a_quick_test_begins_with_both_ends_and_repeats_nothing(chunks):
    places = spread(chunks * CHUNK_BYTES)
    assert len(places) == len(set(places)) == min(chunks, module.PLACES)
    assert places[0] == 0
    assert set(places[:2]) == {0, (chunks - 1) * CHUNK_BYTES}
    assert all(place % CHUNK_BYTES == 0 for place in places)


def test_wherever_it_is_cut_off_the_places_are_all_over():
    size = 4000 * CHUNK_BYTES
    first = sorted(spread(size)[:33])
    assert max(later - before for before, later in pairwise(first)) < size / 8


def test_a_disk_that_cannot_be_opened_is_no_failed_disk(disk):
    Path(disk.path).unlink()
    result = check(disk, seconds=0, progress=lambda text: None)
    assert result.outcome is Outcome.NOT_POSSIBLE
    assert "No such file" in result.detail
