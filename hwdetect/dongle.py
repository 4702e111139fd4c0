"""The cache dongle: mounted for writing where that is possible, read where it is not."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.alone import alone
from host.mounts import mount_at
from host.run import CommandFailed, CommandTimedOut, Runner
from wire.errors import BootError

log = logging.getLogger(__name__)

# What is looked into, and how it is mounted without a trace.
READING = {
    "vfat": ("ro",),
    "iso9660": ("ro",),
    "exfat": ("ro",),
    "ext2": ("ro",),
    "ext3": ("ro", "noload"),
    "ext4": ("ro", "noload"),
}


@dataclass(frozen=True)
class Dongle:
    """The file system that caches images: device, the disk it is on, type, size in bytes."""

    device: str
    disk: str
    fstype: str
    size_bytes: int


def mount_dongle(run: Runner, dongle: Dongle, folder: Path) -> bool:
    """Mount the dongle at `folder`, read-only where it cannot be written; say whether it can be.

    A dongle that is mounted there already stays so; one that was pulled out makes room for it. Raises
    CommandFailed or CommandTimedOut when it cannot be read either.
    """
    there = mount_at(folder)
    if there is not None and there.source != dongle.device:
        unmount_dongle(run, folder)
        there = None
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        options = ["noatime", "nodev", "nosuid", "noexec", "nosymfollow"]
        try:
            run(["mount", "-t", dongle.fstype, "-o", ",".join(options), dongle.device, folder], timeout=120)
        except (CommandFailed, CommandTimedOut) as error:
            log.warning("the dongle is mounted read-only: %s", error)
            options += READING.get(dongle.fstype, ("ro",))
            run(["mount", "-t", dongle.fstype, "-o", ",".join(options), dongle.device, folder], timeout=120)
    now = mount_at(folder)
    # mount(8) falls back to read-only by itself on a write-protected stick.
    return now is not None and "rw" in now.options


def unmount_dongle(run: Runner, folder: Path) -> None:
    """Unmount the dongle if it is mounted. Raises CommandFailed when somebody is still in it."""
    if mount_at(folder) is not None:
        run(["umount", folder], timeout=120)


@contextmanager
def shared_dongle(run: Runner, dongle: Dongle, folder: Path, turns: Path) -> Iterator[bool]:
    """Have the dongle at `folder` for the length of the block; say whether it can be written.

    Several may have it at once, in this and in other processes; the last one unmounts it. They come and go
    one at a time, by a lock in `turns`, a folder in RAM, and wait for nothing that is done in these blocks.

    Raises what mount_dongle() raises, OSError. A dongle that stays mounted is logged: all is on it by then.
    """
    with alone(turns):
        writable = mount_dongle(run, dongle, folder)
        # Nobody can unmount what somebody has open: what is stored would fill the disk below.
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield writable
    finally:
        try:
            with alone(turns):
                if _close(handle):
                    unmount_dongle(run, folder)
        except (BootError, OSError) as error:
            log.warning("the dongle stays mounted: %s", error)


def _close(handle: int) -> bool:
    """Let go of the dongle; say whether nobody else has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
