"""A piece of a tree's index: what the entries are, and which bytes of a pack are whose.

The unpacked bytes are a JSON array of two: the entries without data (folders, links, devices, pipes, empty
files), and for each of the piece's packs an array of segments, in the order of their bytes in the pack. An
entry is an array `[path, kind, mode, uid, gid, mtime_ns, more]`; a segment the same and then
`offset, length`: the bytes of the file's data, holes left out, that stand in the pack. `more` is an object
that has what is not empty of: `x` xattrs as [name, base64], `t` target, `d` device, `s` size, `h` sha256, `o`
holes. A file is in one segment if it fits into a pack, else in several, each of which describes it whole.

Entries come in the order of their paths, part by part, over the whole image; so a folder comes before all
that is in it. This is checked, as is everything that a name could do to a tree.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from images import zstd_frame
from images.entries import Entry, Kind
from images.manifest import MAXIMUM_IMAGE_BYTES, MalformedManifest, Piece, check_values, is_digest

# Linux's own bounds (limits.h, xattr.h).
NAME_MAX = 255
PATH_MAX = 4096
XATTR_NAME_MAX = 255
XATTR_SIZE_MAX = 65536
_MAXIMUM_MODE = 0o7777
_MAXIMUM_ID = 2**32 - 2
_MAXIMUM_TIME = 2**63


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` bytes of a file's data from `offset` of it, holes not counted."""

    entry: Entry
    offset: int
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the file's data."""
        return self.offset == 0 and self.length == data_bytes(self.entry)


@dataclass(frozen=True, slots=True)
class Index:
    """A piece of the index, read: entries without data, and the segments of each pack."""

    frame: tuple[Entry, ...]
    packs: tuple[tuple[Segment, ...], ...]


def data_bytes(entry: Entry) -> int:
    """Return the bytes of a file's data, without holes."""
    return entry.size - sum(length for _, length in entry.holes)


def order(path: str) -> list[bytes]:
    """Return the key by which entries are sorted: the names on the way, as bytes; the root comes first."""
    return path.encode(errors="surrogateescape").split(b"/") if path else []


def dump(frame: Iterable[Entry], packs: Iterable[Iterable[Segment]]) -> bytes:
    """Return the bytes of a piece, not compressed."""
    rows = [_row(entry) for entry in frame]
    segments = [[[*_row(each.entry), each.offset, each.length] for each in pack] for pack in packs]
    return json.dumps([rows, segments], sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _row(entry: Entry) -> list[Any]:
    more: dict[str, Any] = {
        "x": [[name, base64.b64encode(value).decode()] for name, value in entry.xattrs],
        "t": entry.target,
        "d": entry.device,
        "s": entry.size,
        "h": entry.sha256,
        "o": entry.holes,
    }
    more = {key: value for key, value in more.items() if value}
    return [entry.path, entry.kind.value, entry.mode, entry.uid, entry.gid, entry.mtime_ns, more]


def read(compressed: bytes, piece: Piece) -> Index:
    """Read a piece as it is stored. Raises MalformedManifest."""
    return load(zstd_frame.unpack(compressed, piece.index_bytes), piece)


def load(raw: bytes, piece: Piece) -> Index:
    """Read a piece by itself; Walk judges how it goes with the others. Raises MalformedManifest."""
    check_values(raw, "a piece of the index")
    try:
        frame, packs = json.loads(raw)
        index = Index(
            tuple(_entry(*row) for row in frame),
            tuple(tuple(_segment(row) for row in pack) for pack in packs),
        )
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise MalformedManifest(f"a piece of the index: {error}") from None
    if len(index.packs) != len(piece.packs):
        raise MalformedManifest(f"the index tells of {len(index.packs)} packs, there are {len(piece.packs)}")
    for segments, pack in zip(index.packs, piece.packs, strict=True):
        if sum(segment.length for segment in segments) != pack.data_bytes:
            raise MalformedManifest(f"pack {pack.blob.sha256}: its files are not {pack.data_bytes} bytes")
    return index


def _segment(row: Sequence[Any]) -> Segment:
    *entry, offset, length = row
    return Segment(_entry(*entry), _number(offset, 0, 2**63), _number(length, 1, 2**63))


def _entry(path: str, *words: Any) -> Entry:
    try:
        return _described(path, *words)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path!r:.200}: {error}") from None


def _described(
    path: str, kind: str, mode: int, uid: int, gid: int, mtime_ns: int, more: dict[str, Any]
) -> Entry:
    if type(more) is not dict or not more.keys() <= _MORE:
        raise ValueError("unknown members")
    size = _number(more.get("s", 0), 0, MAXIMUM_IMAGE_BYTES)
    return Entry(
        _text(path),
        Kind(kind),
        _number(mode, 0, _MAXIMUM_MODE),
        _number(uid, 0, _MAXIMUM_ID),
        _number(gid, 0, _MAXIMUM_ID),
        _number(mtime_ns, -_MAXIMUM_TIME, _MAXIMUM_TIME - 1),
        _xattrs(more["x"]) if "x" in more else (),
        _text(more.get("t", "")),
        _number(more.get("d", 0), 0, 2**64 - 1),
        size,
        _digest(more["h"]) if "h" in more else "",
        tuple((_number(at, 0, size), _number(length, 1, size)) for at, length in more.get("o", ())),
    )


_MORE = frozenset("xtdsho")


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.80} where a number from {least} to {most} is wanted")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r:.80} where text is wanted")
    if not value.isascii():
        # Raises for what stands for no bytes, such as half of a surrogate pair.
        value.encode(errors="surrogateescape")
    return value


def _digest(value: Any) -> str:
    if not is_digest(_text(value)):
        raise ValueError(f"{value!r:.80} where a SHA-256 is wanted")
    return str(value)


def _xattrs(rows: Any) -> tuple[tuple[str, bytes], ...]:
    return tuple((_text(name), base64.b64decode(_text(value), validate=True)) for name, value in rows)
