"""Hardware tests with the real tools: a disk past the page cache, what smartctl and sysfs say here."""

from pathlib import Path

import pytest

from bootmanager.hwtest import clock, disk, network, smart
from bootmanager.hwtest.result import Outcome
from host.run import Runner
from hwdetect.content import DiskState
from hwdetect.inventory import Disk

pytestmark = pytest.mark.host

SIZE = 64 * 2**20


def disk_at(path, size=SIZE):
    return Disk(str(path), "m", "s", "", size, "ata", False, False, True, 512, DiskState.BLANK)


def test_a_disk_is_read_past_the_page_cache(stick):
    result = disk.check(disk_at(stick), seconds=0, progress=lambda text: None)
    assert (result.outcome, result.figures["bytes"]) == (Outcome.PASSED, SIZE)


def test_what_ends_early_is_found(stick):
    result = disk.check(disk_at(stick, 2 * SIZE), seconds=0, progress=lambda text: None)
    assert result.outcome is Outcome.FAILED
    assert f"first bad LBA {SIZE // 512}:" in result.detail


def test_a_quick_test_reads_both_ends_within_its_time(stick):
    result = disk.check(disk_at(stick), seconds=1, progress=lambda text: None)
    assert result.outcome is Outcome.PASSED
    assert 2 * disk.CHUNK_BYTES <= result.figures["bytes"] <= SIZE


def test_a_device_without_smart_says_so_in_smartctls_own_words(stick):
    result = smart.check(Runner(), stick, drive_test=True)
    assert result.outcome is Outcome.NOT_POSSIBLE
    assert stick in result.detail


def test_links_of_this_machine_are_read():
    assert network.link_of("lo").up
    assert not network.link_of("no-such-link").up


@pytest.mark.skipif(not Path("/sys/class/rtc/rtc0").exists(), reason="this machine has no battery clock")
def test_the_battery_clock_of_this_machine_ticks():
    first, last = clock.tick(), clock.tick()
    assert last.second - first.second == pytest.approx(last.at - first.at, abs=0.2)


def test_nothing_is_written(stick):
    disk.check(disk_at(stick), seconds=0, progress=lambda text: None)
    with Path(stick).open("rb") as opened:
        assert opened.read() == bytes(SIZE)
