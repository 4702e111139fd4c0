"""From a tree to an image and back to its entries: nothing is lost, the same tree gives the same bytes."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from images import index, make, zstd_frame
from images.index import order
from images.make import make_image
from images.sources.base import NotAnImage
from images.store import BlobStore
from images.walk import Walk
from tests.unit.image_trees import ROOT, Tree, file, folder, trees


def read(manifest, store):
    """Return every entry of an image, and the data of files that have some, by path; all is judged."""
    walk, entries, data = Walk(), {}, {}
    for piece in manifest.pieces:
        found = index.read(store.get(piece.blob.sha256), piece)
        walk.judge(found)
        entries |= {entry.path: entry for entry in found.frame}
        for pack, segments in zip(piece.packs, found.packs, strict=True):
            unpacked = zstd_frame.unpack(store.get(pack.blob.sha256), pack.data_bytes)
            for segment in segments:
                entries[segment.entry.path] = segment.entry
                known = data.get(segment.entry.path, b"")
                assert len(known) == segment.offset
                data[segment.entry.path] = known + unpacked[: segment.length]
                unpacked = unpacked[segment.length :]
            assert unpacked == b""
    walk.end()
    return entries, data


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "store")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(trees())
def test_what_goes_in_is_what_the_image_says(store, tree):
    manifest = make_image("base", tree, store)
    entries, data = read(manifest, store)
    assert entries == {entry.path: entry for entry in tree.entries}
    for entry in tree.entries:
        expected = b"".join(tree.contents.get(entry.path, b"")[at : at + n] for at, n in entry.data)
        assert data.get(entry.path, b"") == expected


def test_the_order_of_a_source_does_not_matter(store):
    tree = Tree(ROOT, folder("a"), folder("a/b"), folder("a-b")).add("a/b/c", b"1").add("a-b/c", b"2")
    first = make_image("base", tree, store)
    tree.entries.reverse()
    assert make_image("base", tree, store) == first


def many(changed=()):
    """Return a tree of files of 1 KiB, some of which have another content."""
    tree = Tree(ROOT)
    for number in range(400):
        tree.add(f"{number:03}", random.Random(f"{number} {number in changed}").randbytes(1024))
    return tree


def test_a_change_costs_few_packs(store, monkeypatch):
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 20_000)
    monkeypatch.setattr(make, "MOST_PACK_BYTES", 60_000)
    before, after = (make_image("base", many(changed), store) for changed in ((), (80,)))
    fresh = {pack.blob for pack in after.packs} - {pack.blob for pack in before.packs}
    assert len(before.packs) > 5
    assert len(fresh) == 1
    less = many()
    del less.entries[50]
    after = make_image("base", less, store)
    assert len({pack.blob for pack in after.packs} - {pack.blob for pack in before.packs}) < 3, (
        "borders stay where they were"
    )


def test_a_large_file_is_cut_and_small_ones_share_a_pack(store, monkeypatch):
    monkeypatch.setattr(make, "MOST_PACK_BYTES", 1000)
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 500)
    content = random.Random(1).randbytes(2500)
    tree = Tree(ROOT).add("large", content).add("a", b"1").add("b", b"2").add("z", b"3")
    manifest = make_image("base", tree, store)
    assert [pack.data_bytes for pack in manifest.packs] == [2, 1000, 1000, 500, 1]
    assert read(manifest, store)[1]["large"] == content


def test_pieces_are_bounded(store, monkeypatch):
    monkeypatch.setattr(make, "PIECE_ROWS", 10)
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 1)
    monkeypatch.setattr(make, "_BORDER", 1)
    tree = Tree(ROOT, folder("d"))
    for number in range(95):
        tree.add(f"d/{number:02}", b"x")
    manifest = make_image("base", tree, store)
    assert len(manifest.pieces) == 10
    assert len(read(manifest, store)[0]) == 97


def test_pieces_are_bounded_also_where_nothing_fills_a_pack(store, monkeypatch):
    monkeypatch.setattr(make, "PIECE_ROWS", 10)
    monkeypatch.setattr(make, "MOST_PIECE_ROWS", 20)
    tree = Tree(ROOT).add("a", b"x")
    for number in range(95):
        tree.add(f"d{number:02}")
    manifest = make_image("base", tree, store)
    assert len(manifest.pieces) >= 95 // 20
    assert len(read(manifest, store)[0]) == 97


def test_an_index_that_no_node_would_take_is_not_published(store, monkeypatch):
    monkeypatch.setattr(make, "MAXIMUM_UNPACKED_BYTES", 5000)
    tree = Tree(ROOT).add("a", b"x").add("b", b"y", xattrs=(("user.note", bytes(5000)),))
    with pytest.raises(NotAnImage, match="'b' and others"):
        make_image("base", tree, store)


def test_nor_is_any_other_manifest_that_no_node_would_take(store, monkeypatch):
    monkeypatch.setattr("images.manifest.MAXIMUM_BLOB_BYTES", 10)
    before = set(store.digests())
    with pytest.raises(NotAnImage, match="10 wanted"):
        make_image("base", many(), store)
    assert not any(b'"pieces"' in store.get(digest) for digest in set(store.digests()) - before)


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (Tree(), "no folder that all is in"),
        (Tree(ROOT, ROOT), "twice"),
        (Tree(ROOT).add("a").add("a", b"1"), "'a' comes twice"),
        (Tree(ROOT).add("a/b", b"1"), "'a/b' is in no folder"),
        (Tree(ROOT, replace(folder("a"), path="../a")), "not plain"),
        (Tree(ROOT).add("n" * 256, b"1"), "too long"),
        (Tree(ROOT, replace(file("f", b"12"), size=3), f=b"12"), "'f' changed while it was read"),
    ],
)
def test_what_no_image_may_hold_is_refused_by_name(store, tree, reason):
    with pytest.raises(NotAnImage, match=reason):
        make_image("base", tree, store)


def test_a_bad_name(store):
    with pytest.raises(NotAnImage, match="cannot be the name"):
        make_image("Base", Tree(ROOT), store)


def test_parents_come_before_what_sorts_between():
    paths = ["a/b", "a.b", "a", "a b", ""]
    assert sorted(paths, key=order) == ["", "a", "a/b", "a b", "a.b"]
