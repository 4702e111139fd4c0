"""OCI images as sources: a layout in a folder or an archive, and what `docker save` wrote before it had one.

The formats: https://github.com/opencontainers/image-spec, image-layout.md, manifest.md, layer.md; of docker
https://github.com/moby/docker-image-spec. Every blob is verified while it is decompressed, so that what is
read later from the temporary files is what was verified. Layers that lie elsewhere are not fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from images.entries import Kind
from images.sources.archive import TarSource
from images.sources.base import Member, NotAnImage
from images.sources.compression import (
    LIMIT_BYTES,
    Compression,
    compression_of,
    decompress,
    read_pieces,
    spool,
)
from images.sources.layers import LayeredSource

# Those of images are some KiB long.
_MAXIMUM_JSON_BYTES = 4 * 1024 * 1024
# Indexes lead to indexes where one image is there for several platforms.
_MAXIMUM_DEPTH = 4
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CONFIG = re.compile(r"(?:.*[/:])?([0-9a-f]{64})(?:\.json)?")
_PLATFORM = "linux/amd64"
_UNKNOWN_PLATFORM = "unknown/unknown"
_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
_LAYERS = {
    f"{_OCI}.layer.v1.tar": Compression.NONE,
    f"{_OCI}.layer.v1.tar+gzip": Compression.GZIP,
    f"{_OCI}.layer.v1.tar+zstd": Compression.ZSTD,
    f"{_DOCKER}.image.rootfs.diff.tar": Compression.NONE,
    f"{_DOCKER}.image.rootfs.diff.tar.gzip": Compression.GZIP,
    f"{_DOCKER}.image.rootfs.diff.tar.zstd": Compression.ZSTD,
}


class Files(Protocol):
    """Where an image's files are read from, by paths relative to it."""

    def read(self, path: str) -> Iterator[bytes] | None:
        """Return the content of a file, None where there is none. Raises NotAnImage, OSError."""


