"""Detect the hardware and the media."""

from __future__ import annotations

from host.disks import settle
from host.storage import CLAIM_MAGIC
from host.texts import _
from hwdetect.inventory import Inventory, inventory_of
from hwdetect.media import Media, survey
from hwdetect.recording import Recording, record
from steps.base import Context, Effect, Observation, Step, holds

MEDIA_SECONDS = 20.0


class DetectHardware(Step):
    """It is known what the machine has: disks, network interfaces, modules, media."""

    name = "detect_hardware"
    title = "Detect hardware"
    effect = Effect.READS
    gives = (Recording, Inventory, Media)

    def observe(self, context: Context) -> Observation:
        host = context.host
        # udev loads the modules of what it finds; until it is idle, disks may be missing.
        settle(host.run)
        what = _("USB storage to be found, and a medium with the node's configuration")
        host.events.tell("wait.started", **{"for": what, "seconds": MEDIA_SECONDS})
        media = survey(host.run, seconds=MEDIA_SECONDS)
        recording = record(host.run)
        inventory = inventory_of(recording)
        host.storage.activate(
            tuple(disk.path for disk in inventory.disks if disk.table_guid.startswith(CLAIM_MAGIC))
        )
        dongle = media.dongle.device if media.dongle is not None else ""
        keys = [f"{found.filename} on {found.device}" for found in media.candidates]
        if inventory.lacking:
            host.events.tell("hardware.lacking", devices=[str(one) for one in inventory.lacking])
        host.events.tell("media.found", boot_medium=list(media.boot), keys=keys, dongle=dongle)
        return holds(recording, inventory, media)
