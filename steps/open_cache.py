"""Open the cache on the dongle. Whatever is wrong with a dongle, a node without it is only slower."""

from __future__ import annotations

from pathlib import Path

from host.mounts import mount_at
from host.texts import _
from hwdetect.dongle import Dongle, mount_dongle
from hwdetect.marked_stick import make_dongle
from hwdetect.media import Media
from images.cache import Cache
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import BootError

FOLDER = "cache"


class OpenCache(Step):
    """The dongle is mounted, or it is known that there is none to be used.

    Where there is none, and one stick is marked for it, it is made of that.
    """

    name = "open_cache"
    title = "Open the cache dongle"
    effect = Effect.CHANGES
    needs = (Media,)
    gives = (Cache,)

    def __init__(self) -> None:
        # What cannot be mounted leaves no trace in the system that a second look could find.
        self._unusable: set[str] = set()
        self._made: Dongle | None = None

    def observe(self, context: Context) -> Observation:
        media, events = context.facts[Media], context.host.events
        place = self._place(media)
        if not place:
            events.tell("media.missing", what="cache")
            return holds(Cache(None, events))
        if place in self._unusable:
            return holds(Cache(None, events))
        folder = context.host.state_dir / FOLDER
        options = _options(folder, place)
        if options is None:
            return lacks(self._change(media, place))
        return holds(Cache(folder, events, writable="rw" in options))

    def run(self, context: Context) -> None:
        media, events = context.facts[Media], context.host.events
        try:
            dongle = media.dongle or self._make(context)
            writable = mount_dongle(context.host.run, dongle, context.host.state_dir / FOLDER)
        except (BootError, OSError) as error:
            place = self._place(media)
            self._unusable.add(place)
            events.tell("media.unusable", what="cache", device=place, detail=str(error))
            return
        events.tell(
            "media.found",
            what="cache",
            device=dongle.device,
            fstype=dongle.fstype,
            size_bytes=dongle.size_bytes,
            writable=writable,
        )

    def _make(self, context: Context) -> Dongle:
        context.progress(None, _("making it on the stick that is marked for it"))
        self._made = make_dongle(context.host.run, context.facts[Media].marked)
        context.host.events.tell("dongle.made", device=self._made.device, size_bytes=self._made.size_bytes)
        return self._made

    def _place(self, media: Media) -> str:
        """Return the device of the dongle, else the disk that it is to be made of, else ""."""
        dongle = media.dongle or self._made
        return dongle.device if dongle is not None else ", ".join(media.marked)

    def _change(self, media: Media, place: str) -> Change:
        if media.dongle is not None or self._made is not None:
            return Change(Keeps.KEEP, place, _("the cache dongle is mounted; nothing on it is lost"))
        if len(media.marked) > 1:
            return Change(Keeps.KEEP, place, _("marked for the cache, and none is used: leave one of them"))
        return Change(Keeps.CREATE, place, _("the cache dongle on this stick, marked for it: ext4 BMCACHE"))


def _options(folder: Path, device: str) -> tuple[str, ...] | None:
    """Return how the device is mounted there, None where it is not."""
    found = mount_at(folder)
    return found.options if found is not None and found.source == device else None
