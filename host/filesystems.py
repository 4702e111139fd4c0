"""The file systems of a run, and the command that makes each."""

from __future__ import annotations

from dataclasses import dataclass

from host.run import Runner
from host.storage import Layout, filesystem_uuid

BOOT_LABEL = "bm-boot"
ROOT_LABEL = "bm-root"
SLIVERS_LABEL = "bm-slivers"
_MAKE_SECONDS = 1800.0
# Each sliver has so much room: see ext4(5), and the option in the installed fstab.
PROJECT_QUOTAS = ("-O", "quota,project", "-E", "quotatype=prjquota")


@dataclass(frozen=True)
class FileSystem:
    """A file system to be made: device node, type, label, UUID."""

    device: str
    fstype: str
    label: str
    uuid: str

    def make(self, run: Runner) -> None:
        """Make it, without a question and whatever was there before. Raises CommandError."""
        if self.fstype == "swap":
            command = ["mkswap", "--force", "--label", self.label, "--uuid", self.uuid, self.device]
        else:
            features = PROJECT_QUOTAS if self.label == SLIVERS_LABEL else ()
            command = ["mkfs.ext4", "-q", "-F", *features, "-L", self.label, "-U", self.uuid, self.device]
        run(command, timeout=_MAKE_SECONDS)


def boot_uuid(run_id: str) -> str:
    """Return the UUID of a run's /boot. GRUB and fstab find it by that: any disk may have the label."""
    return filesystem_uuid(run_id, BOOT_LABEL)


def filesystems(layout: Layout) -> tuple[FileSystem, ...]:
    """Return the file systems in the order in which they are made.

    Root is first, because the mark of an older installation is on it and must not outlive the rest.
    """
    places = (
        (layout.volume_device("root"), "ext4", ROOT_LABEL),
        (layout.boot_device, "ext4", BOOT_LABEL),
        (layout.volume_device("slivers"), "ext4", SLIVERS_LABEL),
        (layout.volume_device("swap"), "swap", "bm-swap"),
    )
    return tuple(
        FileSystem(device, fstype, label, filesystem_uuid(layout.run_id, label))
        for device, fstype, label in places
    )
