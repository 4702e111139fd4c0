"""Updates: what one image has more than another, in packs and an index that nodes take."""

import random
import tracemalloc
from dataclasses import replace

import pytest

from images import make, update, zstd_frame
from images.make import make_image
from images.manifest import MAXIMUM_BLOB_BYTES, Blob, MalformedManifest, Piece, parse, sha256
from images.store import BlobStore
from images.update import PACK_BYTES, contents_of, is_worth_while, make_update
from tests.unit.image_trees import ROOT, Tree


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(update, "LEVEL", 1)
    monkeypatch.setattr(make, "LEVEL", 1)
    return BlobStore(tmp_path / "store")


def image(store, **contents):
    tree = Tree(ROOT)
    for path, content in contents.items():
        tree.add(path, content)
    return make_image("base", tree, store)


def contents(manifest, store):
    """Return all that an update has, by hash; the manifest must be one that a node takes."""
    found = {}
    for piece in parse(manifest.to_bytes()).pieces:
        raw = zstd_frame.unpack(store.get(piece.blob.sha256), piece.index_bytes)
        for pack, rows in zip(piece.packs, contents_of(raw, piece), strict=True):
            data = zstd_frame.unpack(store.get(pack.blob.sha256), pack.data_bytes)
            for row in rows:
                found[row.sha256], data = data[: row.length], data[row.length :]
            assert data == b""
    return found


def test_it_has_what_is_new_and_is_made_the_same_each_time(store):
    old, new = image(store, a=b"1", b=b"2"), image(store, a=b"3", b=b"2", c=b"4", d=b"4")
    made = make_update(old, new, store)
    assert contents(made, store) == {sha256(content): content for content in (b"3", b"4")}
    assert make_update(old, new, store) == made


def test_where_nothing_is_new_it_is_empty(store):
    old, new = image(store, a=b"1"), image(store, b=b"1")
    assert contents(make_update(old, new, store), store) == {}


def test_its_index_is_in_pieces_that_stay_small(store, monkeypatch):
    monkeypatch.setattr(update, "PACK_FILES", 2)
    fresh = {f"f{number}": b"%d" % number for number in range(7)}
    made = make_update(image(store, a=b"x"), image(store, **fresh), store)
    assert len(made.pieces) == 4
    assert sorted(contents(made, store).values()) == sorted(fresh.values())


def test_a_full_pack_that_cannot_be_compressed_is_still_a_blob():
    assert len(zstd_frame.compress(random.Random(1).randbytes(PACK_BYTES), 1)) <= MAXIMUM_BLOB_BYTES


def test_a_sparse_file_does_not_stand_for_a_full_one_with_the_same_hash(store):
    content = bytes(100) + b"end"
    tree = Tree(ROOT).add("a", content, holes=((0, 100),)).add("b", content)
    new = make_image("base", tree, store)
    assert contents(make_update(image(store, x=b"1"), new, store), store) == {sha256(content): content}
    sparse = make_image("base", replace_files(tree, "a"), store)
    assert contents(make_update(sparse, new, store), store) == {sha256(content): content}


def replace_files(tree, path):
    """Return the tree with this file alone."""
    less = Tree(ROOT)
    less.entries.extend(replace(entry) for entry in tree.entries if entry.path == path)
    less.contents = tree.contents
    return less


def test_its_making_takes_little_memory(store, monkeypatch):
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 100_000)
    monkeypatch.setattr(make, "MOST_PACK_BYTES", 100_000)
    monkeypatch.setattr(update, "PACK_BYTES", 100_000)
    fresh = {f"f{number:03}": random.Random(number).randbytes(20_000) for number in range(200)}
    old, new = image(store, a=b"1"), image(store, **fresh)
    tracemalloc.start()
    try:
        make_update(old, new, store)
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def test_an_update_of_nearly_all_is_not_worth_while(store, monkeypatch):
    old, new = image(store, a=b"1" * 100, b=b"2" * 10), image(store, a=b"3" * 100, b=b"2" * 10)
    assert is_worth_while(old, new, store), "it is small"
    monkeypatch.setattr(update, "SMALL_BYTES", 20)
    assert not is_worth_while(old, new, store)
    assert is_worth_while(old, image(store, a=b"1" * 100, b=b"4" * 10), store)


@pytest.mark.parametrize(
    "read",
    [
        lambda raw: contents_of(b"[" + raw + b"]", Piece(Blob("0" * 64, 1), len(raw) + 2, ())),
        lambda raw: parse(b'{"pieces":[' + raw + b"]}"),
    ],
)
def test_what_nobody_signed_cannot_fill_the_memory(read):
    """1.5 kB of zstd become 16 MiB of empty arrays, and these would become 500 MiB."""
    raw = b"[]," * 600_000 + b"[]"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedManifest, match="arrays"):
            read(raw)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
