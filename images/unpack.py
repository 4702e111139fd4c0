"""From blobs to a tree: fetch and verify in one thread, zstd and tar in two processes, memory bounded.

The programs are GNU tar and zstd. tar runs with the tree for its root (confined.py), strips leading
slashes and refuses members with `..`; what a verified archive may do within the tree is the publisher's
business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from pathlib import Path

from host.http import HttpClient
from host.run import CommandFailed, Runner
from images.cache import Cache
from images.confined import confined
from images.fetch import HttpSource, Source, Supply, Transfer
from images.manifest import Layer, Manifest, SignedImage
from wire.errors import ConfigurationError

# (fraction 0..1 of the compressed bytes, what is being done)
Progress = Callable[[float | None, str], None]

# A dying disk may take minutes over a single write, but not for ever.
LAYER_SECONDS = 4 * 3600.0
# In a process of its own: tar would put a third one between us and it, which copies 10 KiB at a time.
# The memory is zstd's own bound, stated: the smallest node has 512 MiB.
_ZSTD = ("zstd", "--decompress", "--stdout", "--memory=128MiB")
_TAR = (
    "tar",
    "--extract",
    "--file=-",
    "--numeric-owner",
    "--same-owner",
    "--preserve-permissions",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    # A layer that has lib/ over one where lib is a link to usr/lib must not replace the link.
    "--keep-directory-symlink",
    # The clock of a machine with an empty battery is in the past of every file.
    "--warning=no-timestamp",
    "--directory=/",
)
_ENOSPC = "No space left on device"
_MIB = 1024 * 1024


class TargetFull(ConfigurationError):
    """The image does not fit where it is unpacked."""

    code = "target-full"
    title = "The image does not fit"
    hint = "Give the volume more room in the node's configuration, or publish a smaller image."


def silent(_fraction: float | None, _text: str) -> None:
    """Report progress to nobody."""


def install(
    signed: SignedImage,
    target: Path,
    http: HttpClient,
    cache: Cache,
    run: Runner,
    on_progress: Progress = silent,
) -> Transfer:
    """Unpack a signed image into the existing folder `target`.

    Raises what unpack() raises, and MalformedManifest.
    """
    source = HttpSource(http)
    manifest, transfer = load_manifest(signed, source, cache)
    return transfer + unpack(manifest, target, source, cache, run, on_progress)


def load_manifest(signed: SignedImage, source: Source, cache: Cache) -> tuple[Manifest, Transfer]:
    """Return the image's manifest. Raises MalformedManifest, CorruptImage, NotAtServer, ServerUnreachable."""
    with Supply(source, cache) as supply:
        return supply.manifest(signed), supply.transfer


def pins(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the digests that the cache must not evict while these images are brought in."""
    return frozenset(
        digest
        for manifest in manifests
        for digest in (manifest.digest, *(blob.sha256 for blob in manifest.blobs))
    )


def unpack(
    manifest: Manifest,
    target: Path,
    source: Source,
    cache: Cache,
    run: Runner,
    on_progress: Progress = silent,
    keep: Collection[str] = (),
) -> Transfer:
    """Lay the image's layers, in order, into the existing folder `target`; `keep` as pins() gives.

    Nothing is synced. Where it raises, the tree is half made and has to be emptied (see tree.empty).
    Raises TargetFull, CorruptImage, NotAtServer, ServerUnreachable, CommandFailed, CommandTimedOut.
    """
    _check_room(manifest, target)
    keep = pins([manifest]) | frozenset(keep)
    done = 0
    with Supply(source, cache, keep) as supply:
        for layer in manifest.layers:

            def fed(size: int) -> None:
                nonlocal done
                done += size
                on_progress(done / manifest.size, f"{done // _MIB} of {manifest.size // _MIB} MiB")

            _unpack_layer(layer, target, supply, run, fed)
        # Leaving the with block waits for the dongle, so the figures are read after it.
    return supply.transfer


def _unpack_layer(
    layer: Layer, target: Path, supply: Supply, run: Runner, fed: Callable[[int], None]
) -> None:
    try:
        with (
            closing(supply.ahead(layer.blobs)) as contents,
            confined(_TAR, target) as tar_in_target,
            run.feeding(_ZSTD, tar_in_target, timeout=LAYER_SECONDS) as tar,
        ):
            for data in contents:
                tar.write(data)
                fed(len(data))
    except CommandFailed as error:
        if _ENOSPC in error.stderr or _free_bytes(target) < _MIB:
            raise TargetFull(f"no space left in {target}") from None
        raise


def prefetch(
    manifest: Manifest,
    source: Source,
    cache: Cache,
    on_progress: Progress = silent,
    keep: Collection[str] = (),
) -> Transfer:
    """Bring the image's blobs into the cache, for later; ends early where the cache takes no more.

    In the Transfer, bytes that were in the cache already are counted without being read.
    Raises CorruptImage, NotAtServer, ServerUnreachable.
    """
    keep = pins([manifest]) | frozenset(keep)
    done = 0
    with Supply(source, cache, keep) as supply:
        for blob in manifest.blobs:
            if supply.refused:
                break
            supply.bring(blob)
            done += blob.size
            on_progress(done / manifest.size, f"{manifest.name} into the cache")
    return supply.transfer


def _check_room(manifest: Manifest, target: Path) -> None:
    """Refuse before anything is written what cannot fit: a tar stream is seldom larger than its tree."""
    wanted = max(layer.unpacked_bytes for layer in manifest.layers)
    free = _free_bytes(target)
    if wanted > free:
        raise TargetFull(
            f"{manifest.name} needs {wanted // _MIB} MiB in {target}, {free // _MIB} MiB are free"
        )


def _free_bytes(target: Path) -> int:
    room = os.statvfs(target)
    return room.f_bavail * room.f_frsize
