"""The server's blob store, and emptying trees."""

import errno
import os
from pathlib import Path

import pytest

from images import tree
from images.manifest import sha256
from images.store import SCRATCH, BlobStore, StoredBlobDamaged, StoreUnusable


def test_blobs_lie_where_documented(tmp_path):
    store = BlobStore(tmp_path)
    digest = store.put(b"content")
    assert digest == sha256(b"content")
    assert (tmp_path / digest[:2] / digest).read_bytes() == b"content"
    assert store.get(digest) == b"content"
    assert store.has(digest)
    assert list(store.digests()) == [digest]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_digests_are_names(tmp_path, name):
    store = BlobStore(tmp_path)
    assert not store.has(name)
    with pytest.raises(ValueError, match="SHA-256"):
        store.path(name)


def test_putting_again_repairs(tmp_path):
    store = BlobStore(tmp_path)
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"damaged")
    assert list(store.damaged()) == [digest]
    with pytest.raises(StoredBlobDamaged):
        store.get(digest)
    store.put(b"content")
    assert list(store.damaged()) == []
    store.path(digest).unlink()
    with pytest.raises(StoredBlobDamaged):
        store.get(digest)


def test_what_a_power_cut_left_half_written_is_removed_with_what_nothing_names(tmp_path):
    store = BlobStore(tmp_path)
    kept, gone = store.put(b"kept"), store.put(b"gone")
    left = store.path(kept).with_name(f".{kept}.abc")
    left.write_bytes(b"ke")
    with store.held(alone=True):
        assert store.remove_all_but({kept}) == (1, 4)
    assert list(store.digests()) == [kept]
    assert not store.has(gone)
    assert not left.exists()


def test_a_disk_that_a_power_cut_left_half_unfolded_is_removed(tmp_path):
    store = BlobStore(tmp_path)
    left = tmp_path / f"{SCRATCH}abcdefgh" / "raw"
    left.parent.mkdir()
    left.write_bytes(b"half")
    with store.held(alone=True):
        assert store.remove_all_but(()) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_used_is_no_damaged_blob(tmp_path, monkeypatch):
    store = BlobStore(tmp_path)
    digest = store.put(b"content")

    def fails(code):
        def read(_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "read_bytes", read)

    fails(errno.EACCES)
    with pytest.raises(StoreUnusable, match="Permission denied"):
        store.get(digest)
    fails(errno.EIO)
    assert list(store.damaged()) == [digest], "publishing again writes it anew"


def test_emptying_follows_no_link_and_keeps_lost_and_found(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    root = tmp_path / "root"
    (root / "lost+found").mkdir(parents=True)
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/file").touch()
    (root / "a/link").symlink_to(outside)
    (root / "dangling").symlink_to("nowhere")
    assert not tree.is_empty(root)
    assert not tree.empty(root)
    assert [path.name for path in root.iterdir()] == ["lost+found"]
    assert tree.is_empty(root)
    assert (outside / "file").exists()


def test_folders_that_lead_to_mounts_count_as_empty(tmp_path):
    (tmp_path / "var/lib/machines").mkdir(parents=True)
    assert tree.is_empty(tmp_path)
    assert tree.empty(tmp_path)
    assert list(tmp_path.iterdir()) == []
