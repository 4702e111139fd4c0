"""What the headers of a tar archive say, as entries: ustar, GNU, and pax as star and libarchive extend it.

tarfile reads them; here is what it leaves to its user: exact times, bytes of attributes, and not to take
for the end of the archive what is only damage.
"""

from __future__ import annotations

import base64
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, Self, cast
from urllib.parse import unquote

from images.entries import Entry, Kind
from images.sources import acl
from images.sources.attributes import ACL_ACCESS, ACL_DEFAULT, chosen
from images.sources.base import NotAnImage
from images.sources.nodes import MAXIMUM_PATH_BYTES, TIMES_NS, refusal, split

_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.LNKTYPE: Kind.HARD,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.PIPE,
}
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
# They are read into memory whole. Go's archive/tar has the same bound.
_EXTENSION_BYTES = 1024 * 1024
_BLOCK = 512
_READ_BYTES = 1024 * 1024
_NUMBER = re.compile(r"[0-9]{1,19}")
_TIME = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_MAXIMUM_ID = 2**32 - 2
_MAXIMUM_SIZE = 2**63 - 1
# Linux has 12 bits for major and 20 for minor numbers.
_MAXIMUM_MAJOR, _MAXIMUM_MINOR = 2**12 - 1, 2**20 - 1
_ACLS = {"SCHILY.acl.access": ACL_ACCESS, "SCHILY.acl.default": ACL_DEFAULT}
# What tarfile lets through of damaged headers, beside its own errors.
_FAILURES = (tarfile.TarError, ValueError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Header:
    """A member: its entry, at which byte of the archive its data begin, and ACLs as (attribute, text)."""

    entry: Entry
    data_offset: int
    acls: tuple[tuple[str, str], ...]


class _Info(tarfile.TarInfo):
    """A header that is looked at before tarfile follows its sizes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise tarfile.ReadError("a header with a negative size")
        if info.type in _EXTENSIONS and info.size > _EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info


def is_header(block: bytes) -> bool:
    """Say whether an archive may begin with this block of 512 bytes."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def read_headers(file: BinaryIO, where: object) -> Iterator[Header]:
    """Yield the members of a plain tar archive in its order.

    Raises NotAnImage where it is damaged, cut off or says what no image may hold, OSError.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    last, end = "the beginning", 0
    try:
        with _open(file) as archive:
            while (info := archive.next()) is not None:
                # tarfile keeps what it has read.
                archive.members = []  # type: ignore[attr-defined]
                last = repr(info.name)
                try:
                    header = _header(info, archive.offset)
                except ValueError as error:
                    raise refusal(where, info.name, error) from None
                end = archive.offset
                if end > size:
                    raise refusal(where, info.name, "the archive is cut off in its data")
                yield header
            end = archive.offset
    except _FAILURES as error:
        raise NotAnImage(f"{where}: damaged after {last}: {error}") from None
    _check_end(file, end, size, f"{where}: after {last}")


def _open(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", tarinfo=_Info, encoding="utf-8", errors="surrogateescape")


def _check_end(file: BinaryIO, at: int, size: int, where: str) -> None:
    """Raise NotAnImage unless an archive's mark of its end is there and nothing follows it."""
    if size - at < _BLOCK:
        raise NotAnImage(f"{where}: the archive is cut off")
    while at < size:
        data = os.pread(file.fileno(), _READ_BYTES, at)
        if data.strip(b"\0"):
            raise NotAnImage(f"{where}: a damaged header, or garbage behind the archive")
        at += len(data)


def _header(info: tarfile.TarInfo, end: int) -> Header:
    kind = _KINDS.get(info.type)
    hard = kind is Kind.HARD
    if kind is None:
        raise ValueError(f"members of type {info.type!r} are unknown")
    pax = info.pax_headers
    for name in ("uid", "gid", "size"):
        if name in pax and not _NUMBER.fullmatch(pax[name]):
            raise ValueError(f"the {name} {pax[name][:40]!r}")
    if not (0 <= info.uid <= _MAXIMUM_ID and 0 <= info.gid <= _MAXIMUM_ID):
        raise ValueError(f"the owner {info.uid}:{info.gid}")
    entry = Entry(
        "/".join(split(info.name)),
        kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime_ns=_mtime_ns(info),
        # Those of another name are the file's.
        xattrs=() if hard else chosen(_attributes(pax), kind),
        target=_target(info, kind),
        device=_device(info) if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
    )
    if not entry.path and kind is not Kind.FOLDER:
        raise ValueError("the tree itself must be a folder")
    if kind is Kind.FILE:
        entry = _with_size(entry, info, end)
    entry = with_acl_mode(entry)
    acls = tuple((attribute, pax[name]) for name, attribute in _ACLS.items() if name in pax and not hard)
    return Header(entry, info.offset_data, acls)


def with_acl_mode(entry: Entry) -> Entry:
    """Return the entry with the mode that its ACL gives it: who sets both would change one by the other."""
    found = dict(entry.xattrs).get(ACL_ACCESS)
    return entry if found is None else replace(entry, mode=acl.mode_with(found, entry.mode))


def _with_size(entry: Entry, info: tarfile.TarInfo, end: int) -> Entry:
    """Return the entry with size and holes. Raises ValueError unless as much data is there as it says."""
    if not 0 <= info.size <= _MAXIMUM_SIZE:
        raise ValueError(f"a size of {info.size} bytes")
    holes, stored = _holes(info) if info.issparse() else ((), info.size)
    if not 0 <= end - info.offset_data - stored < _BLOCK:
        raise ValueError(f"{stored} bytes of data where the archive has {end - info.offset_data}")
    return replace(entry, size=info.size, holes=holes)


def _holes(info: tarfile.TarInfo) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the holes, and how many bytes are none."""
    holes, at, stored = [], 0, 0
    parts = cast(list[tuple[int, int]], info.sparse)
    for offset, length in (*parts, (info.size, 0)):
        if length < 0 or (length and offset < at) or offset + length > info.size:
            raise ValueError("a map of holes out of order")
        if offset > at:
            holes.append((at, offset - at))
        at = max(at, offset + length)
        stored += length
    return tuple(holes), stored


def _mtime_ns(info: tarfile.TarInfo) -> int:
    text = info.pax_headers["mtime"] if "mtime" in info.pax_headers else str(int(info.mtime))
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"the time {text[:40]!r}")
    fraction = match[3] or ""
    found = int(match[2]) * 10**9 + int(fraction[:9].ljust(9, "0"))
    # What is finer than a nanosecond is rounded down, so before 1970 away from zero.
    found = -found - bool(fraction[9:].strip("0")) if match[1] else found
    if found not in TIMES_NS:
        raise ValueError(f"the time {text[:40]!r}, which ext4 cannot hold")
    return found


def _target(info: tarfile.TarInfo, kind: Kind) -> str:
    if kind is Kind.HARD:
        return "/".join(split(info.linkname))
    if kind is not Kind.LINK:
        return ""
    if not info.linkname or "\0" in info.linkname or len(os.fsencode(info.linkname)) > MAXIMUM_PATH_BYTES:
        raise ValueError("a link to nowhere, or longer than Linux takes")
    return info.linkname


def _device(info: tarfile.TarInfo) -> int:
    if not (0 <= info.devmajor <= _MAXIMUM_MAJOR and 0 <= info.devminor <= _MAXIMUM_MINOR):
        raise ValueError(f"the device {info.devmajor}:{info.devminor}")
    return os.makedev(info.devmajor, info.devminor)


def _attributes(pax: Mapping[str, str]) -> dict[str, bytes]:
    """Return the extended attributes; star's form is believed rather than libarchive's, if both are there."""
    found = {}
    for key, value in pax.items():
        if key.startswith("LIBARCHIVE.xattr."):
            # libarchive writes no padding; more than is wanted does no harm.
            data = base64.b64decode(value.encode("ascii") + b"==")
            found[unquote(key.removeprefix("LIBARCHIVE.xattr."), errors="surrogateescape")] = data
    for key, value in pax.items():
        if key.startswith("SCHILY.xattr."):
            # GNU tar's way to have these two letters in a name: xattr_encode_keyword() in its xheader.c.
            name = key.removeprefix("SCHILY.xattr.").replace("%3D", "=").replace("%25", "%")
            found[name] = value.encode("utf-8", "surrogateescape")
    return found
