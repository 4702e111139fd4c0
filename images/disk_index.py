"""A piece of a disk's index: which ranges of the disk the bytes of each pack are.

The unpacked bytes are canonical JSON, for each of the piece's packs its ranges as [offset, length] in the
order of their bytes: `[[[0,65536],[1048576,131072]],[[8388608,65536]]]`. What no range covers is zeros.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from images.manifest import MalformedManifest, Piece

SECTOR_BYTES = 512

# (offset, length) in bytes.
Range = tuple[int, int]


def dump(packs: Sequence[Sequence[Range]]) -> bytes:
    """Return the bytes of a piece, not compressed."""
    return json.dumps(packs, separators=(",", ":")).encode()


def load(raw: bytes, piece: Piece, disk_bytes: int, after: int) -> tuple[tuple[Range, ...], ...]:
    """Read a piece whose ranges begin at the offset `after` or later: the end of the piece before it.

    Raises MalformedManifest unless the ranges are whole sectors of the disk, ascend without overlapping, and
    are as long as the packs.
    """
    try:
        packs = tuple(tuple(_range(row) for row in rows) for rows in json.loads(raw))
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedManifest(f"a piece of the index: {error}") from None
    if dump(packs) != raw:
        raise MalformedManifest("a piece of the index is not in canonical form")
    if len(packs) != len(piece.packs):
        raise MalformedManifest(f"the index tells of {len(packs)} packs, there are {len(piece.packs)}")
    for ranges, pack in zip(packs, piece.packs, strict=True):
        for offset, length in ranges:
            if offset < after:
                raise MalformedManifest(
                    f"the range at {offset} begins within or before the one that ends at {after}"
                )
            after = offset + length
        if sum(length for _, length in ranges) != pack.data_bytes:
            raise MalformedManifest(f"pack {pack.blob.sha256}: its ranges are not {pack.data_bytes} bytes")
    if after > disk_bytes:
        raise MalformedManifest(f"a range ends at {after}, the disk at {disk_bytes}")
    return packs


def _range(row: Any) -> Range:
    offset, length = row
    if type(offset) is not int or type(length) is not int or offset < 0 or length <= 0:
        raise ValueError(f"{row!r:.80} is no range")
    if offset % SECTOR_BYTES or length % SECTOR_BYTES:
        raise ValueError(f"{row!r:.80} are not whole sectors")
    return offset, length
