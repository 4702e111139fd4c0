"""From one image to the next of its name: by the dongle, an old tree, updates that nobody signed."""

import random
import subprocess
from dataclasses import replace

import pytest

from images import make, zstd_frame
from images.cache import Cache
from images.manifest import Blob
from images.plan import OldTree, Relative
from images.store import BlobStore
from images.tree import empty
from images.unpack import unpack
from images.update import make_update
from tests.host.image_server import describe, make_tree, publish_tree, put_in, serving, source_at

pytestmark = pytest.mark.host


@pytest.fixture
def updated(tmp_path, monkeypatch):
    """Two images, of which the second has a new, a changed, a moved and a removed file; and the update."""
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", 256 * 1024)
    tree, store = make_tree(tmp_path / "updated", random_mib=4), BlobStore(tmp_path / "updated.store")
    for number in range(300):
        (tree / f"usr/bin/{number:03}").write_bytes(random.Random(number).randbytes(10_000))
    old = publish_tree("base", tree, store)
    subprocess.run(["cp", "-a", tree, tmp_path / "old"], check=True)
    (tree / "usr/bin/100").write_text("changed")
    (tree / "usr/bin/new").write_text("new")
    (tree / "usr/bin/200").rename(tree / "usr/200")
    (tree / "usr/bin/250").unlink()
    new = publish_tree("base", tree, store)
    update = make_update(old, new, store)
    return tree, store, old, new, (Relative(old.digest, update.digest),)


def test_with_the_old_image_in_the_dongle_only_the_difference_is_fetched(updated, target, tmp_path, events):
    tree, store, old, new, relatives = updated
    (tmp_path / "dongle").mkdir()
    cache = Cache(tmp_path / "dongle", events)
    with serving(store) as server:
        put_in(server, old, target, cache)
        empty(target)
        transfer = unpack(new, target, source_at(server), cache, relatives=relatives)
        assert describe(target) == describe(tree)
        index = sum(piece.blob.size for piece in new.pieces)
        assert transfer.network_bytes < index + 3000
        # And with the dongle as it is now, nothing.
        empty(target)
        server.served.clear()
        again = unpack(new, target, source_at(server), cache, relatives=relatives)
        assert server.served == []
        assert again.network_bytes == 0
    assert describe(target) == describe(tree)


def test_with_the_old_tree_only_the_difference_is_fetched(updated, target, tmp_path, events):
    tree, store, old, new, relatives = updated
    there = OldTree(tmp_path / "old", old.digest)
    with serving(store) as server:
        transfer = unpack(
            new, target, source_at(server), Cache(None, events), relatives=relatives, tree=there
        )
    assert describe(target) == describe(tree)
    # The pack with the file that was moved is fetched: an old tree is looked into by names.
    assert transfer.network_bytes < new.size / 8


def test_an_old_tree_that_somebody_changed_makes_it_slower_never_wrong(updated, target, tmp_path, events):
    tree, store, old, new, relatives = updated
    size = (tmp_path / "old/usr/bin/150").stat().st_size
    (tmp_path / "old/usr/bin/150").write_bytes(bytes(size))
    (tmp_path / "old/usr/bin/151").unlink()
    (tmp_path / "old/usr/bin/151").symlink_to("/dev/zero")
    there = OldTree(tmp_path / "old", old.digest)
    with serving(store) as server:
        unpack(new, target, source_at(server), Cache(None, events), relatives=relatives, tree=there)
    assert describe(target) == describe(tree)


def test_an_update_that_lies_makes_it_slower_never_wrong(updated, target, tmp_path, events):
    """Nobody signs updates: here one gives other contents for the hashes that it names."""
    tree, store, old, new, _ = updated
    (tmp_path / "dongle").mkdir()
    cache = Cache(tmp_path / "dongle", events)
    update = make_update(old, new, store)
    with serving(store) as server:
        put_in(server, old, target, cache)
        empty(target)
        lying = lie_about(update, store)
        unpack(new, target, source_at(server), cache, relatives=(Relative(old.digest, lying),))
    assert describe(target) == describe(tree)


def lie_about(update, store):
    """Return the digest of an update with the same index and zeros for data."""
    packs = []
    for pack in update.packs:
        frame = zstd_frame.compress(bytes(pack.data_bytes), 1)
        packs.append(replace(pack, blob=Blob(store.put(frame), len(frame))))
    (piece,) = update.pieces
    return store.put(replace(update, pieces=(replace(piece, packs=tuple(packs)),)).to_bytes())


@pytest.mark.parametrize("update", ["missing", "a tree", "junk"])
def test_an_update_that_is_none_costs_the_packs(updated, target, tmp_path, events, update):
    tree, store, old, new, _ = updated
    (tmp_path / "dongle").mkdir()
    cache = Cache(tmp_path / "dongle", events)
    digest = {"missing": "0" * 64, "a tree": old.digest, "junk": store.put(b"junk")}[update]
    with serving(store) as server:
        put_in(server, old, target, cache)
        empty(target)
        unpack(new, target, source_at(server), cache, relatives=(Relative(old.digest, digest),))
    assert describe(target) == describe(tree)
