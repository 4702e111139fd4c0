"""Says what a path is by looking at it, never by its name."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.sources.archive import ArchiveSource
from images.sources.base import NotAnImage, Source
from images.sources.compression import LIMIT_BYTES, Compression, compression_of
from images.sources.folder import FolderSource
from images.sources.headers import is_header
from images.sources.oci import ArchiveFiles, FolderFiles, OciSource, is_oci

_BLOCK = 512
# What people may give by mistake, by its first bytes.
_KNOWN = (
    (b"QFI\xfb", "a disk image in qcow2 format"),
    (b"KDMV", "a disk image in VMDK format"),
    (b"vhdxfile", "a disk image in VHDX format"),
    (b"hsqs", "a squashfs file system"),
    (b"PK\x03\x04", "a zip archive"),
    (b"LZIP", "a file compressed by lzip"),
    (b"\x1f\x9d", "a file compressed by compress"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"070701", "a cpio archive"),
    (b"", "an unknown format"),
)


@contextmanager
def open_source(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> Iterator[Source]:
    """Give the source that the path is for the length of a with block: folder, tar archive or OCI image.

    What has more than `limit_bytes` when it is decompressed is refused. Raises NotAnImage, OSError.
    """
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        if (path / "oci-layout").is_file():
            with OciSource(FolderFiles(path), path, limit_bytes=limit_bytes) as image:
                yield image
        else:
            yield FolderSource(path)
        return
    if not stat.S_ISREG(mode):
        raise NotAnImage(f"{path}: neither a folder nor a file")
    _check_is_archive(path)
    with ArchiveSource(path, limit_bytes=limit_bytes) as archive:
        members = ArchiveFiles(archive)
        if not is_oci(members):
            yield archive
            return
        with OciSource(members, path, limit_bytes=limit_bytes) as image:
            yield image


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise NotAnImage(f"{path}: there is nothing") from None


def _check_is_archive(path: Path) -> None:
    """Raise NotAnImage with what it is instead."""
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    if compression_of(head) is not Compression.NONE or is_header(head):
        return
    if len(head) == _BLOCK and head.endswith(b"\x55\xaa"):
        raise NotAnImage(f"{path}: a raw disk image")
    raise NotAnImage(f"{path}: {next(what for magic, what in _KNOWN if head.startswith(magic))}")
