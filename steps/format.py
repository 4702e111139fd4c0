"""Make the file systems of this run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.disks import settle
from host.run import Runner
from host.storage import Layout, filesystem_uuid
from host.target import BOOT_LABEL
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks

_MAKE_SECONDS = 1800.0
_NOTHING_FOUND = (0, 2, 8)


@dataclass(frozen=True)
class FileSystem:
    """A file system to be made: device node, type, label, UUID."""

    device: str
    fstype: str
    label: str
    uuid: str

    @property
    def command(self) -> list[str]:
        """The command that makes it, without a question and whatever was there before."""
        if self.fstype == "swap":
            return ["mkswap", "--force", "--label", self.label, "--uuid", self.uuid, self.device]
        return ["mkfs.ext4", "-q", "-F", "-L", self.label, "-U", self.uuid, self.device]


class Format(Step):
    """Every file system is there and was made in this run: its UUID is derived from the run's id."""

    name = "format"
    title = "Make file systems"
    effect = Effect.DESTROYS
    needs = (Layout,)

    def observe(self, context: Context) -> Observation:
        missing = _missing(context)
        if not missing:
            return holds()
        return lacks(*(_change(context.host.run, one) for one in missing))

    def run(self, context: Context) -> None:
        missing = _missing(context)
        for number, one in enumerate(missing):
            context.progress(number / len(missing), one.label)
            context.host.run(one.command, timeout=_MAKE_SECONDS)
        # The links in /dev/disk that the next steps mount by come from udev.
        context.host.run(
            ["udevadm", "trigger", "--action=change", *(one.device for one in filesystems(_layout(context)))]
        )
        settle(context.host.run)


def filesystems(layout: Layout) -> tuple[FileSystem, ...]:
    """Return the file systems in the order in which they are made.

    Root is first, because the mark of an older installation is on it and must not outlive the rest.
    """
    places = (
        (layout.volume_device("root"), "ext4", "bm-root"),
        (layout.boot_device, "ext4", BOOT_LABEL),
        (layout.volume_device("slivers"), "ext4", "bm-slivers"),
        (layout.volume_device("swap"), "swap", "bm-swap"),
    )
    return tuple(
        FileSystem(device, fstype, label, filesystem_uuid(layout.run_id, label))
        for device, fstype, label in places
    )


def _layout(context: Context) -> Layout:
    return context.facts[Layout]


def _missing(context: Context) -> list[FileSystem]:
    return [one for one in filesystems(_layout(context)) if _uuid(context.host.run, one.device) != one.uuid]


def _change(run: Runner, wanted: FileSystem) -> Change:
    kind = Keeps.DESTROY if _uuid(run, wanted.device) else Keeps.CREATE
    return Change(kind, wanted.device, f"{wanted.fstype} {wanted.label}")


def _uuid(run: Runner, device: str) -> str:
    """Return the UUID of what is on a device, past all caches; "" for nothing or no device yet."""
    if not Path(device).exists():
        return ""
    said = run(["blkid", "-p", "-o", "value", "-s", "UUID", device], ok=_NOTHING_FOUND).stdout
    return said.strip()
