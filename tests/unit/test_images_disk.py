"""Whole-disk images: what is used of a disk, how it is cut into packs, and what of an index is believed."""

import os
import random
import struct

import pytest

from host.os_errors import DiskWriteFailed
from host.run import Runner
from images import disk_make
from images.disk_make import make_disk_image, packs_of
from images.disk_source import BLOCK_BYTES, check_qcow2, is_disk_image, raw_disk, used_ranges
from images.disk_target import TargetTooSmall
from images.disk_write import DiskDiffers, verify_disk, write_disk
from images.sources.base import NotAnImage
from images.store import BlobStore
from tests.disk_images import MIB, FromStore, change, sparse
from tests.unit.made_archives import file, tar

KIB = 1024
RUN = Runner()


def bytes_of(seed, size):
    return random.Random(seed).randbytes(size)


def ranges_of(path):
    with path.open("rb") as file:
        return list(used_ranges(file.fileno()))


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "store")


# --- what is used ---


def test_holes_and_zeros_are_not_used(tmp_path):
    content = {
        0: b"boot",
        BLOCK_BYTES: bytes(3 * BLOCK_BYTES),
        5 * BLOCK_BYTES - 1: b"xy",
        4 * MIB + 7: b"x",
    }
    assert ranges_of(sparse(tmp_path / "d", 20 * MIB, content)) == [
        (0, BLOCK_BYTES),
        (4 * BLOCK_BYTES, 2 * BLOCK_BYTES),
        (4 * MIB, BLOCK_BYTES),
    ]


def test_zeros_that_a_file_system_stored_are_not_used(tmp_path):
    path = tmp_path / "d"
    path.write_bytes(bytes(2 * MIB) + b"x" * BLOCK_BYTES + bytes(MIB))
    assert ranges_of(path) == [(2 * MIB, BLOCK_BYTES)]


def test_the_end_of_a_disk_may_be_less_than_a_block(tmp_path):
    path = sparse(tmp_path / "d", 3 * BLOCK_BYTES + 1536, {3 * BLOCK_BYTES + 1535: b"x"})
    assert ranges_of(path) == [(3 * BLOCK_BYTES, 1536)]


def test_a_disk_of_zeros_has_no_ranges(tmp_path):
    assert ranges_of(sparse(tmp_path / "d", MIB, {})) == []


def test_packs_are_bounded_and_of_one_window(tmp_path):
    path = sparse(tmp_path / "d", 80 * MIB, {0: b"x" * 12 * MIB, 30 * MIB: b"y" * 4 * MIB})
    packs = list(packs_of(ranges_of(path)))
    assert packs == [((0, 8 * MIB),), ((8 * MIB, 4 * MIB), (30 * MIB, 2 * MIB)), ((32 * MIB, 2 * MIB),)]


# --- which files are refused ---

HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


def qcow2(version=3, backing=0, encryption=0, features=0):
    return HEADER.pack(
        b"QFI\xfb", version, backing, 9, 16, MIB, encryption, 1, 0, 0, 1, 0, 0, features, 0, 0, 4, 104
    )


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (qcow2(backing=1024), "backing file"),
        (qcow2(version=2, backing=1024), "backing file"),
        (qcow2(features=4), "data in another file"),
        (qcow2(features=4 | 1), "data in another file"),
        (qcow2(encryption=2), "encrypted"),
        (qcow2(encryption=1), "encrypted"),
        (qcow2(features=2), "corrupt"),
        (qcow2(version=1), "version 1"),
        (qcow2(version=4), "version 4"),
        (qcow2()[:70], "cut off"),
        (qcow2()[:10], "cut off"),
    ],
)
def test_a_qcow2_that_leads_elsewhere_never_reaches_qemu(tmp_path, store, head, why):
    """A process would be an error of another kind here: the conftest sees to that."""
    path = tmp_path / "d"
    path.write_bytes(head)
    with pytest.raises(NotAnImage, match=why):
        make_disk_image("d", path, store, RUN)


def test_a_plain_qcow2_is_accepted(tmp_path):
    check_qcow2(tmp_path, qcow2())
    check_qcow2(tmp_path, qcow2(version=2, features=4))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"KDMV" + bytes(508), "VMDK"),
        (b"\x28\xb5\x2f\xfd" + bytes(508), "zstd"),
        (b"", "0 bytes"),
        (bytes(513), "513 bytes"),
    ],
)
def test_what_is_no_disk_is_refused(tmp_path, store, content, why):
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(NotAnImage, match=why):
        make_disk_image("d", tmp_path / "d", store, RUN)
    assert list(store.digests()) == []


def test_a_disk_that_changes_while_it_is_read_is_refused(tmp_path, store, monkeypatch):
    path = sparse(tmp_path / "d", MIB, {0: b"x"})

    def running(handle):
        os.utime(path, ns=(1, 1))
        return used_ranges(handle)

    monkeypatch.setattr(disk_make, "used_ranges", running)
    with pytest.raises(NotAnImage, match="changed"):
        make_disk_image("d", path, store, RUN)


# --- making and writing ---


@pytest.fixture
def content():
    noise = bytes_of(1, 300 * KIB)
    return {0: noise, MIB - 5: b"over the withheld part", 9 * MIB: noise[:512], 40 * MIB: b"end"}


@pytest.fixture
def made(tmp_path, store, content):
    return make_disk_image("d", sparse(tmp_path / "d", 41 * MIB + 512, content), store, RUN)


