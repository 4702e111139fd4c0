"""Choose the disks that the node uses."""

from __future__ import annotations

from host.storage import Layout
from hwdetect.disks import choose
from hwdetect.inventory import Inventory
from hwdetect.media import Media
from hwdetect.written import recognised
from images.cache import Cache
from images.disk_record import DiskRecords
from steps.base import Context, Effect, Observation, Step, holds
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration


class ChooseDisks(Step):
    """It is known which disks are used, and how; nothing was written.

    A disk that this node gave to another system is its own again.
    """

    name = "choose_disks"
    title = "Choose the disks"
    effect = Effect.READS
    needs = (Inventory, Media, NodeDetails, NodeConfiguration, Cache)
    gives = (Layout,)

    def observe(self, context: Context) -> Observation:
        facts, details = context.facts, context.facts[NodeDetails]
        choice = choose(
            details.disks,
            details.volumes,
            details.minimum,
            recognised(facts[Inventory], DiskRecords(facts, context.host.events).known()),
            facts[Media],
            details.run_id,
        )
        for refused in choice.refused:
            disk = refused.disk
            context.host.events.tell(
                "disk.refused", path=disk.path, serial=disk.serial, reason=refused.reason
            )
        return holds(choice.layout)
