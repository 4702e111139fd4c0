"""Where files of an image come from: what cannot be had elsewhere, or is wrong there, is in its own packs."""

import os
import random
from dataclasses import replace

import pytest

from host.events import Events
from host.http import NotAtServer
from images import contents, index, make, plan, update, zstd_frame
from images.cache import Cache
from images.contents import Content, Contents
from images.diff import bytes_to_fetch
from images.fetch import Supply
from images.index import Segment
from images.make import make_image
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack, Piece, SignedImage
from images.plan import OldTree, Relative
from images.store import BlobStore
from images.unpack import load_manifest, prefetch, unpack
from images.update import make_update
from tests.unit.image_trees import ROOT, Tree, file

MINE = {"uid": os.geteuid(), "gid": os.getegid()}
TOP = replace(ROOT, **MINE)


class Shop:
    """A source: what a store has, and which blobs it was asked for."""

    def __init__(self, store):
        self.store = store
        self.asked = []

    def get(self, digest, limit, halt):
        self.asked.append(digest)
        if not self.store.has(digest):
            raise NotAtServer(digest)
        return self.store.get(digest)


def files(changed=()):
    tree = Tree(TOP)
    for number in range(40):
        tree.add(f"{number:02}", random.Random(f"{number} {number in changed}").randbytes(1000), **MINE)
    return tree


class Two:
    """Two images of a name, the update between them, and a node that has the first one on its dongle."""

    def __init__(self, folder):
        self.store = BlobStore(folder / "store")
        self.shop = Shop(self.store)
        (folder / "dongle").mkdir()
        (folder / "target").mkdir()
        self.target = folder / "target"
        self.cache = Cache(folder / "dongle", Events("test"))
        self.old = make_image("base", files(), self.store)
        self.tree = files((5, 6, 7, 8))
        self.new = make_image("base", self.tree, self.store)
        self.update = make_update(self.old, self.new, self.store)
        self.bring(self.old)

    def bring(self, manifest):
        signed = SignedImage(manifest.name, manifest.digest, None)
        load_manifest(signed, self.shop, self.cache)
        prefetch(manifest, self.shop, self.cache)
        self.shop.asked.clear()

    def unpack(self, update=None, *, tree=None):
        """Unpack the second image, and say of what blobs the server was asked; the tree must be right."""
        relatives = (Relative(self.old.digest, (update or self.update).digest),)
        unpack(self.new, self.target, self.shop, self.cache, relatives=relatives, tree=tree)
        for path, content in self.tree.contents.items():
            assert (self.target / path).read_bytes() == content
        return self.shop.asked

    def own(self):
        return {pack.blob.sha256 for pack in self.new.packs}


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 10_000)
    monkeypatch.setattr(make, "_BORDER", 1)
    monkeypatch.setattr(update, "LEVEL", 1)
    return Two(tmp_path)


def test_with_an_update_no_pack_of_the_image_is_fetched(two):
    assert not two.own() & set(two.unpack())


@pytest.mark.parametrize("writable", [True, False])
def test_a_damaged_pack_of_an_old_image_that_the_server_has_no_more(two, writable):
    pack = next(pack for pack in two.old.packs if pack not in two.new.packs)
    (two.cache.folder / "blobs" / pack.blob.sha256).write_bytes(bytes(pack.blob.size))
    two.store.path(pack.blob.sha256).unlink()
    two.cache = Cache(two.cache.folder, Events("test"), writable=writable)
    assert two.own() & set(two.unpack())


@pytest.mark.parametrize("writable", [True, False])
def test_an_update_that_was_removed_meanwhile(two, writable):
    two.store.path(two.update.packs[0].blob.sha256).unlink()
    assert two.own() & set(two.unpack())


def test_the_same_for_what_is_brought_for_later(two):
    two.store.path(two.update.packs[0].blob.sha256).unlink()
    prefetch(two.new, two.shop, two.cache, relatives=(Relative(two.old.digest, two.update.digest),))
    assert all(two.cache.has(blob) for blob in two.new.blobs)


def test_what_the_image_itself_needs_is_an_error(two):
    for pack in two.new.packs:
        two.store.path(pack.blob.sha256).unlink(missing_ok=True)
        (two.cache.folder / "blobs" / pack.blob.sha256).unlink(missing_ok=True)
    with pytest.raises(NotAtServer):
        two.unpack()


@pytest.mark.parametrize("frame", [b"junk", zstd_frame.compress(b"short", 1)], ids=["junk", "short"])
def test_an_update_whose_pack_is_no_frame_of_its_length(two, frame):
    (piece,) = two.update.pieces
    packs = tuple(replace(pack, blob=Blob(two.store.put(frame), len(frame))) for pack in piece.packs)
    lying = replace(two.update, pieces=(replace(piece, packs=packs),))
    two.store.put(lying.to_bytes())
    assert two.own() & set(two.unpack(lying))


