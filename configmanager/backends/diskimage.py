"""Another system in place of this one: a whole disk image, which bootmanager writes at the next boot."""

from __future__ import annotations

from typing import ClassVar

from configmanager.backends.base import Action, Backend, Item, Reboot, Verb
from hwdetect.content import MIB
from hwdetect.disks import DiskNotFound, DiskTooSmall, candidates, is_named, system_disk
from hwdetect.inventory import Disk, describe_disk, detect
from wire.slivers import NodeSlivers


class DiskImage(Backend):
    """The node's disks, as they are; the difference to an image of one of them is a reboot.

    Nothing is written here. The image is brought into the dongle, so that the boot that writes it needs no
    network, and the disk is looked at, so that what cannot be done costs no reboot. bootmanager proves the
    disk once more before it writes.
    """

    name: ClassVar[str] = "diskimage"
    claims: ClassVar[frozenset[str]] = frozenset({"disks"})

    def observe(self) -> tuple[Item, ...]:
        """Return the disks that could be meant, each with what is on it; the system disk is what runs."""
        inventory = detect(self.node.run)
        system = system_disk(inventory)
        return tuple(
            Item(disk.serial or disk.wwn, describe_disk(disk), disk == system)
            for disk in candidates(inventory)
        )

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        order = desired.disk_image
        if not order.id:
            return ()
        meant = [item for item in observed if (item.name == order.disk if order.disk else item.running)]
        what = meant[0].digest if meant else order.disk or "the system disk"
        reason = f"is wanted: the next boot writes it over this disk and DESTROYS what it holds: {what}"
        return (Action(Verb.CREATE, order.image.name, reason),)

    def apply(self, desired: NodeSlivers, action: Action) -> Reboot:
        order = desired.disk_image
        disk = self._disk(order.disk)
        size = self.node.bring(order.image)
        if size > disk.size_bytes:
            raise DiskTooSmall(f"{describe_disk(disk)} -- {-(-size // MIB)} MiB are needed")
        return Reboot(f"{action.name} is written over {describe_disk(disk)}")

    def teardown(self, name: str) -> None:
        """Do nothing: what a disk holds is taken away by whoever writes something else onto it."""

    def _disk(self, name: str) -> Disk:
        inventory = detect(self.node.run)
        if not name:
            found = system_disk(inventory)
        else:
            found = next((disk for disk in candidates(inventory) if is_named(disk, name)), None)
        if found is None:
            there = "; ".join(map(describe_disk, inventory.disks))
            raise DiskNotFound(
                f"{name or 'a disk that this node claimed for its system'}; there are: {there}"
            )
        return found
