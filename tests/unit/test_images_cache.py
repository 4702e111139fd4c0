"""The dongle's cache: slower, never wrong. Errors of the medium are made by patching the system calls."""

import errno
import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from host.events import Events
from images import cache as module
from images.cache import Cache
from images.manifest import Blob, sha256


class Heard:
    """Events that keeps what was told."""

    def __init__(self):
        self.told = []
        self.events = Events("test", (self.told.append,))

    @property
    def names(self):
        return [event.event for event in self.told]


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def cache(tmp_path, heard):
    return Cache(tmp_path, heard.events)


def content(number, size=1000):
    return (b"%d " % number * size)[:size]


def put(cache, data, keep=()):
    return cache.put(sha256(data), data, keep)


def age(cache, data, seconds):
    os.utime(cache.folder / "blobs" / sha256(data), (seconds, seconds))


def test_what_was_put_is_got(cache):
    data = content(1)
    assert cache.get(sha256(data)) is None
    assert put(cache, data)
    assert cache.get(sha256(data), len(data)) == data
    assert cache.has(Blob(sha256(data), len(data)))
    assert not cache.has(Blob(sha256(data), len(data) + 1))


def test_names_are_safe_for_vfat(cache):
    put(cache, content(1))
    for path in cache.folder.rglob("*"):
        assert path.name == path.name.lower()
        assert not set(path.name) & set('\\/:*?"<>|')


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 1000, b"0" * 1_000_000])
def test_a_damaged_blob_is_a_miss_and_is_removed(cache, heard, damage):
    data = content(1)
    put(cache, data)
    path = cache.folder / "blobs" / sha256(data)
    path.write_bytes(damage)
    assert cache.get(sha256(data), len(data)) is None
    assert not path.exists()
    assert [event.data for event in heard.told] == [{"sha256": sha256(data)}]
    assert heard.names == ["cache.corrupt"]


def test_links_and_pipes_are_not_followed(cache, heard, tmp_path):
    data = content(1)
    (cache.folder / "blobs").mkdir()
    path = cache.folder / "blobs" / sha256(data)
    outside = tmp_path / "outside"
    outside.write_bytes(data)
    path.symlink_to(outside)
    assert cache.get(sha256(data)) is None
    os.mkfifo(path)
    assert cache.get(sha256(data)) is None
    assert heard.names == ["cache.corrupt", "cache.corrupt"]
    assert outside.read_bytes() == data
    assert put(cache, data)


def test_a_link_in_place_of_the_folder_is_refused(cache, heard, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (cache.folder / "blobs").symlink_to(tmp_path / "elsewhere")
    assert not put(cache, content(1))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert heard.names == ["cache.failed"]


def test_the_budget_evicts_what_was_of_no_use_for_longest(cache):
    cache.budget_bytes = 3000
    for number in range(3):
        put(cache, content(number))
        age(cache, content(number), 100 + number)
    cache.get(sha256(content(0)))
    assert put(cache, content(3))
    assert [number for number in range(4) if cache.get(sha256(content(number)))] == [0, 2, 3]


def test_pinned_blobs_stay(cache, heard):
    cache.budget_bytes = 2000
    pinned = [sha256(content(number)) for number in range(3)]
    assert put(cache, content(0), pinned)
    assert put(cache, content(1), pinned)
    assert not put(cache, content(2), pinned)
    assert not put(cache, content(2), pinned)
    assert cache.get(pinned[0])
    assert cache.get(pinned[1])
    assert heard.names == ["cache.full"]


def test_a_damaged_blob_takes_no_room_from_what_replaces_it(cache, heard):
    cache.budget_bytes = 2000
    pinned = [sha256(content(number)) for number in range(2)]
    assert put(cache, content(0), pinned)
    assert put(cache, content(1), pinned)
    (cache.folder / "blobs" / pinned[0]).write_bytes(b"x" * 999)
    assert put(cache, content(0), pinned)
    assert cache.get(pinned[0]) == content(0)
    assert heard.names == []


def test_a_damaged_blob_may_go_while_another_is_stored(cache, heard, monkeypatch):
    put(cache, content(1))
    scan = os.scandir

    @contextmanager
    def and_one_goes(folder):
        with scan(folder) as entries:
            found = list(entries)
        (cache.folder / "blobs" / sha256(content(1))).unlink()
        yield found

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "scandir", and_one_goes)
        assert put(cache, content(2))
    assert heard.names == []
    assert cache.stores


def test_leftovers_of_a_power_cut_go_away(cache):
    put(cache, content(1))
    torn = cache.folder / "blobs" / f".{'a' * 64}.abcdefgh"
    torn.write_bytes(b"half")
    other = cache.folder / "blobs" / "somebody's notes"
    other.write_bytes(b"")
    assert put(cache, content(2))
    assert not torn.exists()
    assert other.exists()