def test_a_pack_of_the_image_is_fetched_once_for_all_that_was_wrong(two):
    two.cache = Cache(None, Events("test"))
    two.bring(two.old)
    there = two.target.with_name("old")
    there.mkdir()
    for path, content in two.tree.contents.items():
        (there / path).write_bytes(bytes(len(content)))
    asked = two.unpack(tree=OldTree(there, "0" * 64))
    assert sorted(set(asked)) == sorted(asked)


@pytest.fixture
def large(two, monkeypatch):
    """An image with a file in five packs and one with a hole, and a tree that both are in."""
    monkeypatch.setattr(make, "MOST_PACK_BYTES", 2000)
    two.tree = Tree(TOP).add("large", random.Random(1).randbytes(9000), **MINE)
    content = b"x" * 500 + bytes(5000) + b"y" * 500
    two.tree.entries.append(file("sparse", content, [(500, 5000)], **MINE))
    two.tree.contents["sparse"] = content
    two.new = make_image("base", two.tree, two.store)
    two.cache = Cache(None, Events("test"))
    there = two.target.with_name("old")
    there.mkdir()
    for path, content in two.tree.contents.items():
        (there / path).write_bytes(content)
    return OldTree(there, "0" * 64)


def test_a_file_in_several_packs_is_taken_from_an_old_tree(two, large):
    asked = two.unpack(tree=large)
    # The one with the hole is fetched: what is hashed has more bytes than are written.
    assert len(two.own() & set(asked)) == 1


def test_a_changed_file_in_several_packs_is_not(two, large):
    (large.folder / "large").write_bytes(bytes(9000))
    assert two.own() <= set(two.unpack(tree=large))


def test_one_that_is_too_large_to_be_read_at_once_is_not(two, large, monkeypatch):
    monkeypatch.setattr(plan, "MOST_FROM_TREE_BYTES", 8999)
    assert two.own() <= set(two.unpack(tree=large))


def test_an_update_with_more_index_than_the_image_has_packs_is_not_fetched(two):
    junk = two.store.put(os.urandom(two.new.size))
    padding = Piece(Blob(junk, two.new.size), 10, ())
    lying = replace(two.update, pieces=(*two.update.pieces, padding))
    two.store.put(lying.to_bytes())
    assert junk not in two.unpack(lying)


def hostile(store, **more):
    """Return an image of one file whose index is wrong, with the right hashes all the way."""
    entry = replace(file("f", b"data", **MINE), **more)
    raw = index.dump([TOP], [[Segment(entry, 0, 4)]])
    packs = (Pack(put(store, b"data"), 4),)
    manifest = Manifest("base", ImageKind.TREE, (Piece(put(store, raw), len(raw), packs),))
    store.put(manifest.to_bytes())
    return manifest


def put(store, data):
    compressed = zstd_frame.compress(data, 1)
    return Blob(store.put(compressed), len(compressed))


@pytest.mark.parametrize("more", [{"sha256": "zz"}, {"sha256": ""}, {"path": "a\0b"}, {"path": "../f"}])
def test_a_wrong_name_or_hash_is_refused_also_where_there_is_something_to_plan(two, more):
    bad = hostile(two.store, **more)
    with pytest.raises(MalformedManifest):
        unpack(
            bad,
            two.target,
            two.shop,
            two.cache,
            relatives=(Relative(two.old.digest, two.update.digest),),
            tree=OldTree(two.target, "0" * 64),
        )
    assert list(two.target.iterdir()) == []


def test_a_relative_with_a_wrong_hash_in_its_index_is_of_no_use(two):
    bad = hostile(two.store, sha256="zz")
    for digest in (bad.digest, *(blob.sha256 for blob in bad.blobs)):
        two.cache.put(digest, two.store.get(digest))
    relatives = (Relative(bad.digest, two.update.digest), Relative(two.old.digest, two.update.digest))
    unpack(two.new, two.target, two.shop, two.cache, relatives=relatives)
    assert not two.own() & set(two.shop.asked)


def test_an_update_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(contents, "MOST_PLACES", 2)
    found = Contents()
    wanted = [file(str(number), b"%d" % number) for number in range(3)]
    pack = Pack(Blob("a" * 64, 1), 3)
    found.add(pack, [Content(entry.sha256, 1) for entry in wanted])
    assert [found.find(entry) is not None for entry in wanted] == [True, True, False]