class FolderFiles:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> Iterator[bytes] | None:  # noqa: D102
        full = self._folder / path
        return self._pieces(full) if full.is_file() else None

    def _pieces(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from read_pieces(file)


class ArchiveFiles:
    """The files of an archive; the archive stays open for as long as they are used."""

    def __init__(self, archive: TarSource) -> None:
        self._archive = archive

    def read(self, path: str) -> Iterator[bytes] | None:  # noqa: D102
        try:
            member = self._archive.find(path)
        except ValueError:
            return None
        if member is None or member.entry.kind is not Kind.FILE or member.entry.holes:
            return None
        return member.read()


class OciSource:
    """An image's tree, to be used as a context manager. `where` is for messages.

    Its layers are refused if they have more than `limit_bytes` decompressed, all together.
    Raises NotAnImage, OSError.
    """

    def __init__(self, files: Files, where: object, *, limit_bytes: int = LIMIT_BYTES) -> None:
        reader = _Reader(files, where)
        with ExitStack() as stack:
            layers = []
            for number, pieces in enumerate(reader.layers(), 1):
                file = stack.enter_context(spool(pieces, where, limit_bytes))
                limit_bytes -= os.fstat(file.fileno()).st_size
                layers.append(TarSource(file, f"{where}, layer {number}"))
            self._stack = stack.pop_all()
        self._layers = LayeredSource(layers, whiteouts=True)

    def members(self) -> Iterator[Member]:
        """Yield the tree of the layers over one another. Raises NotAnImage, OSError."""
        return self._layers.members()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def is_oci(files: Files) -> bool:
    """Say whether these are the files of an image. Raises NotAnImage, OSError."""
    return _is_layout(files) or (files.read("manifest.json") is not None and _is_docker(files))


def _is_layout(files: Files) -> bool:
    return files.read("oci-layout") is not None and files.read("index.json") is not None


def _is_docker(files: Files) -> bool:
    try:
        found = _json(files.read("manifest.json"), "manifest.json")
    except NotAnImage:
        return False
    items = found if isinstance(found, list) else []
    return bool(items) and all(isinstance(item, dict) and "Layers" in item for item in items)


@dataclass(frozen=True)
class _Descriptor:
    media_type: str
    digest: str
    size: int
    platform: str

    def __str__(self) -> str:
        return f"{self.platform or 'no platform'}, sha256:{self.digest}"


class _Reader:
    """Finds the layers among an image's files."""

    def __init__(self, files: Files, where: object) -> None:
        self._files = files
        self._where = where
        self._indexes: set[str] = set()

    def layers(self) -> Iterator[Iterator[bytes]]:
        """Yield each layer's plain tar archive in pieces, bottom first."""
        return self._oci_layers() if _is_layout(self._files) else self._docker_layers()

    def _oci_layers(self) -> Iterator[Iterator[bytes]]:
        version = self._get(_json(self._files.read("oci-layout"), self._where), "imageLayoutVersion", str)
        if version != "1.0.0":
            raise self._refusal(f"an OCI layout of version {version[:40]!r}")
        index = _json(self._files.read("index.json"), f"{self._where}: index.json")
        manifest = self._parse(self._only_one(list(self._images(index))))
        for value in self._get(manifest, "layers", list):
            layer = self._descriptor(value)
            if layer.media_type not in _LAYERS:
                raise self._refusal(f"a layer of the media type {layer.media_type[:100]!r}")
            compression = _LAYERS[layer.media_type]
            yield decompress(self._blob(layer), compression, f"{self._where}: sha256:{layer.digest}")

    def _images(self, index: object, depth: int = 1) -> Iterator[_Descriptor]:
        for value in self._get(index, "manifests", list):
            found = self._descriptor(value)
            if found.media_type in _MANIFESTS:
                yield found
            elif found.media_type not in _INDEXES:
                raise self._refusal(f"a manifest of the media type {found.media_type[:100]!r}")
            elif depth == _MAXIMUM_DEPTH:
                raise self._refusal("an index in an index in an index")
            elif found.digest not in self._indexes:
                # One that is named a thousand times over is read once.
                self._indexes.add(found.digest)
                yield from self._images(self._parse(found), depth + 1)

    def _only_one(self, found: list[_Descriptor]) -> _Descriptor:
        # Beside images there are statements about them, which builders give this platform.
        images = [image for image in found if image.platform != _UNKNOWN_PLATFORM]
        if len(images) > 1:
            images = [image for image in images if image.platform == _PLATFORM]
        if len(images) != 1:
            names = "; ".join(map(str, found)) or "none"
            raise self._refusal(f"one image, or one for {_PLATFORM}, is wanted; there are: {names}")
        return images[0]

    def _descriptor(self, value: object) -> _Descriptor:
        digest = _DIGEST.fullmatch(self._get(value, "digest", str))
        size = self._get(value, "size", int)
        if digest is None or size < 0:
            raise self._refusal(f"a blob without a SHA-256 or a size: {value!r:.200}")
        platform = self._get(value, "platform", dict, {})
        words = [str(platform.get(name)) for name in ("os", "architecture")]
        media_type = self._get(value, "mediaType", str)
        return _Descriptor(media_type, digest[1], size, "/".join(words) if platform else "")

    def _parse(self, descriptor: _Descriptor) -> object:
        if descriptor.size > _MAXIMUM_JSON_BYTES:
            raise self._refusal(f"sha256:{descriptor.digest} has {descriptor.size} bytes")
        return _json(self._blob(descriptor), f"{self._where}: sha256:{descriptor.digest}")

    def _blob(self, descriptor: _Descriptor) -> Iterator[bytes]:
        pieces = self._files.read(f"blobs/sha256/{descriptor.digest}")
        if pieces is None:
            raise self._refusal(f"the blob sha256:{descriptor.digest} is missing")
        return self._verified(pieces, descriptor.digest, descriptor.size)

    def _verified(self, pieces: Iterable[bytes], digest: str, size: int | None = None) -> Iterator[bytes]:
        """Yield the pieces. Raises NotAnImage after the last if they are not what they should be."""
        hashed, length = hashlib.sha256(), 0
        for piece in pieces:
            hashed.update(piece)
            length += len(piece)
            yield piece
        if size not in (None, length):
            raise self._refusal(f"sha256:{digest} should have {size} bytes and has another number")
        if hashed.hexdigest() != digest:
            raise self._refusal(f"sha256:{digest} has other content than its name says")

    def _docker_layers(self) -> Iterator[Iterator[bytes]]:
        images = _json(self._files.read("manifest.json"), f"{self._where}: manifest.json")
        if not isinstance(images, list) or len(images) != 1:
            raise self._refusal("one image is wanted; save it alone: docker save NAME:TAG")
        name = self._get(images[0], "Config", str)
        digest, pieces = _CONFIG.fullmatch(name), self._read(name)
        if digest is None:
            raise self._refusal(f"the configuration {name[:100]!r} has no SHA-256 in its name")
        config = _json(self._verified(pieces, digest[1]), f"{self._where}: {name}")
        expected = self._get(self._get(config, "rootfs", dict), "diff_ids", list)
        paths = self._get(images[0], "Layers", list)
        if len(paths) != len(expected):
            raise self._refusal(f"{len(paths)} layers, where the configuration has {len(expected)}")
        for path, text in zip(paths, expected, strict=True):
            match = _DIGEST.fullmatch(str(text))
            if match is None:
                raise self._refusal(f"a layer without a SHA-256: {text!r:.100}")
            head = next(self._read(str(path)), b"")
            plain = decompress(self._read(str(path)), compression_of(head), f"{self._where}: {path}")
            yield self._verified(plain, match[1])

    def _read(self, path: str) -> Iterator[bytes]:
        pieces = self._files.read(path)
        if pieces is None:
            raise self._refusal(f"the file {path[:100]!r} is missing")
        return pieces

    def _get(self, value: object, name: str, kind: type, default: object = None) -> Any:
        found = value.get(name, default) if isinstance(value, dict) else None
        if type(found) is not kind:
            raise self._refusal(f"no {name!r} of the type {kind.__name__} in {value!r:.200}")
        return found

    def _refusal(self, reason: str) -> NotAnImage:
        return NotAnImage(f"{self._where}: {reason}")


def _json(pieces: Iterator[bytes] | None, name: object) -> object:
    data = b""
    for piece in pieces or ():
        data += piece
        if len(data) > _MAXIMUM_JSON_BYTES:
            raise NotAnImage(f"{name}: more than {_MAXIMUM_JSON_BYTES} bytes of JSON")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotAnImage(f"{name}: no JSON: {error}") from None
