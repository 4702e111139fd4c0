"""A disk's image as qemu keeps it, raw or qcow2: the ranges that are used.

Used is what is allocated and not all zeros, in blocks of 64 KiB. File systems on the disk are not looked
into: what they have freed but not discarded counts as used.

A qcow2 file can name other files that its content continues in (a backing file, an external data file).
Whoever made it would have these files of the operator's machine published, so the header is read here,
before any program of qemu's sees the file, and such ones are refused.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.run import CommandFailed, Runner
from images.disk_index import SECTOR_BYTES, Range
from images.sources.base import NotAnImage
from images.sources.headers import is_header
from images.store import SCRATCH

BLOCK_BYTES = 64 * 1024
# No range crosses a multiple of this, so that ranges of a much used disk need not be cut to fit into packs.
STRETCH_BYTES = 8 * 1024 * 1024
CONVERT_SECONDS = 4 * 3600.0
_READ_BYTES = 1024 * 1024
_ZEROS = bytes(BLOCK_BYTES)

# Where a raw disk says what it is: boot sector, GUID partition table; if it has none LVM, ext4, XFS, btrfs.
_DISKS = (
    (510, b"\x55\xaa"),
    (512, b"EFI PART"),
    *((sector * 512, b"LABELONE") for sector in range(4)),
    (1080, b"\x53\xef"),
    (0, b"XFSB"),
    (65600, b"_BHRfS_M"),
)
_LOOKED_AT_BYTES = 65608
# docs/interop/qcow2.txt of QEMU: magic, version, backing file's name at and of length, cluster bits, size,
# encryption; of version 3 the features that a reader must know.
_QCOW_MAGIC = b"QFI\xfb"
_QCOW_HEADER = struct.Struct(">4sIQIIQI")
_QCOW_FEATURES = (72, struct.Struct(">Q"))
_CORRUPT, _DATA_FILE = 1 << 1, 1 << 2
# What is taken for a raw disk by mistake, by its first bytes.
_OTHERS = {
    b"KDMV": "a VMDK image",
    b"vhdxfile": "a VHDX image",
    b"conectix": "a VHD image",
    b"<<< ": "a VDI image",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x1f\x8b": "compressed with gzip",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"BZh": "compressed with bzip2",
    b"PK\x03\x04": "a zip archive",
}


def is_disk_image(path: Path) -> bool:
    """Say whether this looks like a disk: qcow2, or a boot sector, partition table or file system.

    No archive is one: of those that are compressed one in 65,536 has the mark of a boot sector by chance.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT_BYTES)
    if any(head.startswith(magic) for magic in _OTHERS) or is_header(head[:SECTOR_BYTES]):
        return False
    return head.startswith(_QCOW_MAGIC) or any(
        head[offset : offset + len(magic)] == magic for offset, magic in _DISKS
    )


@contextmanager
def raw_disk(path: Path, scratch: Path, run: Runner) -> Iterator[int]:
    """Yield a descriptor to read the disk's content from, at its offsets on the disk.

    A raw file is read as it is; a qcow2 file is first unfolded into a sparse file in a folder of its own
    within `scratch`, where there must be room for what is used. Raises NotAnImage, CommandFailed,
    OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(handle, 104, 0)
        if not head.startswith(_QCOW_MAGIC):
            _check_raw(path, handle, head)
            yield handle
            return
        check_qcow2(path, head)
    finally:
        os.close(handle)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder:
        unfolded = _unfold(path.absolute(), Path(folder) / "raw", run)
        try:
            yield unfolded
        finally:
            os.close(unfolded)


def check_qcow2(path: Path, head: bytes) -> None:
    """Raise NotAnImage where the content is not all in this file, or cannot be read without a key."""
    try:
        _, version, backing, _, _, _, encryption = _QCOW_HEADER.unpack_from(head)
        offset, features = _QCOW_FEATURES
        incompatible = features.unpack_from(head, offset)[0] if version >= 3 else 0
    except struct.error:
        raise NotAnImage(f"{path}: the header of a qcow2 file, cut off") from None
    if version not in (2, 3):
        raise NotAnImage(f"{path}: qcow version {version}; 2 and 3 are known")
    if backing:
        raise NotAnImage(
            f"{path} continues in a backing file; make one file of both: qemu-img convert -O qcow2"
        )
    if incompatible & _DATA_FILE:
        raise NotAnImage(
            f"{path} has its data in another file; make one file of both: qemu-img convert -O qcow2"
        )
    if encryption:
        raise NotAnImage(f"{path} is encrypted")
    if incompatible & _CORRUPT:
        raise NotAnImage(f"{path} is marked as corrupt: qemu-img check")


def used_ranges(handle: int) -> Iterator[Range]:
    """Yield (offset, length) of what is used, ascending and apart; none crosses a multiple of STRETCH_BYTES.

    Lengths are multiples of 64 KiB, but for the end of the disk. Raises OSError.
    """
    begin = end = 0
    for offset, length in _used_blocks(handle):
        if offset != end or offset % STRETCH_BYTES == 0:
            if end > begin:
                yield begin, end - begin
            begin = offset
        end = offset + length
    if end > begin:
        yield begin, end - begin


def _used_blocks(handle: int) -> Iterator[Range]:
    for start, stop in _allocated(handle):
        for offset in range(start, stop, _READ_BYTES):
            data = os.pread(handle, min(_READ_BYTES, stop - offset), offset)
            for at in range(0, len(data), BLOCK_BYTES):
                block = data[at : at + BLOCK_BYTES]
                if block != _ZEROS[: len(block)]:
                    yield offset + at, len(block)


def _allocated(handle: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the file's data by the file system's word, in whole blocks."""
    size = os.lseek(handle, 0, os.SEEK_END)
    stop = 0
    while stop < size:
        try:
            data = os.lseek(handle, stop, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        hole = os.lseek(handle, data, os.SEEK_HOLE)
        start = data - data % BLOCK_BYTES
        stop = min(size, hole + -hole % BLOCK_BYTES)
        yield start, stop


def _check_raw(path: Path, handle: int, head: bytes) -> None:
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise NotAnImage(f"{path} is {kind}; wanted is a raw or qcow2 image of a disk")
    size = os.lseek(handle, 0, os.SEEK_END)
    if size == 0 or size % SECTOR_BYTES:
        raise NotAnImage(f"{path}: {size} bytes are not whole sectors of a disk")


def _unfold(path: Path, raw: Path, run: Runner) -> int:
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "64k", str(path), str(raw)]
    try:
        run(argv, timeout=CONVERT_SECONDS)
    except CommandFailed as error:
        raise NotAnImage(f"{path}: {error.stderr.strip()[-300:]}") from None
    return os.open(raw, os.O_RDONLY | os.O_CLOEXEC)