@pytest.mark.parametrize("has_update", [True, False])
@pytest.mark.parametrize("has_large", [True, False])
def test_what_is_fetched_is_what_the_operator_is_told(two, monkeypatch, has_large, has_update):
    if has_large:
        # No update brings a file that fills packs of its own.
        monkeypatch.setattr(make, "MOST_PACK_BYTES", 20_000)
        two.tree.add("large", random.Random(1).randbytes(50_000), **MINE)
        two.new = make_image("base", two.tree, two.store)
        two.update = make_update(two.old, two.new, two.store)
    told = bytes_to_fetch(two.old, two.new, two.update if has_update else None, two.store.get)
    leads = Relative(two.old.digest, two.update.digest if has_update else "0" * 64)
    _, first = load_manifest(SignedImage("base", two.new.digest, None), two.shop, two.cache)
    moved = unpack(two.new, two.target, two.shop, two.cache, relatives=[leads])
    assert told == first.network_bytes + moved.network_bytes


def test_an_updates_manifest_is_no_longer_than_it_may_be(two):
    """It is not signed: what an image's may have, unfolded, would fill a small machine's memory."""
    row = Pack(Blob("0" * 64, 1), 1)
    long = Manifest("base", ImageKind.UPDATE, (Piece(Blob("0" * 64, 1), 1, (row,) * 10_000),))
    two.store.put(long.to_bytes())
    limits = {}

    class Counting(Shop):
        def get(self, digest, limit, halt):
            limits[digest] = limit
            return super().get(digest, limit, halt)

    two.shop = Counting(two.store)
    two.unpack(long)
    assert limits[long.digest] == update.MAXIMUM_UPDATE_BYTES < len(long.to_bytes())


def test_of_what_the_dongle_has_no_time_is_told_for_what_comes_from_afar(two):
    progress = []
    relatives = (Relative(two.old.digest, two.update.digest),)
    with Supply(two.shop, two.cache) as supply:
        load_manifest(SignedImage("base", two.new.digest, None), two.shop, two.cache)
        found = plan.make_plan(two.new, supply, two.cache, relatives)
    assert found.cached < set(found.blobs)
    assert {blob for blob in found.blobs if two.cache.has(blob)} == found.cached
    unpack(two.new, two.target, two.shop, two.cache, lambda *told: progress.append(told), relatives=relatives)
    assert progress[-1][0] == 1.0


def test_the_plan_is_told_before_anything_of_it_is_fetched(two):
    told, asked = [], []

    def hear(event):
        told.append((event.event, event.data))
        asked.append(list(two.shop.asked))

    two.cache = Cache(two.cache.folder, Events("test", (hear,)))
    leads = Relative(two.old.digest, two.update.digest)
    moved = unpack(two.new, two.target, two.shop, two.cache, relatives=[leads])
    ((name, planned),) = told
    assert (name, planned["image"], planned["tree_bytes"]) == ("image.planned", "base", 0)
    packs = {pack.blob.sha256 for pack in two.update.packs}
    assert planned["fetch_bytes"] == sum(pack.blob.size for pack in two.update.packs) > 0
    assert planned["cache_bytes"] == moved.cache_bytes > 0
    assert packs & set(two.shop.asked)
    assert not packs & set(asked[0])


def test_files_of_an_old_tree_are_told_and_those_for_later_too(two, large):
    told = []
    two.cache = Cache(two.cache.folder, Events("test", (lambda event: told.append(event.data),)))
    (two.target.parent / "later").mkdir()
    prefetch(two.new, two.shop, Cache(two.target.parent / "later", two.cache.events))
    two.cache = Cache(None, two.cache.events)
    two.unpack(tree=large)
    sizes = [pack.blob.size for pack in two.new.packs]
    kept = [(each["tree_bytes"], each["cache_bytes"], each["fetch_bytes"]) for each in told]
    # The file with the hole, which packs well, is fetched.
    assert kept == [(0, 0, sum(sizes)), (9000, 0, min(sizes))]


def test_what_the_dongle_has_is_foreseen_and_nothing_on_it_is_changed(two):
    def state():
        files = two.cache.folder.rglob("*")
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in files}

    for path in two.cache.folder.rglob("*"):
        os.utime(path, (0, 0))
    before = state()
    assert plan.foreseen(two.old.digest, two.cache) == plan.Origins(0, two.old.size, 0)
    assert plan.foreseen(two.new.digest, two.cache) is None
    assert state() == before
    blob = two.old.packs[0].blob
    (two.cache.folder / "blobs" / blob.sha256).unlink()
    assert plan.foreseen(two.old.digest, two.cache) == plan.Origins(0, two.old.size - blob.size, blob.size)
    damaged = two.cache.folder / "blobs" / two.old.digest
    damaged.write_bytes(b"junk")
    assert plan.foreseen(two.old.digest, two.cache) is None
    assert damaged.exists()
    assert plan.foreseen(two.old.digest, Cache(None, Events("test"))) is None
