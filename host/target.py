"""The installed system's tree, mounted for the length of a with block; /boot is that of root's own disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from host.disks import SYS_BLOCK, disk_of, read_table
from host.files import read_regular
from host.mounts import mounted
from host.run import CommandFailed, Runner
from host.storage import BOOT_NUMBER, VOLUME_GROUP, DiskRole, PartitionType, claimed_role, partition_node
from wire.errors import VerificationError

ROOT_DEVICE = f"/dev/{VOLUME_GROUP}/root"
SLIVERS_DEVICE = f"/dev/{VOLUME_GROUP}/slivers"
SWAP_DEVICE = f"/dev/{VOLUME_GROUP}/swap"
# What the kernel needs to mount the root volume, whatever the hardware is.
ROOT_MODULES = ("ext4", "dm_mod")
SLIVERS_FOLDER = Path("var/lib/slivers")
# The public half of the key that the installed system is known by; ssh-keygen -A makes it.
HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key.pub")

# Not even the journal is replayed: a look must leave no trace.
LOOKING = ("ro", "noload")
# No file that this project leaves on a disk is larger.
_TEXT_BYTES = 1024 * 1024


class NoBootPartition(VerificationError):
    """The disk below the root volume has no partition for /boot, or is not claimed as a system disk."""

    code = "no-boot-partition"
    title = "The disk of the installed system has no partition for /boot"
    hint = "Reinstall: bootserver node state NAME rins. If it is said again, check the disk's health."


def partition_of_root(run: Runner, number: int, kind: PartitionType) -> str | None:
    """Return the node of a partition of the disk that the root volume lies on, None where it is not there.

    Found by the claim, the number and the type in that disk's table: it may hold nothing yet, and what it
    holds, another disk may hold as well.
    """
    below = sorted((SYS_BLOCK / Path(ROOT_DEVICE).resolve().name / "slaves").glob("*"))
    for disk in dict.fromkeys(disk_of(f"/dev/{place.name}") for place in below):
        table = read_table(run, disk)
        if table is None or claimed_role(table.guid) is not DiskRole.SYSTEM:
            continue
        if any(entry[:2] == (number, kind) for entry in table.partitions):
            return partition_node(disk, number)
    return None


def boot_of_root(run: Runner) -> str:
    """Return the node of the boot partition on the disk that the root volume lies on.

    Never by the label, which any disk of the machine may have. Raises NoBootPartition.
    """
    found = partition_of_root(run, BOOT_NUMBER, PartitionType.LINUX)
    if found is None:
        raise NoBootPartition("the disk of the root volume has no boot partition of ours")
    return found


def read_installed(run: Runner, path: Path) -> str | None:
    """Return the text of a file on the installed root volume, None where there is no such thing."""
    return read_all_installed(run, (path,))[path]


def read_all_installed(run: Runner, paths: Collection[Path]) -> dict[Path, str | None]:
    """Return the texts of several files on the installed root volume, None for each that is not there.

    A volume that is absent, not made yet or damaged has no readable file either; whoever then writes
    to it or needs it meets the reason.
    """
    nothing: dict[Path, str | None] = dict.fromkeys(paths)
    if not Path(ROOT_DEVICE).exists():
        return nothing
    try:
        with mounted(run, ROOT_DEVICE, fstype="ext4", options=LOOKING) as root:
            return {path: _text(root / path) for path in paths}
    except CommandFailed:
        return nothing


def _text(path: Path) -> str | None:
    """Return what stands in a file of a disk on which anybody may have left anything."""
    try:
        return read_regular(path, _TEXT_BYTES).decode(errors="replace")
    except OSError:
        return None


@contextmanager
def target_read_only(run: Runner) -> Iterator[Path]:
    """Mount root and /boot for looking at them. Raises CommandFailed, NoBootPartition."""
    with (
        mounted(run, ROOT_DEVICE, fstype="ext4", options=LOOKING) as root,
        mounted(run, boot_of_root(run), root / "boot", fstype="ext4", options=LOOKING),
    ):
        yield root


@contextmanager
def target(run: Runner, *, for_chroot: bool = False) -> Iterator[Path]:
    """Mount root, /boot and the slivers volume for writing; with `for_chroot` also what programs need.

    Unmounting, which happens on leaving, is what makes everything written durable. Raises CommandFailed,
    NoBootPartition.
    """
    with ExitStack() as stack:
        root = stack.enter_context(mounted(run, ROOT_DEVICE, fstype="ext4"))
        stack.enter_context(mounted(run, boot_of_root(run), root / "boot", fstype="ext4"))
        stack.enter_context(mounted(run, SLIVERS_DEVICE, root / SLIVERS_FOLDER, fstype="ext4"))
        if for_chroot:
            for name in ("dev", "proc", "sys", "run"):
                stack.enter_context(mounted(run, f"/{name}", root / name, fstype="none", options=["bind"]))
        yield root
