"""Open the cache on the dongle. Whatever is wrong with a dongle, a node without it is only slower."""

from __future__ import annotations

from pathlib import Path

from host.mounts import mount_table
from hwdetect.media import Media, mount_dongle
from images.cache import Cache
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import CommandError

FOLDER = "cache"


class OpenCache(Step):
    """The dongle is mounted, or it is known that there is none to be used."""

    name = "open_cache"
    title = "Open the cache dongle"
    effect = Effect.CHANGES
    needs = (Media,)
    gives = (Cache,)

    def __init__(self) -> None:
        # What cannot be mounted leaves no trace in the system that a second look could find.
        self._unusable: set[str] = set()

    def observe(self, context: Context) -> Observation:
        dongle = context.facts[Media].dongle
        events = context.host.events
        if dongle is None:
            events.tell("media.missing", what="cache")
            return holds(Cache(None, events))
        if dongle.device in self._unusable:
            return holds(Cache(None, events))
        folder = context.host.state_dir / FOLDER
        options = _options(folder)
        if options is None:
            return lacks(
                Change(Keeps.KEEP, dongle.device, "the cache dongle is mounted; nothing on it is lost")
            )
        return holds(Cache(folder, events, writable="rw" in options))

    def run(self, context: Context) -> None:
        dongle = context.facts[Media].dongle
        if dongle is None:
            return
        events = context.host.events
        try:
            writable = mount_dongle(context.host.run, dongle, context.host.state_dir / FOLDER)
        except CommandError as error:
            self._unusable.add(dongle.device)
            events.tell("media.unusable", what="cache", device=dongle.device, detail=error.detail)
            return
        events.tell(
            "media.found",
            what="cache",
            device=dongle.device,
            fstype=dongle.fstype,
            size_bytes=dongle.size_bytes,
            writable=writable,
        )


def _options(folder: Path) -> tuple[str, ...] | None:
    """Return how something is mounted there, None where nothing is; of several the topmost counts."""
    found = [mount.options for mount in mount_table() if mount.target == folder]
    return found[-1] if found else None
