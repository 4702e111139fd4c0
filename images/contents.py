"""Which contents of files a node can have without fetching an image's own packs: from packs of other images.

Nothing here is trusted: what is taken is compared with the hash that the signed image says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from images.entries import Entry
from images.manifest import Pack


@dataclass(frozen=True, slots=True)
class Content:
    """`length` bytes in a pack, and the SHA-256 (hex) of the file that they are: "" if it is not whole."""

    sha256: str
    length: int


@dataclass(frozen=True, slots=True)
class Place:
    """A file's content: from `offset` of a pack's data."""

    pack: Pack
    offset: int


# What an update names is not signed, and shall not fill the memory: some 100 MiB.
MOST_PLACES = 600_000


class Contents:
    """Places of contents by their hash. Of several the first that was added counts; too many are left out."""

    def __init__(self) -> None:
        self._packs: list[Pack] = []
        # Of 300 000 files this is some 50 MiB: raw hashes and plain tuples, nothing larger.
        self._places: dict[bytes, tuple[int, int, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be found."""
        return not self._packs

    def add(self, pack: Pack, contents: Iterable[Content]) -> None:
        """Add a pack, with what is in it, one after another."""
        number, offset = len(self._packs), 0
        self._packs.append(pack)
        for content in contents:
            if content.sha256 and len(self._places) < MOST_PLACES:
                self._places.setdefault(bytes.fromhex(content.sha256), (number, offset, content.length))
            offset += content.length

    def find(self, entry: Entry) -> Place | None:
        """Return where the file's content is, if it is anywhere."""
        found = self._places.get(bytes.fromhex(entry.sha256))
        if found is None or found[2] != entry.size:
            return None
        return Place(self._packs[found[0]], found[1])