def failing(code):
    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_full_medium_evicts(cache, monkeypatch):
    put(cache, content(1))
    real, calls = module.write_atomic, []

    def full_once(path, data):
        calls.append(path)
        if len(calls) == 1:
            failing(errno.ENOSPC)()
        real(path, data)

    monkeypatch.setattr(module, "write_atomic", full_once)
    assert put(cache, content(2))
    assert cache.get(sha256(content(1))) is None
    assert cache.get(sha256(content(2))) == content(2)


def test_a_medium_that_stays_full_costs_nothing_else(cache, heard, monkeypatch):
    monkeypatch.setattr(module, "write_atomic", failing(errno.ENOSPC))
    assert not put(cache, content(1))
    assert not put(cache, content(1))
    assert heard.names == ["cache.full"]
    assert cache.stores


@pytest.mark.parametrize(("code", "event"), [(errno.EROFS, "cache.read_only"), (errno.EIO, "cache.failed")])
def test_a_medium_that_cannot_be_written_is_left_alone(cache, heard, monkeypatch, code, event):
    put(cache, content(1))
    monkeypatch.setattr(module, "write_atomic", failing(code))
    assert not put(cache, content(2))
    assert not cache.stores
    assert not put(cache, content(2))
    assert heard.names == [event]
    assert cache.get(sha256(content(1))) == content(1)


def test_read_errors_are_misses_and_soon_nobody_asks(cache, heard, monkeypatch):
    asked = []

    def dying(path, limit):
        asked.append(path)
        failing(errno.EIO)()

    monkeypatch.setattr(module, "read_regular", dying)
    assert [cache.get("a" * 64) for _ in range(10)] == [None] * 10
    assert len(asked) == 3
    assert heard.names == ["cache.failed"]
    assert not cache.has(Blob("a" * 64, 1))
    assert not put(cache, content(1))


def test_what_could_not_be_read_is_written_anew(cache, heard, monkeypatch):
    data = content(1)
    put(cache, data)
    (cache.folder / "blobs" / sha256(data)).write_bytes(b"x" * len(data))
    with monkeypatch.context() as patched:
        patched.setattr(module, "read_regular", failing(errno.EIO))
        assert cache.get(sha256(data)) is None
    assert not cache.has(Blob(sha256(data), len(data)))
    assert put(cache, data)
    assert cache.has(Blob(sha256(data), len(data)))
    assert cache.get(sha256(data)) == data
    assert heard.names == ["cache.failed"]


def test_no_dongle(heard):
    cache = Cache(None, heard.events)
    assert not put(cache, content(1))
    assert cache.get(sha256(content(1))) is None
    assert not cache.has(Blob(sha256(content(1)), 1000))
    assert not cache.stores
    assert heard.names == []


def test_a_dongle_pulled_out(heard, tmp_path):
    cache = Cache(tmp_path / "gone", heard.events)
    assert cache.get("a" * 64) is None
    assert not put(cache, content(1))
    assert heard.names == ["cache.failed"]


def test_another_program_that_hangs_with_the_lock_is_not_waited_for_for_ever(cache, heard, monkeypatch):
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    put(cache, content(1))
    with (cache.folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not put(cache, content(2))
        assert cache.get(sha256(content(1))) == content(1)
    assert heard.names == ["wait.started", "cache.busy"]
    assert put(cache, content(2))


class TwoPrograms(RuleBasedStateMachine):
    """Two caches on one folder, with damage in between: what is got is always what was put."""

    budget = 5000
    blobs = [content(number, 500 + 100 * number) for number in range(12)]

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.caches = [Cache(path, Events("test"), budget_bytes=self.budget) for _ in range(2)]
        self.files = path / "blobs"

    def teardown(self):
        self.folder.cleanup()

    @rule(
        who=st.integers(0, 1), data=st.sampled_from(blobs), keep=st.lists(st.sampled_from(blobs), max_size=3)
    )
    def put(self, who, data, keep):
        kept = [sha256(blob) for blob in keep]
        before = {name for name in kept if (self.files / name).exists()}
        assert self.caches[who].put(sha256(data), data, kept) == (self.files / sha256(data)).exists()
        assert all((self.files / name).exists() for name in before)

    @rule(who=st.integers(0, 1), data=st.sampled_from(blobs))
    def get(self, who, data):
        assert self.caches[who].get(sha256(data), len(data)) in (None, data)

    @rule(data=st.sampled_from(blobs), damage=st.binary(max_size=1500))
    def damage(self, data, damage):
        file = self.files / sha256(data)
        # Nothing that grows: who adds to the files of a dongle fills it, whatever the budget.
        if file.exists() and len(damage) <= file.stat().st_size:
            file.write_bytes(damage)

    @invariant()
    def within_budget(self):
        if self.files.exists():
            assert sum(path.stat().st_size for path in self.files.iterdir()) <= self.budget


TestTwoPrograms = TwoPrograms.TestCase
TestTwoPrograms.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
