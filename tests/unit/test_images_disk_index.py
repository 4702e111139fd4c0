"""The index of a disk's image and its packs: what does not say what the manifest says is not believed."""

import json
from dataclasses import replace

import pytest
import zstandard

from images import disk_index, zstd_frame
from images.disk_write import NotADisk, write_disk
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack, Piece
from images.store import BlobStore
from tests.disk_images import MIB, FromStore


def image_of(tmp_path, raw, packs, disk_bytes=MIB, **piece):
    """An image with this index, and packs of these contents; and where to get it from."""
    store = BlobStore(tmp_path / "forged")

    def blob(frame):
        return Blob(store.put(frame), len(frame))

    made = tuple(Pack(blob(zstd_frame.compress(data, 1)), len(data)) for data in packs)
    whole = Piece(blob(zstd_frame.compress(raw, 1)), len(raw), made)
    return Manifest("d", ImageKind.DISK, (replace(whole, **piece),), disk_bytes), FromStore(store)


def dumped(*packs):
    return json.dumps(packs, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"[[1]]",
        b"[[[]]]",
        b"[" * 100_000,
        b"\xff",
        b'[[["0",1024]]]',
        b"[[[0,1024.0]]]",
        b"[[[false,1024]]]",
        b"[[[0,1024,0]]]",
        b"[[[0, 1024]]]",
        b"[[[0,1024]]]\n",
        b"[[[0,1e3]]]",
        b"[[[0," + b"9" * 5000 + b"]]]",
        dumped([[-512, 1024]]),
        dumped([[0, -1024], [0, 2048]]),
        dumped([[0, 0], [0, 1024]]),
        dumped([[100, 1024]]),
        dumped([[0, 1000], [1000, 24]]),
        dumped([[0, 512]]),
        dumped([[0, 2048]]),
        dumped([]),
        dumped([[0, 1024]], []),
        dumped([[512, 512], [0, 512]]),
        dumped([[0, 512], [0, 512]]),
        dumped([[MIB, 1024]]),
        dumped([[MIB - 512, 1024]]),
        dumped([[2**64, 1024]]),
    ],
)
def test_an_index_that_is_wrong_changes_nothing(tmp_path, raw):
    manifest, supply = image_of(tmp_path, raw or b" ", [b"x" * 1024])
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(MalformedManifest):
        write_disk(manifest, target, supply)
    assert target.read_bytes() == b"old"


def test_an_index_that_is_right_is_believed(tmp_path):
    raw = dumped([[0, 512], [MIB - 512, 512]])
    manifest, supply = image_of(tmp_path, raw, [b"x" * 512 + b"y" * 512])
    (tmp_path / "target").touch()
    write_disk(manifest, tmp_path / "target", supply)
    assert (tmp_path / "target").read_bytes() == b"x" * 512 + bytes(MIB - 1024) + b"y" * 512


def test_packs_must_not_overlap_within_a_piece_or_across():
    pack = Pack(Blob("0" * 64, 1), 512)
    with pytest.raises(MalformedManifest, match="begins"):
        disk_index.load(dumped([[512, 512]], [[0, 512]]), Piece(pack.blob, 1, (pack, pack)), MIB, 0)
    one = Piece(pack.blob, 1, (pack,))
    assert disk_index.load(dumped([[512, 512]]), one, MIB, 512)
    with pytest.raises(MalformedManifest, match="begins"):
        disk_index.load(dumped([[512, 512]]), one, MIB, 1024)


def test_an_overlap_of_pieces_is_found_when_writing(tmp_path):
    manifest, supply = image_of(tmp_path, dumped([[0, 512]]), [b"x" * 512])
    twice = replace(manifest, pieces=manifest.pieces * 2)
    (tmp_path / "target").touch()
    with pytest.raises(MalformedManifest, match="begins"):
        write_disk(twice, tmp_path / "target", supply)


def test_a_tree_is_no_disk(tmp_path):
    manifest, supply = image_of(tmp_path, dumped([[0, 512]]), [b"x" * 512])
    (tmp_path / "target").touch()
    tree = replace(manifest, kind=ImageKind.TREE, disk_bytes=0)
    with pytest.raises(NotADisk):
        write_disk(tree, tmp_path / "target", supply)
    with pytest.raises(MalformedManifest, match="sectors"):
        write_disk(replace(manifest, disk_bytes=1000), tmp_path / "target", supply)


def test_a_frame_must_be_one_and_of_the_stated_length():
    frame = zstd_frame.compress(b"x" * 1000, 3)
    assert zstd_frame.unpack(frame, 1000) == b"x" * 1000
    # Half a GiB that hides in some kilobytes is refused by what it states, before any memory is taken.
    bomb = zstd_frame.compress(bytes(16 * MIB), 3)
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    for wrong in (b"", b"x", frame[:-1], frame + b"x", frame + frame, bomb, streamed):
        with pytest.raises(MalformedManifest):
            zstd_frame.unpack(wrong, 1000)
