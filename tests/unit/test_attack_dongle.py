"""A dongle that somebody had in hand: each file in it changed, replaced by what is no file, or huge.

It may cost a fetch, a pause or what people can read; it never hangs the node, fills its memory, is believed,
or makes an error that is not expected.
"""

import json
import os
import random
import signal
import tracemalloc
from pathlib import Path

import pytest

from host.events import Events
from host.journal import MAXIMUM_BYTES, Journal
from host.refusals import ALLOWED, PAUSE_SECONDS, Refusals
from images.cache import Cache
from images.documents import Document, Documents
from images.fetch import Supply
from images.manifest import MalformedManifest, SignedImage, sha256
from tests.unit.image_trees import manifest_of
from wire.session import NodeKey

KEY = NodeKey(b"k" * 32)
BODY = {"hostname": "node1", "ssh_keys": ["ssh-ed25519 AAAA"], "n": 5}
DATA = random.Random(7).randbytes(300)
MANIFEST = manifest_of("base", DATA)
SIGNED = SignedImage("base", MANIFEST.digest, len(MANIFEST.to_bytes()))


class Server:
    """What the node falls back to."""

    blobs = {sha256(DATA): DATA, MANIFEST.digest: MANIFEST.to_bytes()}

    def get(self, digest, limit, halt):
        return self.blobs[digest]


class Dongle:
    def __init__(self, folder):
        self.folder = folder
        (folder / "boot_id").write_text("boot1")
        self.root = folder / "dongle"
        self.root.mkdir()
        cache = Cache(self.root, Events("test"))
        cache.put(sha256(DATA), DATA)
        cache.put(MANIFEST.digest, MANIFEST.to_bytes())
        Documents(cache, KEY).write("node-details", Document(5, BODY))
        for _ in range(ALLOWED - 1):
            self.refusals().refused()
        self.files = sorted(path for path in self.root.rglob("*") if path.is_file() and path.stat().st_size)

    def journal(self):
        return Journal(self.root / "journal.jsonl")

    def refusals(self):
        return Refusals(self.journal(), boot_id=self.folder / "boot_id")

    def use(self):
        """Do with it all that a node does; what is believed is what was stored, or nothing."""
        cache = Cache(self.root, Events("test"))
        with Supply(Server(), cache) as supply:
            assert supply.manifest(SIGNED) == MANIFEST
            assert supply.blob(MANIFEST.blobs[0]) == DATA
        assert Documents(cache, KEY).read("node-details") in (None, Document(5, BODY))
        for record in self.journal().records():
            assert isinstance(record["kind"], str)
        assert 0.0 <= self.refusals().seconds_to_wait() <= PAUSE_SECONDS


@pytest.fixture
def dongle(tmp_path):
    return Dongle(tmp_path)


@pytest.fixture(autouse=True)
def _no_waiting():
    def late(*_):
        raise AssertionError("something on the dongle was waited for")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 30)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def sample(data):
    dice = random.Random(data[:8])
    return sorted(dice.sample(range(len(data)), min(len(data), 16)))


def test_what_it_consists_of(dongle):
    names = [path.relative_to(dongle.root).as_posix() for path in dongle.files]
    assert {name.split("/")[0] for name in names} == {"blobs", "documents", "journal.jsonl"}
    dongle.use()


def test_any_byte_flipped(dongle):
    for path in dongle.files:
        whole = path.read_bytes()
        for position in sample(whole):
            for flip in (0x01, 0x80):
                changed = bytearray(whole)
                changed[position] ^= flip
                path.write_bytes(changed)
                dongle.use()
                path.write_bytes(whole)


def test_any_file_cut(dongle):
    for path in dongle.files:
        whole = path.read_bytes()
        for length in sample(whole):
            path.write_bytes(whole[:length])
            dongle.use()
            path.write_bytes(whole)


def test_any_file_swapped_for_another(dongle):
    contents = {path: path.read_bytes() for path in dongle.files}
    for path in dongle.files:
        for other in dongle.files:
            path.write_bytes(contents[other])
            dongle.use()
        path.write_bytes(contents[path])


def test_any_file_replaced_by_what_is_none(dongle, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    for path in dongle.files:
        whole = path.read_bytes()
        for make in (os.mkfifo, Path.mkdir, lambda at: at.symlink_to(outside), lambda at: at.symlink_to(at)):
            path.unlink()
            make(path)
            dongle.use()
            dongle.refusals().refused()
            dongle.refusals().cleared()
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_bytes(whole)
    assert outside.read_bytes() == b"mine"


def test_files_without_end_cost_bounded_memory(dongle):
    for path in dongle.files:
        os.truncate(path, 2**40)
        tracemalloc.start()
        dongle.use()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24 * 2**20, path
        if path.exists():
            os.truncate(path, 10)


LINES = {
    "nested": b"[" * 100_000,
    "nested records": b'{"kind":' * 50_000,
    "a number without end": b'{"kind":"x","n":' + b"9" * 10_000 + b"}",
    "half a character": b'{"kind":"\\ud800"}',
    "types": b'{"kind":"authentication-refused","boot":1,"uptime":"x"}',
    "a time that is none": b'{"kind":"authentication-refused","boot":"boot1","uptime":NaN}',
    "a time to come": b'{"kind":"authentication-refused","boot":"boot1","uptime":1e300}',
    "a time long ago": b'{"kind":"authentication-refused","boot":"boot1","uptime":-Infinity}',
    "NUL": b"\0" * 5000,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_strange_lines_in_the_journal(dongle, line):
    (dongle.root / "journal.jsonl").write_bytes((line + b"\n") * ALLOWED)
    dongle.use()
    dongle.journal().append("after", step="x")
    assert dongle.journal().records()[-1] == {"kind": "after", "step": "x"}


def test_a_journal_that_cannot_be_written_or_read_costs_only_the_count(dongle, monkeypatch):
    def failing(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("host.journal.read_regular", failing)
    monkeypatch.setattr("host.journal.open_to_append", failing)
    dongle.refusals().refused()
    dongle.refusals().cleared()
    assert dongle.refusals().count() == 0


def test_the_journal_is_kept_short(dongle):
    for number in range(30):
        dongle.journal().append("long", text="x" * (MAXIMUM_BYTES // 10), number=number)
    assert (dongle.root / "journal.jsonl").stat().st_size < 2 * MAXIMUM_BYTES
    assert dongle.journal().records()[-1]["number"] == 29


@pytest.mark.parametrize("value", [True, "5", 5.0, None, -1])
def test_a_generation_of_another_type_is_none(dongle, value):
    """Signed even, by somebody who had the key: 1, "1" and True are three things."""
    path = dongle.root / "documents/node-details.json"
    documents = Documents(Cache(dongle.root, Events("test")), KEY)
    plain = json.loads(path.read_bytes())
    path.write_text(json.dumps({**plain, "generation": value}))
    assert documents.read("node-details") is None


@pytest.mark.parametrize("name", ["../../outside", "/outside", "blobs", "", "A" * 64, "a" * 63 + "\n"])
def test_a_manifest_is_named_by_a_hash_only(dongle, name):
    """A name becomes a path; what lies there and has another hash would be removed as a damaged blob."""
    (dongle.folder / "outside").write_text("mine")
    manifest = name.replace("/outside", f"{dongle.folder}/outside") if name.startswith("/") else name
    cache = Cache(dongle.root, Events("test"))
    with Supply(Server(), cache) as supply, pytest.raises(MalformedManifest):
        supply.manifest(SignedImage("base", manifest, None))
    assert (dongle.folder / "outside").read_text() == "mine"
    assert Path(dongle.root / "blobs").is_dir()
