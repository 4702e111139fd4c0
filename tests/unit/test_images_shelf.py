"""What a node keeps to give: bounded, the rare before the common, and only what was put there."""

from pathlib import Path

import pytest

from host.events import Events
from images import shelf as module
from images.cache import Cache
from images.manifest import sha256
from images.shelf import Shelf
from wire.neighbours import Holdings

DATA = [b"%d" % number * 1000 for number in range(10)]
NAMES = [sha256(data) for data in DATA]
MIB = 1024 * 1024
PERFORMANCE = Path(__file__).parents[2] / "docs/performance.md"


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Events("test"))


def nowhere():
    return Cache(None, Events("test"))


def test_what_is_put_there_is_given():
    shelf = Shelf(nowhere(), 10_000)
    shelf.put(NAMES[0], DATA[0], scarce=True)
    assert shelf.get(NAMES[0]) == DATA[0]
    assert shelf.get(NAMES[1]) is None
    assert shelf.have() == {NAMES[0]}


def test_what_neighbours_have_too_goes_first_then_the_oldest():
    shelf = Shelf(nowhere(), 3000)
    for number, scarce in enumerate([True, False, True, False, True]):
        shelf.put(NAMES[number], DATA[number], scarce=scarce)
    assert shelf.have() == {NAMES[0], NAMES[2], NAMES[4]}
    shelf.put(NAMES[5], DATA[5], scarce=True)
    assert shelf.have() == {NAMES[2], NAMES[4], NAMES[5]}


def test_what_does_not_fit_at_all_moves_nothing_out():
    shelf = Shelf(nowhere(), 1500)
    shelf.put(NAMES[0], DATA[0], scarce=False)
    shelf.put(sha256(b"x" * 2000), b"x" * 2000, scarce=True)
    assert shelf.have() == {NAMES[0]}


def test_the_dongle_gives_only_what_it_is_known_for_and_only_what_is_sound(cache):
    for data, name in zip(DATA[:3], NAMES[:3], strict=True):
        cache.put(name, data)
    shelf = Shelf(cache, 10_000)
    assert shelf.get(NAMES[0]) is None, "other images that it keeps are nobody's business"
    shelf.is_on_dongle(NAMES[1])
    shelf.is_on_dongle(NAMES[2])
    assert shelf.get(NAMES[1]) == DATA[1]
    (cache.folder / "blobs" / NAMES[2]).write_bytes(b"0" * len(DATA[2]))
    assert shelf.get(NAMES[2]) is None
    assert shelf.have() == {NAMES[1]}


def test_what_is_had_is_neither_wanted_nor_fetched():
    shelf = Shelf(nowhere(), 10_000)
    shelf.put(NAMES[0], DATA[0], scarce=True)
    found = shelf.holdings(frozenset(NAMES[:2]), frozenset(NAMES[:3]))
    assert found == Holdings(frozenset(NAMES[:1]), frozenset(NAMES[1:2]), frozenset(NAMES[2:3]))


@pytest.mark.parametrize(
    ("free_kib", "room"), [(400 * 1024, 100 * MIB), (64 * 1024 * 1024, module.MOST_BYTES)]
)
def test_it_takes_a_part_of_what_is_free(tmp_path, free_kib, room):
    path = tmp_path / "meminfo"
    path.write_text(
        f"MemTotal: 99999999 kB\nMemFree: 1 kB\nMemAvailable: {free_kib} kB\nHugePages_Total: 0\n"
    )
    assert module.room(path) == room


def test_the_page_on_performance_says_what_it_may_take_at_most():
    (row,) = (line for line in PERFORMANCE.read_text().splitlines() if "peak memory of unpacking" in line)
    assert {4: "a quarter of the memory that is free"}[module._SHARE] in row
    assert f"{module.MOST_BYTES // MIB} MiB" in row.rpartition("neighbours")[2]
