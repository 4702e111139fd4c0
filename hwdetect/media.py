"""Media that are read, not installed to: the boot medium, the key medium, the cache dongle.

Whatever is looked into is mounted read-only, and not even a file system's journal is replayed. Works on
the boot medium and on the installed node alike.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from host.mounts import Mount, mount_table, mounted
from host.run import Runner
from host.storage import CLAIM_MAGIC
from hwdetect import udev
from hwdetect.dongle import READING, Dongle
from hwdetect.inventory import BOOT_LABEL, CACHE_LABEL, KEY_LABEL
from hwdetect.marked_stick import UNFINISHED, is_marked, may_become_dongle
from hwdetect.udev import Device
from wire.errors import CommandError
from wire.medium import FILE, Medium, medium_of
from wire.nodeconf import FILE_NAMES, MAXIMUM_BYTES
from wire.structure import MalformedMessage
from wire.trust import LAYERS_FILE, MAXIMUM_ROOT_BYTES, METADATA_FILE, ROOT_FILE

log = logging.getLogger(__name__)

# Where live-boot mounts the medium it started from.
LIVE_MEDIUM = Path("/run/live/medium")
_SMALL_BYTES = 1024**3
_LAYERS_BYTES = 64 * 1024
_METADATA_BYTES = 4 * 1024 * 1024
_MEDIUM_BYTES = 4096


@dataclass(frozen=True)
class Candidate:
    """A node configuration that was found: on which device and disk, its name and its text.

    The text holds the node's key, so it stays out of every representation. `root` is what the same
    medium has as root metadata, b"" without.
    """

    device: str
    disk: str
    filename: str
    text: str = field(repr=False)
    root: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Fetched:
    """What came over the network in a boot medium's place: the list of its layers, signed metadata."""

    layers: bytes
    metadata: bytes


@dataclass(frozen=True)
class Media:
    """The media of this machine. `boot` are the disks of the boot medium; `fetched` is there instead of one.

    `marked` are the sticks that bear the mark of a dongle to be made.
    """

    boot: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    dongle: Dongle | None = None
    marked: tuple[str, ...] = ()
    fetched: Fetched | None = None

    def role(self, disk: str) -> str:
        """Say what a disk is in use for, "" for nothing."""
        if disk in self.boot:
            return "boot medium"
        if any(candidate.disk == disk for candidate in self.candidates):
            return "key medium"
        if disk in self.marked:
            return "stick marked for the cache"
        return "cache dongle" if self.dongle is not None and self.dongle.disk == disk else ""


def survey(run: Runner, *, seconds: float = 0.0) -> Media:
    """Find the media, waiting up to `seconds` for USB storage that is still being found and for a key.

    A device that cannot be read is passed over, and the log says so.
    """
    deadline = time.monotonic() + seconds
    if seconds:
        udev.wait_for_usb_storage(seconds)
    while True:
        found = _survey(run)
        left = deadline - time.monotonic()
        if found.candidates or left <= 0 or not udev.wait_for_block_device(left):
            return found


def _survey(run: Runner) -> Media:
    block = udev.devices("block")
    mounts = mount_table()
    boot = boot_disks(block, mounts)
    candidates: list[Candidate] = []
    for device in filter(lambda device: may_hold_key(device, block, boot), block):
        disk = _disk(device, block)
        # Of a disk that is mounted as a whole, as a boot medium is, Linux mounts no partition as such.
        options = ("loop",) if disk in boot and device.parent else ()
        try:
            candidates += _candidates(run, device, disk, mounts, options)
        except (CommandError, OSError) as error:
            log.warning("%s cannot be looked into: %s", device.node, error)
    found = Media(boot, tuple(_different(candidates)), dongle_of(block), fetched=fetched())
    return replace(found, marked=tuple(_marked(run, block, mounts, found)))


def _marked(run: Runner, block: tuple[Device, ...], mounts: tuple[Mount, ...], found: Media) -> Iterator[str]:
    for device in block:
        if found.role(device.node) or not may_become_dongle(device, block, mounts):
            continue
        try:
            if is_marked(run, device.node):
                yield device.node
        except (CommandError, OSError) as error:
            log.warning("%s cannot be looked at: %s", device.node, error)


def fetched(medium: Path = LIVE_MEDIUM) -> Fetched | None:
    """Return what the initial ramdisk left of a boot over the network, None after one from a medium."""
    if not (medium / LAYERS_FILE).is_file():
        return None
    return Fetched(_head(medium / LAYERS_FILE, _LAYERS_BYTES), _head(medium / METADATA_FILE, _METADATA_BYTES))


