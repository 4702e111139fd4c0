"""Whole-disk images with real qemu-img and real block devices: loop devices over files."""

import os
import random
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from host.disks import DiskBusy
from host.os_errors import DiskWriteFailed
from host.run import Runner
from images.disk_make import make_disk_image
from images.disk_target import TargetTooSmall
from images.disk_write import DiskDiffers, verify_disk, write_disk
from images.sources.base import NotAnImage
from images.store import BlobStore
from tests.disk_images import MIB, FromStore, change, sparse

pytestmark = pytest.mark.host

RUN = Runner()
DISK_BYTES = 48 * MIB + 512
# A disk to write to, with room to spare.
LARGER = 53 * MIB
CONTENT = {0: b"boot", MIB: b"a" * MIB, 12 * MIB + 4096: b"b" * 100, DISK_BYTES - 512: b"end"}


@contextmanager
def loop(backing: Path, *options: str):
    """The file as a block device."""
    device = RUN(["losetup", "--find", "--show", *options, str(backing)]).stdout.strip()
    try:
        yield Path(device)
    finally:
        RUN(["losetup", "--detach", device])


@contextmanager
def mounted(kind: str, where: Path, *options: str):
    where.mkdir()
    RUN(["mount", "-t", kind, *options, kind, str(where)])
    try:
        yield where
    finally:
        RUN(["umount", str(where)])


def old_disk(path: Path, size: int) -> Path:
    path.write_bytes(b"old content!" * (size // 12) + b"o" * (size % 12))
    return path


@pytest.fixture
def raw(tmp_path):
    return sparse(tmp_path / "disk.raw", DISK_BYTES, CONTENT)


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "store")


@pytest.fixture
def made(raw, store):
    return make_disk_image("disk", raw, store, RUN)


# --- qcow2 ---


def qcow2(path: Path, *options: str) -> Path:
    RUN(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), str(DISK_BYTES)])
    return path


def test_a_qcow2_gives_the_image_that_its_raw_form_gives(tmp_path, raw, store, made):
    for options in ([], ["-c"], ["-o", "compat=0.10"], ["-o", "cluster_size=2M"]):
        path = tmp_path / "disk.qcow2"
        RUN(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(path)])
        assert make_disk_image("disk", path, store, RUN) == made
    assert [path.name for path in store.folder.iterdir() if len(path.name) != 2] == []


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_a_backing_file_is_not_published(tmp_path, raw, store, compat):
    path = qcow2(tmp_path / "d", "-b", str(raw), "-F", "raw", "-o", f"compat={compat}")
    with pytest.raises(NotAnImage, match="backing file"):
        make_disk_image("disk", path, store, RUN)
    assert list(store.digests()) == []


def test_an_external_data_file_is_not_published(tmp_path, raw, store):
    path = qcow2(tmp_path / "d", "-o", f"data_file={tmp_path / 'other'}")
    (tmp_path / "other").write_bytes(raw.read_bytes())
    with pytest.raises(NotAnImage, match="another file"):
        make_disk_image("disk", path, store, RUN)
    assert list(store.digests()) == []


def test_an_encrypted_disk_is_refused(tmp_path, store):
    secret = ("--object", "secret,id=key,data=password")
    # Not luks, whose key qemu-img derives by a measurement that fails where the kernel's clocks are coarse.
    path = qcow2(tmp_path / "d", *secret, "-o", "encrypt.format=aes,encrypt.key-secret=key")
    with pytest.raises(NotAnImage, match="encrypted"):
        make_disk_image("disk", path, store, RUN)


def test_a_qcow2_that_is_damaged_is_refused(tmp_path, raw, store):
    path = tmp_path / "d"
    RUN(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)])
    # The offset of the table that leads to all others.
    change(path, {40: b"\xff" * 8})
    with pytest.raises(NotAnImage, match="L1"):
        make_disk_image("disk", path, store, RUN)
    assert [path.name for path in store.folder.iterdir()] == []


# --- block devices ---


