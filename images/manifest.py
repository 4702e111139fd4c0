"""What an image consists of: layers of compressed tar archives, each cut into blobs named by their SHA-256.

The manifest's bytes are canonical JSON (keys sorted, no white space, ASCII), so one manifest has one
digest, and that digest, which stands in signed metadata, vouches for every byte of the image.
docs/images.md describes the format.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from wire.errors import VerificationError
from wire.structure import MalformedMessage, structure, unstructure

FORMAT = 1
BLOB_BYTES = 4 * 1024 * 1024
# A manifest is itself a blob, so this is the bound for both: room for some 40 000 blobs, 160 GiB.
MAXIMUM_MANIFEST_BYTES = BLOB_BYTES
MAXIMUM_LAYERS = 64
MAXIMUM_UNPACKED_BYTES = 2**44
COMPRESSION = "zstd"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class MalformedManifest(VerificationError):
    """The bytes have the right hash but are no manifest of this format."""

    code = "malformed-manifest"
    title = "An image's manifest is malformed"
    hint = "Publish the image again at the server: bootserver image publish NAME FILE."


@dataclass(frozen=True)
class Blob:
    """A piece of a layer: SHA-256 in hex, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class SignedImage:
    """An image that may be unpacked: what people call it, and the hash and length in bytes of its manifest.

    `size` is None where the hash alone is known, because a person pinned it on the key medium.
    """

    name: str
    sha256: str
    size: int | None


@dataclass(frozen=True)
class Layer:
    """One compressed tar archive. `unpacked_bytes` is the length of the tar stream."""

    blobs: tuple[Blob, ...]
    unpacked_bytes: int
    compression: str = COMPRESSION

    @property
    def size(self) -> int:
        """Compressed bytes."""
        return sum(blob.size for blob in self.blobs)


@dataclass(frozen=True)
class Manifest:
    """An image; later layers are laid over earlier ones."""

    name: str
    layers: tuple[Layer, ...]
    format: int = FORMAT

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob in the order of unpacking, one that occurs twice named twice."""
        return tuple(blob for layer in self.layers for blob in layer.blobs)

    @property
    def size(self) -> int:
        """Compressed bytes of all layers."""
        return sum(layer.size for layer in self.layers)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of all tar streams."""
        return sum(layer.unpacked_bytes for layer in self.layers)

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
    try:
        manifest = structure(json.loads(raw), Manifest)
    except MalformedMessage as error:
        raise MalformedManifest(error.detail) from None
    except (ValueError, RecursionError) as error:
        raise MalformedManifest(f"not JSON: {error}") from None
    check(manifest)
    if manifest.to_bytes() != raw:
        raise MalformedManifest(f"{manifest.name}: not in canonical form")
    return manifest


def check(manifest: Manifest) -> None:
    """Raise MalformedManifest where a value is out of bounds."""
    if manifest.format != FORMAT:
        raise MalformedManifest(f"format {manifest.format}, only {FORMAT} is known")
    if not is_image_name(manifest.name):
        raise MalformedManifest(
            f"the name {manifest.name!r}: wanted are a-z 0-9 . _ - and at most 64 of them"
        )
    if not 1 <= len(manifest.layers) <= MAXIMUM_LAYERS:
        raise MalformedManifest(
            f"{manifest.name}: {len(manifest.layers)} layers, 1 to {MAXIMUM_LAYERS} wanted"
        )
    for number, layer in enumerate(manifest.layers, 1):
        _check_layer(layer, f"{manifest.name}, layer {number}")


def _check_layer(layer: Layer, where: str) -> None:
    if layer.compression != COMPRESSION:
        raise MalformedManifest(f"{where}: compression {layer.compression!r}, only {COMPRESSION} is known")
    if not 0 <= layer.unpacked_bytes <= MAXIMUM_UNPACKED_BYTES:
        raise MalformedManifest(f"{where}: {layer.unpacked_bytes} unpacked bytes")
    if not layer.blobs:
        raise MalformedManifest(f"{where}: no blobs")
    for number, blob in enumerate(layer.blobs, 1):
        if not is_digest(blob.sha256):
            raise MalformedManifest(f"{where}, blob {number}: not a SHA-256 in lower-case hex")
        if not 1 <= blob.size <= BLOB_BYTES:
            raise MalformedManifest(f"{where}, blob {number}: {blob.size} bytes, 1 to {BLOB_BYTES} wanted")
