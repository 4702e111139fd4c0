"""Which disks the node uses. A pure function of policy, inventory and media: it never guesses."""

from __future__ import annotations

from dataclasses import dataclass

from host.storage import (
    DiskRole,
    Layout,
    LayoutDisk,
    claim_guid,
    claimed_role,
    system_disk_mib,
)
from hwdetect.content import MIB, DiskState
from hwdetect.inventory import MEDIA_ROLES, Disk, Inventory, describe_disk
from hwdetect.media import Media
from wire.errors import ConfigurationError, UnsupportedHardware
from wire.messages import DiskPolicy, Minimum, VolumeSizes

AUTO, NONE = "auto", "none"
# A smaller data disk is not worth a place in the volume group.
_DATA_MIB = 64


class DiskNotFound(UnsupportedHardware):
    """The configuration names a disk that is not there."""

    code = "disk-not-found"
    title = "A disk that the configuration names is not in this machine"
    hint = "Correct the serial number or WWN at the server, or look for a loose cable."


class DiskRefused(UnsupportedHardware):
    """The configuration names a disk that must not be written."""

    code = "disk-refused"
    title = "The configuration names a disk that must not be written"
    hint = "Name another disk at the server, or take the medium out."


class DisksAmbiguous(UnsupportedHardware):
    """Several disks match the layout equally."""

    code = "disks-ambiguous"
    title = "Several disks could be the system disk"
    hint = "Name the system disk by its serial number or WWN at the server."


class NoDisk(UnsupportedHardware):
    """There is no disk to install to."""

    code = "no-disk"
    title = "No disk to install to"
    hint = "Put in a disk, or name one at the server by its serial number or WWN."


class DiskTooSmall(UnsupportedHardware):
    """The disk is smaller than what the node needs."""

    code = "disk-too-small"
    title = "The disk is too small"
    hint = "Put in a larger disk, or make the node's volumes smaller at the server."


class BadVolumeSizes(ConfigurationError):
    """The configuration has volumes of no or of negative size."""

    code = "bad-volume-sizes"
    title = "The node's volumes have impossible sizes"
    hint = "Set boot_mib, swap_mib and root_mib at the server: bootserver node set NAME root_mib=3072."


class DiskHoldsData(UnsupportedHardware):
    """The only disks there are hold data that is not ours."""

    code = "disk-holds-data"
    title = "The disk holds data that is not ours"
    hint = "To give up that data, name the disk at the server by its serial number or WWN, or wipe it."


class DiskNameless(UnsupportedHardware):
    """A disk that is to hold the image of another system could not be told from others later."""

    code = "disk-nameless"
    title = "The disk has neither serial number nor WWN"
    hint = "Use a disk that has one: by that a node knows later which disk it wrote."


@dataclass(frozen=True)
class Refused:
    """A disk that is not used, with the reason."""

    disk: Disk
    reason: str

    def __str__(self) -> str:
        return f"{describe_disk(self.disk)} -- {self.reason}"


@dataclass(frozen=True)
class Choice:
    """The layout, and the disks that are in the machine but not in it."""

    layout: Layout
    refused: tuple[Refused, ...]


def choose(
    policy: DiskPolicy,
    sizes: VolumeSizes,
    minimum: Minimum,
    inventory: Inventory,
    media: Media,
    run_id: str,
) -> Choice:
    """Decide which disks the node uses, and how.

    Raises BadVolumeSizes, DiskNotFound, DiskRefused, DisksAmbiguous, NoDisk, DiskTooSmall, DiskHoldsData.
    """
    if min(sizes.boot_mib, sizes.swap_mib, sizes.root_mib) < 1:
        raise BadVolumeSizes(f"boot {sizes.boot_mib}, swap {sizes.swap_mib}, root {sizes.root_mib} MiB")
    needed = max(minimum.disk_mib, system_disk_mib(sizes.boot_mib, sizes.swap_mib, sizes.root_mib))
    chooser = _Chooser(inventory, media, needed)
    named = [] if policy.data in (AUTO, NONE) else [name.strip() for name in policy.data.split(",")]
    data = [chooser.named(name, _DATA_MIB) for name in named if name]
    system = chooser.named(policy.system, needed) if policy.system else chooser.only_system(data)
    if system in data:
        raise DiskRefused(f"{describe_disk(system)} is named both as system disk and as data disk")
    refused = []
    for disk in inventory.disks:
        if disk in (system, *data):
            continue
        reason = chooser.why_not(disk, _DATA_MIB)
        if not reason and policy.data == AUTO:
            data.append(disk)
        else:
            refused.append(Refused(disk, reason or "the configuration does not ask for it"))
    layout = Layout(
        run_id=run_id,
        system=_layout_disk(system, DiskRole.SYSTEM, run_id),
        data=tuple(_layout_disk(disk, DiskRole.DATA, run_id) for disk in data),
        boot_mib=sizes.boot_mib,
        swap_mib=sizes.swap_mib,
        root_mib=sizes.root_mib,
    )
    return Choice(layout, tuple(refused))


def named_disk(name: str, needed_mib: int, inventory: Inventory, media: Media) -> Disk:
    """Return the disk of that serial number or WWN, whatever is on it, if it may be written.

    Raises DiskNotFound, DisksAmbiguous, DiskRefused, DiskTooSmall.
    """
    return _Chooser(inventory, media, needed_mib).named(name, needed_mib)


