"""Learn which images are signed, before anything on a disk is given up for one of them."""

from __future__ import annotations

from dataclasses import replace

from host.http import http_of
from host.mark import NotInstalled, read_mark
from host.server import ServerClient
from images.cache import Cache
from images.manifest import SignedImage
from images.trust import ImageTrust, SignedImages
from steps.base import Context, Effect, Observation, Step, holds
from wire.errors import CommandError
from wire.messages import ImageRef, NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.trust import TrustedRoot


class VerifyImages(Step):
    """The images to be installed are known by signed metadata.

    With the server, they must be those that it told of. Without, the metadata that the dongle keeps say
    what may be installed; their age is bounded by the deployment. A classic server signs nothing: there the
    key medium pins the base image by its hash.
    """

    name = "verify_images"
    title = "Verify which images are signed"
    effect = Effect.READS
    needs = (NodeConfiguration, TrustedRoot, NodeDetails, Cache)
    gives = (SignedImages, NodeDetails)

    def observe(self, context: Context) -> Observation:
        configuration = context.facts[NodeConfiguration]
        details = context.facts[NodeDetails]
        if configuration.base_image is not None:
            pinned = SignedImage(configuration.base_image.name, configuration.base_image.manifest, None)
            return holds(SignedImages({pinned.name: pinned}), details)
        trust = ImageTrust(context.facts[TrustedRoot], context.facts[Cache], configuration.key)
        client = context.facts.get(ServerClient)
        if client is None:
            signed = trust.recall(at_least=_installed_at(context, configuration.node_id))
            return holds(signed, _as_signed(details, signed))
        http = http_of(configuration)
        signed = trust.refresh(http, client.server_now())
        signed.vouch(details.base_image)
        return holds(signed, details)


def _installed_at(context: Context, node_id: int) -> int:
    """Return the newest authenticated time that the disk knows of, and so nobody with the dongle in hand."""
    try:
        mark = read_mark(context.host.run)
    except (NotInstalled, CommandError):
        return 0
    return mark.newest if mark.node_id == node_id else 0


def _as_signed(details: NodeDetails, signed: SignedImages) -> NodeDetails:
    """Return the configuration with the manifests that the cache was filled by, which may be older."""

    def ref(name: str) -> ImageRef:
        return ImageRef(name, signed.named(name).sha256)

    later = tuple(ref(image.name) for image in details.images if image.name in signed.images)
    return replace(details, base_image=ref(details.base_image.name), images=later)
