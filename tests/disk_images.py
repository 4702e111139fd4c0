"""Disks to make images of, and the image's blobs as a node's supply gives them."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from images.manifest import Blob
from images.store import BlobStore

MIB = 1024 * 1024


class FromStore:
    """A supply of blobs that are in a store."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store

    def ahead(self, blobs: Iterable[Blob]) -> Generator[bytes, None, None]:
        for blob in blobs:
            yield self.store.get(blob.sha256)


def sparse(path: Path, size: int, content: Mapping[int, bytes] | None = None) -> Path:
    """A sparse file of `size` bytes with `content` by its offsets."""
    with path.open("wb") as file:
        file.truncate(size)
    return change(path, content or {})


def change(path: Path, content: Mapping[int, bytes]) -> Path:
    """Overwrite parts of a disk."""
    with path.open("r+b") as file:
        for offset, data in content.items():
            file.seek(offset)
            file.write(data)
    return path


def gpt_head(guid: str, sector: int = 512) -> bytes:
    """The first MiB of a disk with a GPT of this GUID, as far as it is looked at."""
    head = bytearray(MIB)
    head[510:512] = b"\x55\xaa"
    head[sector : sector + 8] = b"EFI PART"
    head[sector + 56 : sector + 72] = uuid.UUID(guid).bytes_le
    return bytes(head)


def mbr_head(number: int) -> bytes:
    """The first MiB of a disk with an MBR of this id."""
    head = bytearray(MIB)
    head[440:444] = number.to_bytes(4, "little")
    head[510:512] = b"\x55\xaa"
    return bytes(head)
