"""Empty the cache dongle: one that bootmanager made of a marked stick, and that holds nothing else.

A label that somebody gave a stick is enough to use it as the cache, since what is on it stays. It is no proof
that nothing else is lost with it.
"""

from __future__ import annotations

from pathlib import Path

from host.mounts import Mount, mount_table
from host.run import Runner
from hwdetect import udev
from hwdetect.dongle import Dongle, mount_dongle, unmount_dongle
from hwdetect.marked_stick import is_made, make_again, may_become_dongle
from hwdetect.media import boot_disks, dongle_of
from hwdetect.udev import Device
from wire.errors import UnsupportedHardware

# What cache, journal and the wish for the boot medium's GRUB leave there; mkfs makes the last.
OURS = {"blobs", "documents", "lock", "journal.jsonl", "journal.old", "grub", "lost+found"}


class NotOurDongle(UnsupportedHardware):
    """There is no proof that the stick is a cache dongle and nothing else."""

    code = "not-our-dongle"
    title = "This is no cache dongle that bootmanager made"
    hint = "Nothing was written. To have one that can be erased, mark a stick: docs/images.md."


def proven_dongle(run: Runner, folder: Path) -> Dongle:
    """Return the cache dongle that may be erased; `folder` is where the cache is mounted. Changes nothing.

    Raises NotOurDongle, CommandFailed, OSError.
    """
    block, mounts = udev.devices("block"), mount_table()
    dongle = dongle_of(block)
    if dongle is None:
        raise NotOurDongle("there is no stick that bears the name of the cache")
    why = refusal(run, dongle, block, mounts, folder)
    if why:
        raise NotOurDongle(f"{dongle.disk}: {why}")
    return dongle


def refusal(
    run: Runner, dongle: Dongle, block: tuple[Device, ...], mounts: tuple[Mount, ...], folder: Path
) -> str:
    """Say why a dongle is not erased, "" where all is proven."""
    disk = next(device for device in block if device.node == dongle.disk)
    others = tuple(mount for mount in mounts if mount.target != folder)
    if dongle.disk in boot_disks(block, mounts) or not may_become_dongle(disk, block, others):
        return "it is no removable USB stick, is write-protected, or is in use for something else"
    if not is_made(run, dongle.disk):
        return "it bears the name of the cache, and was not made of a marked stick"
    if not any((mount.source, mount.target) == (dongle.device, folder) for mount in mounts):
        return "it is not in use as the cache now; try again first"
    more = sorted({path.name for path in folder.iterdir()} - OURS)
    return f"somebody put something else on it: {', '.join(more[:5])}" if more else ""


def erase_dongle(run: Runner, dongle: Dongle, folder: Path) -> Dongle:
    """Make the dongle anew and mount it where it was, if the proof still holds and it is the same one.

    Raises NotOurDongle before anything is written, CommandFailed, CommandTimedOut, OSError.
    """
    if proven_dongle(run, folder) != dongle:
        raise NotOurDongle(f"{dongle.disk} is another one than before")
    unmount_dongle(run, folder)
    made = make_again(run, dongle.disk)
    mount_dongle(run, made, folder)
    return made