def test_nothing_old_shines_through_and_the_holes_are_freed(tmp_path, raw, store, made):
    backing = old_disk(tmp_path / "backing", LARGER)
    with loop(backing) as device:
        write_disk(made, device, FromStore(store))
        verify_disk(made, device, FromStore(store))
        assert device.read_bytes() == raw.read_bytes() + bytes(LARGER - DISK_BYTES)
    assert backing.stat().st_blocks * 512 < 4 * MIB


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("end", [b"", b"end"])
def test_a_device_that_cannot_free_is_zeroed(tmp_path, raw, store, sector, end):
    """A file in a ramfs, which can have no holes punched, nor can the loop device over it."""
    change(raw, {DISK_BYTES - 512: end.ljust(512, b"\0")})
    made = make_disk_image("disk", raw, store, RUN)
    with mounted("ramfs", tmp_path / "ramfs") as folder:
        backing = old_disk(folder / "backing", LARGER)
        with loop(backing, "--sector-size", str(sector)) as device:
            sysfs = Path("/sys/class/block") / device.name / "queue/write_zeroes_max_bytes"
            assert int(sysfs.read_text()) == 0
            write_disk(made, device, FromStore(store))
            verify_disk(made, device, FromStore(store))
            found = device.read_bytes()
    assert found[:DISK_BYTES] == raw.read_bytes()
    assert found[-MIB:] == bytes(MIB)


def test_a_disk_that_is_too_small_is_not_touched(tmp_path, store, made):
    backing = old_disk(tmp_path / "backing", DISK_BYTES - 512)
    before = backing.read_bytes()
    with loop(backing) as device, pytest.raises(TargetTooSmall, match="48 MiB are wanted"):
        write_disk(made, device, FromStore(store))
    assert backing.read_bytes() == before


def test_a_file_system_that_is_too_small_is_not_touched(tmp_path, raw, store):
    noise = random.Random(1).randbytes(9 * MIB)
    change(raw, {20 * MIB: noise})
    made = make_disk_image("disk", raw, store, RUN)
    with mounted("tmpfs", tmp_path / "tmpfs", "-o", "size=8M") as folder:
        (folder / "target").write_bytes(b"old")
        with pytest.raises(TargetTooSmall):
            write_disk(made, folder / "target", FromStore(store))
        assert (folder / "target").read_bytes() == b"old"


def test_a_disk_in_use_is_not_touched(tmp_path, store, made):
    backing = sparse(tmp_path / "backing", 64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(backing)], check=True)
    (tmp_path / "mnt").mkdir()
    with loop(backing) as device:
        RUN(["mount", str(device), str(tmp_path / "mnt")])
        try:
            (tmp_path / "mnt/file").write_text("here")
            with pytest.raises(DiskBusy, match=str(device)):
                write_disk(made, device, FromStore(store))
        finally:
            RUN(["umount", str(tmp_path / "mnt")])
        RUN(["fsck.ext4", "-fn", str(device)])


def test_a_disk_that_fails_is_told_of_and_does_not_boot(tmp_path, raw, store):
    """A device of 53 MiB that in truth has room for 8."""
    noise = random.Random(1).randbytes(12 * MIB)
    change(raw, {20 * MIB: noise})
    made = make_disk_image("disk", raw, store, RUN)
    with (
        mounted("tmpfs", tmp_path / "tmpfs", "-o", "size=8M") as folder,
        loop(sparse(folder / "backing", LARGER)) as device,
    ):
        with pytest.raises(DiskWriteFailed, match=str(device)):
            write_disk(made, device, FromStore(store))
        assert device.read_bytes()[:MIB] == bytes(MIB)


def test_verification_asks_the_disk_and_not_the_kernels_memory(tmp_path, store, made):
    backing = sparse(tmp_path / "backing", LARGER)
    with loop(backing) as device:
        write_disk(made, device, FromStore(store))
        with device.open("rb") as reader:
            # Into the kernel's memory, and kept there by a reader.
            reader.read()
            change(backing, {2 * MIB - 100: b"flipped"})
            with pytest.raises(DiskDiffers, match="1048576"):
                verify_disk(made, device, FromStore(store))


def test_a_disk_that_others_use_can_be_compared_and_is_not_written(tmp_path, raw, store, made):
    with loop(sparse(tmp_path / "backing", LARGER)) as device:
        write_disk(made, device, FromStore(store))
        # As the kernel claims it for what is mounted from it, or stands on it.
        claimed = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            verify_disk(made, device, FromStore(store))
            with pytest.raises(DiskBusy):
                write_disk(made, device, FromStore(store))
        finally:
            os.close(claimed)
