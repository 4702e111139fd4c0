"""What an image consists of: an index in pieces, and packs of compressed data, each named by its SHA-256.

The manifest's bytes are canonical JSON (keys sorted, no white space, ASCII), so one manifest has one
digest, and that digest, which stands in signed metadata, vouches for every byte of the image.
docs/images.md describes the format; index.py what the pieces of the index say.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum

from wire.errors import VerificationError
from wire.structure import MalformedMessage, structure_json, unstructure

FORMAT = 2
# What a node holds in memory of one blob, compressed, and of a pack or a piece of the index, unpacked.
MAXIMUM_BLOB_BYTES = 16 * 1024 * 1024
MAXIMUM_UNPACKED_BYTES = 16 * 1024 * 1024
# A manifest is itself a blob: room for some 100 000 packs.
MAXIMUM_MANIFEST_BYTES = MAXIMUM_BLOB_BYTES
MAXIMUM_IMAGE_BYTES = 2**46
# Of JSON arrays and objects in one document: read, the smallest of them take 25 times their room.
MAXIMUM_VALUES = 500_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class MalformedManifest(VerificationError):
    """The bytes have the right hash but are no manifest of this format."""

    code = "malformed-manifest"
    title = "An image's manifest is malformed"
    hint = "Publish the image again at the server: bootserver image publish NAME PATH."


class ImageKind(StrEnum):
    """What an image is: a tree of files, a whole disk, or what one tree has more than another (update.py)."""

    TREE = "tree"
    DISK = "disk"
    UPDATE = "update"


@dataclass(frozen=True)
class Blob:
    """A thing that is stored and fetched whole: SHA-256 in hex, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class SignedImage:
    """An image that may be unpacked: what people call it, and the hash and length in bytes of its manifest.

    `size` is None where the hash alone is known, because a person pinned it on the key medium. `made` is
    when a boot medium was made, in Unix seconds, 0 for other images.
    """

    name: str
    sha256: str
    size: int | None
    made: int = 0


@dataclass(frozen=True)
class Pack:
    """The data of several files one after another, or of several ranges of a disk: a zstd frame.

    `data_bytes` is its length unpacked.
    """

    blob: Blob
    data_bytes: int


@dataclass(frozen=True)
class Piece:
    """A piece of the index, a zstd frame of `index_bytes` unpacked, and the packs that it says the use of."""

    blob: Blob
    index_bytes: int
    packs: tuple[Pack, ...]


@dataclass(frozen=True)
class Manifest:
    """An image. `disk_bytes` is the size of the disk that was imaged, 0 for a tree."""

    name: str
    kind: ImageKind
    pieces: tuple[Piece, ...]
    disk_bytes: int = 0
    format: int = FORMAT

    @property
    def packs(self) -> tuple[Pack, ...]:
        """Every pack, in the order of the index."""
        return tuple(pack for piece in self.pieces for pack in piece.packs)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All to fetch besides the manifest, in the order of use; what is used twice comes twice."""
        return tuple(
            blob for piece in self.pieces for blob in (piece.blob, *(pack.blob for pack in piece.packs))
        )

    @property
    def size(self) -> int:
        """Bytes to fetch besides the manifest."""
        return sum(blob.size for blob in self.blobs)

    @property
    def data_bytes(self) -> int:
        """Bytes that are written, without metadata and holes."""
        return sum(pack.data_bytes for pack in self.packs)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return json.dumps(
            unstructure(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        ).encode()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical bytes: the name of the manifest as a blob."""
        return sha256(self.to_bytes())


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Say whether the text is a SHA-256 in lower-case hex, and so safe as a file name."""
    return _DIGEST.fullmatch(text) is not None


def is_image_name(text: str) -> bool:
    """Say whether the text may name an image."""
    return _NAME.fullmatch(text) is not None


def parse(raw: bytes) -> Manifest:
    """Read a manifest. Raises MalformedManifest unless it is exactly what to_bytes would write."""
    if len(raw) > MAXIMUM_MANIFEST_BYTES:
        raise MalformedManifest(f"{len(raw)} bytes, {MAXIMUM_MANIFEST_BYTES} allowed")
    check_values(raw, "a manifest")
    try:
        manifest = structure_json(raw, Manifest)
    except MalformedMessage as error:
        raise MalformedManifest(error.detail) from None
    check(manifest)
    if manifest.to_bytes() != raw:
        raise MalformedManifest(f"{manifest.name}: not in canonical form")
    return manifest


def check_values(raw: bytes, what: str, most: int = MAXIMUM_VALUES) -> None:
    """Raise MalformedManifest for JSON that would fill the memory when it is read."""
    if raw.count(b"[") + raw.count(b"{") > most:
        raise MalformedManifest(f"{what} has more than {most} arrays and objects")


def check(manifest: Manifest) -> None:
    """Raise MalformedManifest where a value is out of bounds."""
    name = manifest.name
    if manifest.format != FORMAT:
        raise MalformedManifest(f"format {manifest.format}, only {FORMAT} is known")
    if not is_image_name(name):
        raise MalformedManifest(f"the name {name!r}: wanted are a-z 0-9 . _ - and at most 64 of them")
    if not manifest.pieces:
        raise MalformedManifest(f"{name}: no index")
    if (manifest.disk_bytes > 0) != (manifest.kind is ImageKind.DISK):
        raise MalformedManifest(f"{name}: a {manifest.kind} of {manifest.disk_bytes} disk bytes")
    for number, piece in enumerate(manifest.pieces, 1):
        where = f"{name}, piece {number}"
        _check_blob(piece.blob, piece.index_bytes, where)
        for at, pack in enumerate(piece.packs, 1):
            _check_blob(pack.blob, pack.data_bytes, f"{where}, pack {at}")
    if max(manifest.data_bytes, manifest.disk_bytes) > MAXIMUM_IMAGE_BYTES:
        raise MalformedManifest(f"{name}: more than {MAXIMUM_IMAGE_BYTES} bytes")


def _check_blob(blob: Blob, unpacked: int, where: str) -> None:
    if not is_digest(blob.sha256):
        raise MalformedManifest(f"{where}: not a SHA-256 in lower-case hex")
    if not 1 <= blob.size <= MAXIMUM_BLOB_BYTES:
        raise MalformedManifest(f"{where}: {blob.size} bytes, 1 to {MAXIMUM_BLOB_BYTES} wanted")
    if not 1 <= unpacked <= MAXIMUM_UNPACKED_BYTES:
        raise MalformedManifest(f"{where}: {unpacked} bytes unpacked, 1 to {MAXIMUM_UNPACKED_BYTES} wanted")