def test_what_is_made_is_what_is_written(tmp_path, store, made):
    target = tmp_path / "target"
    target.write_bytes(b"old" * 20 * MIB)
    told = []
    write_disk(made, target, FromStore(store), lambda part, text: told.append((part, text)))
    assert target.read_bytes() == (tmp_path / "d").read_bytes()
    assert target.stat().st_blocks * 512 < 4 * MIB
    assert told[-1][0] == 1.0
    assert told[-1][1].startswith("0 of 0 MiB")
    verify_disk(made, target, FromStore(store))


def test_the_same_content_gives_the_same_image(tmp_path, store, made, content):
    again = sparse(tmp_path / "again", 41 * MIB + 512, content | {20 * MIB: bytes(MIB)})
    other = BlobStore(tmp_path / "other")
    assert make_disk_image("d", again, other, RUN).to_bytes() == made.to_bytes()
    assert list(other.digests()) == list(store.digests())
    assert other.has(made.digest)


def test_windows_that_did_not_change_keep_their_packs(tmp_path, store, made, content):
    changed = sparse(tmp_path / "changed", 41 * MIB + 512, content | {33 * MIB: b"new"})
    packs = make_disk_image("d", changed, store, RUN).packs
    assert packs[0] == made.packs[0]
    assert packs[-1] != made.packs[-1]


def test_a_disk_of_many_pieces(tmp_path, store, monkeypatch):
    monkeypatch.setattr(disk_make, "PACKS_OF_A_PIECE", 2)
    content = {number * 32 * MIB: b"%d" % number for number in range(4)}
    manifest = make_disk_image("d", sparse(tmp_path / "d", 128 * MIB, content), store, RUN)
    assert [len(piece.packs) for piece in manifest.pieces] == [2, 2]
    (tmp_path / "target").touch()
    write_disk(manifest, tmp_path / "target", FromStore(store))
    assert ranges_of(tmp_path / "target") == [(offset, BLOCK_BYTES) for offset in content]
    verify_disk(manifest, tmp_path / "target", FromStore(store))


def test_a_disk_of_zeros(tmp_path, store):
    manifest = make_disk_image("d", sparse(tmp_path / "d", MIB, {}), store, RUN)
    assert manifest.packs == ()
    (tmp_path / "target").write_bytes(b"old")
    write_disk(manifest, tmp_path / "target", FromStore(store))
    assert (tmp_path / "target").read_bytes() == bytes(MIB)


@pytest.mark.parametrize("at", [0, 5, 200 * KIB, 2 * MIB, 9 * MIB + 511, 41 * MIB + 511])
def test_a_disk_that_differs_is_found_out(tmp_path, store, made, at):
    target = tmp_path / "target"
    target.touch()
    write_disk(made, target, FromStore(store))
    change(target, {at: bytes([target.read_bytes()[at] ^ 1])})
    with pytest.raises(DiskDiffers):
        verify_disk(made, target, FromStore(store))


def test_until_all_else_is_written_there_is_no_beginning(tmp_path, store, made):
    target = tmp_path / "target"
    target.write_bytes(b"old" * MIB)

    class Breaks(FromStore):
        def ahead(self, blobs):
            *rest, _last = super().ahead(blobs)
            yield from rest
            assert target.read_bytes()[:MIB] == bytes(MIB)
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        write_disk(made, target, Breaks(store))
    assert target.read_bytes()[:MIB] == bytes(MIB)


def test_nothing_is_given_up_for_an_image_that_does_not_come(tmp_path, store, made):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    store.path(made.packs[0].blob.sha256).unlink()
    with pytest.raises(Exception, match="missing"):
        write_disk(made, target, FromStore(store))
    assert target.read_bytes() == b"old"


def test_a_folder_or_a_link_or_nothing_is_no_target(tmp_path, store, made):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "link", "pipe", "nothing"):
        with pytest.raises(DiskWriteFailed):
            write_disk(made, tmp_path / name, FromStore(store))


def test_an_error_of_the_disk_is_named(tmp_path, store, made, monkeypatch):
    (tmp_path / "target").touch()

    def refuse(code):
        def pwrite(*_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "pwrite", pwrite)

    refuse(5)
    with pytest.raises(DiskWriteFailed, match="Input/output error"):
        write_disk(made, tmp_path / "target", FromStore(store))
    refuse(28)
    with pytest.raises(TargetTooSmall, match="no space left"):
        write_disk(made, tmp_path / "target", FromStore(store))


def test_the_content_of_a_qcow2_needs_a_program(tmp_path, store):
    """Which a unit test has not: so the fixture that guards these tests is seen to work."""
    (tmp_path / "d").write_bytes(qcow2())
    with pytest.raises(AssertionError, match="qemu-img"), raw_disk(tmp_path / "d", tmp_path, RUN):
        pass


@pytest.mark.parametrize(
    ("offset", "mark"),
    [(510, b"\x55\xaa"), (512, b"EFI PART"), (512, b"LABELONE"), (1080, b"\x53\xef"), (65600, b"_BHRfS_M")],
)
def test_a_disk_is_known_by_what_is_at_its_beginning(tmp_path, offset, mark):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(offset) + mark + bytes(1024))
    assert is_disk_image(disk)
    disk.write_bytes(bytes(70_000))
    assert not is_disk_image(disk)


def test_an_archive_with_such_a_mark_by_chance_is_no_disk(tmp_path):
    archive = tmp_path / "base.tar"
    archive.write_bytes(b"\x1f\x8b" + bytes(508) + b"\x55\xaa" + bytes(1024))
    assert not is_disk_image(archive)
    archive.write_bytes(tar(file("f", bytes(1080 - 512) + b"\x53\xef")))
    assert not is_disk_image(archive)