def image_disk(named: str, policy: DiskPolicy, needed_mib: int, inventory: Inventory, media: Media) -> Disk:
    """Return the disk that the image of another system goes onto: the one named, else the system disk.

    Raises DiskNotFound, DisksAmbiguous, DiskRefused, DiskTooSmall, NoDisk, DiskHoldsData, DiskNameless.
    """
    chooser = _Chooser(inventory, media, needed_mib)
    name = named or policy.system
    if name:
        disk = chooser.named(name, needed_mib)
    else:
        data = {part.strip().casefold() for part in policy.data.split(",")}
        disk = chooser.only_system([each for each in inventory.disks if _names(each) & data])
    if not disk.serial and not disk.wwn:
        raise DiskNameless(describe_disk(disk))
    return disk


def disk_to_replace(name: str, inventory: Inventory) -> Disk | None:
    """Return the disk of an installed node, in use, that an image shall go onto; "" names its system disk.

    None where there is no such disk, or it is a medium or write-protected.
    """
    for disk in inventory.disks:
        meant = name.casefold() in _names(disk) if name else claimed_role(disk.table_guid) is DiskRole.SYSTEM
        if meant and not disk.read_only and not any(role in MEDIA_ROLES for role in disk.roles):
            return disk
    return None


def needs_confirmation(layout: Layout, inventory: Inventory) -> tuple[Disk, ...]:
    """Return the disks that would be written though they hold something which this run did not make."""
    ours = {disk.path for disk in layout.disks if disk.claimed_by_this_run}
    used = {disk.path for disk in layout.disks} - ours
    return tuple(d for d in inventory.disks if d.path in used and d.state is not DiskState.BLANK)


class _Chooser:
    def __init__(self, inventory: Inventory, media: Media, needed_mib: int) -> None:
        self._disks = inventory.disks
        self._media = media
        self._needed = needed_mib

    def named(self, name: str, needed_mib: int) -> Disk:
        """Return the disk of that serial number or WWN, whatever is on it."""
        wanted = name.casefold()
        found = [d for d in self._disks if wanted in _names(d)]
        if not found:
            raise DiskNotFound(f"{name}; there are: {_listed(self._disks) or 'no disks'}")
        if len(found) > 1:
            raise DisksAmbiguous(f"{name} is the name of {len(found)} disks: {_listed(found)}")
        reason = self._never(found[0])
        if reason:
            raise DiskRefused(f"{describe_disk(found[0])} -- {reason}")
        if found[0].size_bytes < needed_mib * MIB:
            raise DiskTooSmall(f"{describe_disk(found[0])} -- {needed_mib} MiB are needed")
        return found[0]

    def only_system(self, taken: list[Disk]) -> Disk:
        """Return the only disk that can be the system disk; the one that was it before comes first."""
        refused = [(disk, self.why_not(disk, self._needed)) for disk in self._disks if disk not in taken]
        fit = [disk for disk, reason in refused if not reason]
        before = [disk for disk in fit if claimed_role(disk.table_guid) is DiskRole.SYSTEM]
        fit = before or fit
        if len(fit) == 1:
            return fit[0]
        if fit:
            raise DisksAmbiguous(_listed(fit))
        reasons = "; ".join(f"{describe_disk(disk)} -- {reason}" for disk, reason in refused)
        if any(disk.state is DiskState.FOREIGN and not self._unasked(disk) for disk, _ in refused):
            raise DiskHoldsData(reasons)
        if any(disk.size_bytes < self._needed * MIB and not self._unasked(disk) for disk, _ in refused):
            raise DiskTooSmall(reasons)
        raise NoDisk(reasons or "the machine has no disk at all")

    def why_not(self, disk: Disk, needed_mib: int) -> str:
        """Say why a disk that nobody named is not used, "" when it is."""
        reason = self._unasked(disk)
        if reason:
            return reason
        if disk.state is DiskState.FOREIGN:
            return "it holds data that is not ours"
        if disk.size_bytes < needed_mib * MIB:
            return f"it is too small, {needed_mib} MiB are needed"
        return ""

    def _unasked(self, disk: Disk) -> str:
        reason = self._never(disk)
        if not reason and (disk.bus == "usb" or disk.removable):
            return "it is on USB or removable, and the configuration does not name it"
        return reason

    def _never(self, disk: Disk) -> str:
        """Say why a disk is not used even when it is named."""
        role = self._media.role(disk.path) or ", ".join(disk.roles)
        if role:
            return f"it is the {role}" if " at " not in role else f"it is {role}"
        if disk.read_only:
            return "it is write-protected"
        others = [other.path for other in self._disks if disk.wwn == other.wwn != "" and other != disk]
        if others:
            # Written by one path, it would be found changed by the others.
            return f"it is one of several paths to a disk, with {', '.join(others)}"
        return "it cannot be read" if disk.state is DiskState.UNREADABLE else ""


def _names(disk: Disk) -> set[str]:
    """Return what a configuration may call a disk: serial number, or WWN as udev or as a label has it."""
    wwn = disk.wwn.casefold()
    return {disk.serial.casefold(), wwn, wwn.removeprefix("0x")} - {""}


def _listed(disks: tuple[Disk, ...] | list[Disk]) -> str:
    return "; ".join(describe_disk(disk) for disk in disks)


def _layout_disk(disk: Disk, role: DiskRole, run_id: str) -> LayoutDisk:
    claim = claim_guid(run_id, role, disk.serial or disk.wwn or disk.path)
    return LayoutDisk(disk.path, disk.serial, disk.size_bytes, claim, disk.table_guid)
