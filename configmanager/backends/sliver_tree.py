"""A sliver's folder: what it wrote over its image (`upper`), and where the two are mounted as one (`root`).

It is made beside and renamed when it is whole, and renamed before it is removed. The unit mounts, see
sliver-host; the sliver's root writes only through that mount, so what the node writes into `upper` is
written while the folder is new, and never again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends.quota import Quotas, attach
from configmanager.backends.sliver_seed import Seed, plant
from configmanager.slots import Slot
from host.files import sync_folder
from host.mounts import mount_table
from host.run import CommandFailed, Runner
from wire.errors import CommandError, VerificationError

SLIVERS = Path("var/lib/slivers")
GIVEN = "given"
_UNMOUNT_SECONDS = 60.0
_REMOVE_SECONDS = 1800.0
_SYNC_SECONDS = 600.0


class LiveMounts(CommandError):
    """Something is still mounted in what should be removed."""

    code = "live-mounts"
    title = "A sliver's folder holds mounts"
    hint = "Unmount it by hand; nothing was removed. The next pass goes on."


class NotOurSliver(VerificationError):
    """There is a folder of that name that configmanager did not make."""

    code = "not-our-sliver"
    title = "Something else has the name of a sliver"
    hint = "Look at the folder; rename or remove it by hand, it is not touched."


@dataclass(frozen=True)
class SliverTree:
    """The folder of one machine, below `root`."""

    root: Path
    machine: str

    @property
    def folder(self) -> Path:
        """Where it is when it is whole."""
        return self.root / SLIVERS / self.machine

    @property
    def given(self) -> Path:
        """What the node gives to the sliver; it is mounted there read-only."""
        return self.folder / GIVEN

    def make(self, run: Runner, slot: Slot, image: Path, seeds: Sequence[Seed]) -> None:
        """Make it, with `seeds` laid over the image. Raises UnsuitableImage, CommandFailed, OSError."""
        beside = self._beside("new")
        remove_folder(run, beside)
        beside.mkdir(parents=True)
        if Quotas(run, beside).kept:
            # While it is empty, so that its first byte counts; the limit is there already.
            attach(run, beside, slot.number)
        for name in ("upper", "work", "lower", "root", GIVEN):
            (beside / name).mkdir()
        status = image.stat()
        os.chown(beside / "upper", slot.first_user + status.st_uid, slot.first_user + status.st_gid)
        (beside / "upper").chmod(status.st_mode & 0o7777)
        plant(seeds, image, beside / "upper", slot.first_user)
        run(["sync", "--file-system", beside], timeout=_SYNC_SECONDS)
        beside.rename(self.folder)
        sync_folder(self.folder.parent)

    def remove(self, run: Runner) -> None:
        """Remove it; doing so again changes nothing. Raises LiveMounts, CommandFailed."""
        if self.folder.exists():
            self._unmount(run)
            refuse_mounts(self.folder)
            # Renamed first, so that what is left of it after a power cut never looks like a sliver.
            gone = self._beside("gone")
            remove_folder(run, gone)
            self.folder.rename(gone)
            sync_folder(gone.parent)
        for how in ("new", "gone"):
            remove_folder(run, self._beside(how))

    def _unmount(self, run: Runner) -> None:
        """Unmount what the unit left because somebody was in it then."""
        if any(mount.target == self.folder / "root" for mount in mount_table()):
            try:
                run(["umount", "--", self.folder / "root"], timeout=_UNMOUNT_SECONDS)
            except CommandFailed as error:
                raise LiveMounts(f"{self.folder / 'root'}: {error.stderr.strip()}") from None

    def _beside(self, how: str) -> Path:
        return self.folder.parent / f".{how}-{self.machine}"


def remove_folder(run: Runner, folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there. Raises LiveMounts, CommandFailed."""
    if not folder.exists():
        return
    refuse_mounts(folder)
    # rm copes with trees of any depth, never follows a link and stays on one file system.
    words = ["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)]
    run(words, timeout=_REMOVE_SECONDS)


def refuse_mounts(folder: Path) -> None:
    """Raise LiveMounts if anything is mounted on or below the folder."""
    live = [mount.target for mount in mount_table() if mount.target.is_relative_to(folder)]
    if live:
        raise LiveMounts(", ".join(str(path) for path in live))
