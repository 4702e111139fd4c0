"""Validate the installation before it is booted: file systems, mark, kernel."""

from __future__ import annotations

from pathlib import Path

from host.ext4 import FSCK_SECONDS, header, is_clean
from host.installed import InstalledKernel, newest_kernel
from host.mark import Mark, NotInstalled, read_mark
from host.run import CommandFailed, Runner
from host.target import ROOT_DEVICE, SLIVERS_DEVICE, boot_of_root, target_read_only
from host.texts import _
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import VerificationError
from wire.nodeconf import NodeConfiguration

# e2fsck(8): 1 errors corrected, 2 corrected and a mounted root must reboot (ours is not mounted).
REPAIRED = (0, 1, 2)


class FilesystemDamaged(VerificationError):
    """A file system has damage that fsck cannot mend."""

    code = "filesystem-damaged"
    title = "A file system is damaged beyond repair"
    hint = "Save what is needed over ssh, check the disk's health, then: bootserver node state NAME rins."


class ForeignInstallation(VerificationError):
    """The installation on the disk is another node's."""

    code = "foreign-installation"
    title = "The disk holds another node's installation"
    hint = "Is the right key medium plugged in? If so, reinstall: bootserver node state NAME rins."


class Validate(Step):
    """The installation is complete, this node's own, and its file systems are clean."""

    name = "validate"
    title = "Validate the installation"
    effect = Effect.CHANGES
    needs = (NodeConfiguration,)
    gives = (Mark, InstalledKernel)

    def observe(self, context: Context) -> Observation:
        run = context.host.run
        root, boot, slivers = _devices(run)
        found = {device: header(run, device) for device in (root, boot, slivers)}
        if not found[boot]:
            raise NotInstalled(f"there is no file system on {boot}")
        dirty = [device for device, said in found.items() if not is_clean(said)]
        if dirty:
            what = _("check and repair (e2fsck)")
            return lacks(*(Change(Keeps.KEEP, device, what) for device in dirty))
        mark = read_mark(run)
        if mark.node_id != context.facts[NodeConfiguration].node_id:
            raise ForeignInstallation(f"it belongs to node {mark.node_id}")
        with target_read_only(run) as folder:
            return holds(mark, newest_kernel(folder, mark.kernel_arguments))

    def run(self, context: Context) -> None:
        devices = _devices(context.host.run)
        for number, device in enumerate(devices):
            if not is_clean(header(context.host.run, device)):
                context.progress(number / len(devices), _("checking {device}", device=device))
                _repair(context.host.run, device)


def _devices(run: Runner) -> tuple[str, str, str]:
    """Return the nodes of root, /boot and the slivers volume. Raises NotInstalled, NoBootPartition."""
    for device in (ROOT_DEVICE, SLIVERS_DEVICE):
        if not Path(device).exists():
            raise NotInstalled(f"there is no {device}")
    return ROOT_DEVICE, boot_of_root(run), SLIVERS_DEVICE


def _repair(run: Runner, device: str) -> None:
    """First what is safe without asking, then everything."""
    if run(["e2fsck", "-p", device], timeout=FSCK_SECONDS, ok=range(256)).status in REPAIRED:
        return
    try:
        run(["e2fsck", "-f", "-y", device], timeout=FSCK_SECONDS, ok=REPAIRED)
    except CommandFailed as error:
        raise FilesystemDamaged(f"{device}: {error.detail}") from None
