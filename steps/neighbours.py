"""Share images with the neighbours that the server knows of. Without any a node fetches all by itself."""

from __future__ import annotations

from functools import partial

from host.network import NetworkUp
from host.server import ServerClient
from host.texts import _
from images.cache import Cache
from images.neighbours import Neighbours, meeting
from images.shelf import Shelf, room
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.messages import NodeDetails


class ShareImages(Step):
    """This node gives what it has of images, and looks for neighbours, unless that is switched off.

    Begun before disks are made ready: when the first pack is fetched, nodes know of each other.
    """

    name = "neighbours"
    title = "Share images with neighbours"
    effect = Effect.CHANGES
    needs = (NodeDetails, Cache)

    def __init__(self) -> None:
        self._near: Neighbours | None = None
        # Who cannot listen leaves no trace that a second look could find.
        self._is_alone = False

    def observe(self, context: Context) -> Observation:
        if self._near is not None:
            return holds(self._near)
        is_on = context.facts[NodeDetails].neighbours and context.host.options.neighbours == "on"
        if self._is_alone or not is_on or not {NetworkUp, ServerClient} <= set(context.facts.kinds()):
            return holds()
        what = _("packs are given to neighbours and taken from them")
        return lacks(Change(Keeps.CREATE, _("network"), what))

    def run(self, context: Context) -> None:
        details, cache = context.facts[NodeDetails], context.facts[Cache]
        near = Neighbours(
            context.facts[NetworkUp].address,
            Shelf(cache, room()),
            partial(meeting, context.facts[ServerClient]),
            [image.manifest for image in (details.base_image, *details.images)],
            context.host.events,
        )
        if near.start():
            self._near = near
        else:
            self._is_alone = True