def own_medium(medium: Path = LIVE_MEDIUM) -> Medium | None:
    """Return which boot medium this system is of, None where that does not say so."""
    try:
        return medium_of(_head(medium / "live" / FILE, _MEDIUM_BYTES))
    except (MalformedMessage, OSError) as error:
        log.warning("which boot medium this is cannot be told: %s", error)
        return None


def may_hold_key(device: Device, block: tuple[Device, ...], boot: tuple[str, ...]) -> bool:
    """Say whether a file system is looked into for a key: small, removable or the boot medium; never ours."""
    fstype = device.properties.get("ID_FS_TYPE", "")
    whole = _whole(device, block)
    if fstype not in READING or not _is_medium(device) or _claimed(whole):
        return False
    if device.parent and whole.node in boot and device.properties.get("ID_FS_LABEL") != KEY_LABEL:
        return False  # The EFI system partition of a boot medium.
    removable = whole.attributes.get("removable") == "1" or "/usb" in device.path
    return removable or device.name.startswith("mmc") or device.size_bytes <= _SMALL_BYTES


def boot_disks(block: tuple[Device, ...], mounts: tuple[Mount, ...]) -> tuple[str, ...]:
    """Return the disks that this system was started from: by what is mounted, and by the volume's name."""
    sources = {mount.source for mount in mounts if mount.target == LIVE_MEDIUM}
    found = {
        _disk(device, block)
        for device in block
        if device.node in sources or device.properties.get("ID_FS_LABEL") == BOOT_LABEL
    }
    return tuple(sorted(found))


def dongle_of(block: tuple[Device, ...]) -> Dongle | None:
    """Return the cache dongle, by its label; of several the first that is removable or on USB."""
    found = [
        device
        for device in block
        if device.properties.get("ID_FS_LABEL") == CACHE_LABEL
        and device.properties.get("ID_PART_ENTRY_TYPE") != f"0x{UNFINISHED}"
        and _is_medium(device)
        and not _claimed(_whole(device, block))
    ]
    found.sort(key=lambda device: ("/usb" not in device.path, device.path))
    if not found:
        return None
    first = found[0]
    fstype = first.properties.get("ID_FS_TYPE", "auto")
    return Dongle(first.node, _disk(first, block), fstype, first.size_bytes)


def _candidates(
    run: Runner, device: Device, disk: str, mounts: tuple[Mount, ...], options: tuple[str, ...] = ()
) -> list[Candidate]:
    with _looking_into(run, device, mounts, options) as folder:
        # FAT and ISO 9660 know names in upper case only, or in both.
        files = {name.lower(): folder / name for name in sorted(os.listdir(folder))}  # noqa: PTH208
        root = _head(files.get(ROOT_FILE), MAXIMUM_ROOT_BYTES)
        return [
            Candidate(
                device.node, disk, name, _head(files[name], MAXIMUM_BYTES).decode(errors="replace"), root
            )
            for name in FILE_NAMES
            if name in files and files[name].is_file()
        ]


def _head(file: Path | None, limit: int) -> bytes:
    """Return a file, cut one byte after the limit that its reader checks; b"" where there is none."""
    if file is None or not file.is_file():
        return b""
    with file.open("rb") as stream:
        return stream.read(limit + 1)


@contextmanager
def _looking_into(
    run: Runner, device: Device, mounts: tuple[Mount, ...], options: tuple[str, ...]
) -> Iterator[Path]:
    """Give the folder where the device is mounted already, or mount it for the length of the block."""
    for mount in mounts:
        if mount.source == device.node:
            yield mount.target
            return
    fstype = device.properties["ID_FS_TYPE"]
    with mounted(run, device.node, fstype=fstype, options=(*READING[fstype], *options)) as folder:
        yield folder


def _different(candidates: list[Candidate]) -> Iterator[Candidate]:
    """A hybrid image shows the same files as a whole disk and as its partition: tell them once."""
    seen = set()
    for candidate in candidates:
        key = (candidate.disk, candidate.filename, candidate.text, candidate.root)
        if key not in seen:
            seen.add(key)
            yield candidate


def _whole(device: Device, block: tuple[Device, ...]) -> Device:
    return next((disk for disk in block if disk.path == device.parent), device)


def _disk(device: Device, block: tuple[Device, ...]) -> str:
    return _whole(device, block).node


def _is_medium(device: Device) -> bool:
    """Whether it is a disk, a partition or a CD: no volume of LVM, no loop or RAM device."""
    return "/virtual/" not in device.path and device.size_bytes > 0


def _claimed(disk: Device) -> bool:
    return disk.properties.get("ID_PART_TABLE_UUID", "").lower().startswith(CLAIM_MAGIC)
