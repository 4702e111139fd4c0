"""Make the file systems of this run; in a reinstallation keep that of root where its files are of use."""

from __future__ import annotations

from pathlib import Path

from host import ext4, former
from host.disks import settle
from host.filesystems import ROOT_LABEL, FileSystem, filesystems
from host.former import NotKept
from host.run import Runner
from host.storage import Layout
from host.texts import Text, _
from host.unpacked import Unpacked
from images.cache import Cache
from images.plan import has_all
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import CommandError
from wire.messages import NodeDetails, TargetState

_NOTHING_FOUND = (0, 2, 8)


class Format(Step):
    """Every file system is there and of this run: its UUID is derived from the run's id.

    It was made in this run, but for a root file system of ours that is sound, in a reinstallation for which
    the dongle does not have all: there what was on it is set aside, for the unpack step to take files from.
    """

    name = "format"
    title = "Make file systems"
    effect = Effect.DESTROYS
    needs = (Layout, NodeDetails, Cache)

    def observe(self, context: Context) -> Observation:
        missing = _missing(context)
        if not missing:
            return holds()
        return lacks(*(_change(context, one) for one in missing))

    def run(self, context: Context) -> None:
        missing = _missing(context)
        for number, one in enumerate(missing):
            context.progress(number / len(missing), one.label)
            if one.label == ROOT_LABEL:
                _make_root(context, one)
            else:
                one.make(context.host.run)
        # What udev knows of them, and its links in /dev/disk, are of what was there before.
        context.host.run(
            ["udevadm", "trigger", "--action=change", *(one.device for one in filesystems(_layout(context)))]
        )
        settle(context.host.run)


def _make_root(context: Context, root: FileSystem) -> None:
    tell = context.host.events.tell
    try:
        _find(context)
        kept = former.keep(context.host.run, _layout(context), root)
    except (NotKept, CommandError, OSError) as error:
        tell("root.formatted", reason=str(error))
        root.make(context.host.run)
    else:
        tell("root.kept", image=kept.name, manifest=kept.manifest)


def _find(context: Context) -> Unpacked:
    """Say of which image the root is that shall be kept. Raises NotKept."""
    details, cache = context.facts[NodeDetails], context.facts[Cache]
    if details.boot_state in (TargetState.NEW, TargetState.INST):
        raise NotKept(_("only a reinstallation keeps it"))
    if details.clean:
        raise NotKept(_("the server wants it made anew"))
    if not context.host.storage.keeps(_layout(context)):
        raise NotKept(_("the volumes are made anew"))
    found = former.find(context.host.run, _layout(context))
    if has_all(cache, details.base_image.manifest):
        raise NotKept(_("the dongle has the whole image"))
    return found


def _layout(context: Context) -> Layout:
    return context.facts[Layout]


def _missing(context: Context) -> list[FileSystem]:
    return [one for one in filesystems(_layout(context)) if _uuid(context.host.run, one.device) != one.uuid]


def _change(context: Context, wanted: FileSystem) -> Change:
    what = f"{wanted.fstype} {wanted.label}"
    if not _uuid(context.host.run, wanted.device):
        return Change(Keeps.CREATE, wanted.device, what)
    if wanted.label != ROOT_LABEL:
        return Change(Keeps.DESTROY, wanted.device, what)
    try:
        promise = _promise(context, wanted.device)
        return Change(Keeps.KEEP, wanted.device, Text("{what}, {promise}", what=what, promise=promise))
    except NotKept as error:
        anew = _("{what}, made anew: {reason}", what=what, reason=error.args[0])
        return Change(Keeps.DESTROY, wanted.device, anew)


def _promise(context: Context, device: str) -> str:
    """Say what becomes of a root file system that is kept. Raises NotKept."""
    run, found = context.host.run, _find(context)
    image = f"{found.name} ({found.manifest[:12]})"
    taken = _("files of image {image} are taken where their hash is right", image=image)
    if not ext4.is_clean(ext4.header(run, device)):
        return _("if it is sound when its journal has been replayed: {taken}", taken=taken)
    if not ext4.is_sound(run, device, look_only=True):
        raise NotKept(_("its check finds damage"))
    return taken


def _uuid(run: Runner, device: str) -> str:
    """Return the UUID of what is on a device, past all caches; "" for nothing or no device yet."""
    if not Path(device).exists():
        return ""
    said = run(["blkid", "-p", "-o", "value", "-s", "UUID", device], ok=_NOTHING_FOUND).stdout
    return said.strip()
