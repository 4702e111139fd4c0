"""What every source of an image gives: members, each an entry and a way to read its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from images.entries import Entry
from wire.errors import ConfigurationError


class NotAnImage(ConfigurationError):
    """What was given for publishing is not sound, or holds what no image may hold."""

    code = "not-an-image"
    title = "An image cannot be made of this"
    hint = "Wanted is a folder, a tar archive, an OCI image or a disk image; the detail says what is wrong."


def _nothing() -> Iterator[bytes]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Member:
    """An entry without its `sha256`, and how to read a file's data from the beginning, without its holes."""

    entry: Entry
    read: Callable[[], Iterator[bytes]] = _nothing


class Source(Protocol):
    """A tree that can be read, whatever it lies in. Used within a with block by one thread."""

    def members(self) -> Iterator[Member]:
        """Yield everything in the tree once, in any order. A hard link's target is a FILE of this tree.

        Raises NotAnImage with the name of the member that is wrong and why, OSError.
        """
