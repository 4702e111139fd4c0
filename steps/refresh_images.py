"""Keep the dongle's signed metadata young, so that the node can be reinstalled should the server go away."""

from __future__ import annotations

from host.http import http_of
from host.server import ServerClient
from images.cache import Cache
from images.trust import ImageTrust
from steps.base import Context, Effect, Observation, Step, holds
from wire.errors import BootError
from wire.nodeconf import NodeConfiguration
from wire.trust import TrustedRoot


class RefreshImages(Step):
    """The dongle has the server's present metadata, if it can have them.

    A node that boots what it has needs no image, so whatever is wrong is told and stops nothing.
    """

    name = "refresh_images"
    title = "Refresh the signed metadata"
    effect = Effect.READS
    needs = (NodeConfiguration, TrustedRoot, Cache)

    def observe(self, context: Context) -> Observation:
        cache, client = context.facts[Cache], context.facts.get(ServerClient)
        configuration = context.facts[NodeConfiguration]
        # A classic server has none.
        if client is None or not cache.stores or configuration.base_image is not None:
            return holds()
        http = http_of(configuration)
        try:
            trust = ImageTrust(context.facts[TrustedRoot], cache, configuration.key)
            trust.refresh(http, client.server_now())
        except BootError as error:
            context.host.events.tell("metadata.refused", code=error.code, detail=error.detail)
        return holds()
