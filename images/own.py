"""A node's own images, which the dongle shall not lose for anything else."""

from __future__ import annotations

from collections.abc import Iterator

from images.cache import Cache
from images.manifest import Manifest
from images.source import Source
from images.trust import SignedImages
from images.unpack import load_manifest
from wire.errors import BootError
from wire.messages import NodeDetails


def own_manifests(
    details: NodeDetails, signed: SignedImages, source: Source, cache: Cache
) -> Iterator[Manifest]:
    """Yield the manifests of what the node is installed from, as far as they can be had."""
    for ref in (details.base_image, *details.images) if cache.stores else ():
        try:
            yield load_manifest(signed.vouch(ref), source, cache)[0]
        except BootError:
            # Then the node could not be installed from it either.
            continue
