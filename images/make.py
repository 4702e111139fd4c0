"""Makes an image out of tar.zst files: one layer each, cut into blobs.

Deterministic: the same files give the same manifest, and a layer that did not change gives the blobs
that are there already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from host.run import CommandFailed, Runner
from images.manifest import BLOB_BYTES, Blob, Layer, MalformedManifest, Manifest, is_image_name, parse
from images.store import BlobStore
from wire.errors import ConfigurationError

# zstd's own limit for unpacking. More would not fit the memory of the smallest node.
_MEMORY = "--memory=128MiB"
_TOTAL = re.compile(r"Total bytes read: (\d+) ")


class NotAnImage(ConfigurationError):
    """The file given for publishing is not a sound tar.zst."""

    code = "not-an-image"
    title = "The file is not an image"
    hint = "An image is made of tar archives compressed with zstd: tar -c ... | zstd > FILE.tar.zst."


def add_layers(name: str, paths: Sequence[Path], store: BlobStore, run: Runner) -> Manifest:
    """Put every file's blobs, and last the manifest that names them, into the store.

    The manifest's `digest` is what nodes are told. Raises NotAnImage, and then no manifest is stored.
    """
    if not is_image_name(name):
        raise NotAnImage(f"{name!r} cannot be the name of an image: a-z 0-9 . _ - and at most 64 of them")
    unpacked = [unpacked_bytes(path, run) for path in paths]
    layers = tuple(Layer(_cut(path, store), size) for path, size in zip(paths, unpacked, strict=True))
    manifest = Manifest(name, layers)
    raw = manifest.to_bytes()
    try:
        parse(raw)
    except MalformedManifest as error:
        raise NotAnImage(error.detail) from None
    store.put(raw)
    return manifest


def unpacked_bytes(path: Path, run: Runner) -> int:
    """Return the length in bytes of the tar stream, reading all of it. Raises NotAnImage."""
    argv = ["tar", "--list", "--totals", f"--use-compress-program=zstd {_MEMORY}", "--file", str(path)]
    try:
        done = run(argv, timeout=1800)
    except CommandFailed as error:
        raise NotAnImage(f"{path}: {error.stderr.strip()[-300:]}") from None
    found = _TOTAL.search(done.stderr)
    if not found:
        raise NotAnImage(f"{path}: tar did not say how much it read")
    return int(found[1])


def _cut(path: Path, store: BlobStore) -> tuple[Blob, ...]:
    blobs = []
    with path.open("rb") as file:
        while piece := file.read(BLOB_BYTES):
            blobs.append(Blob(store.put(piece), len(piece)))
    return tuple(blobs)
