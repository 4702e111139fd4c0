"""The program behind the FIFOs: vsys.service.

One thread that sleeps until the kernel has an event: a change in /vsys or of a slice's folder, bytes in a
FIFO, a reader, an end of a process. Nothing is remembered: what it serves is what it finds.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from configmanager.notify import tell_systemd
from configmanager.slots import Slots
from configmanager.vsys import catalog
from configmanager.vsys.catalog import FOLDER, PRIVATE, Catalog, Fault
from configmanager.vsys.channel import Channel, Owner, Site
from configmanager.vsys.channels import channel_for
from configmanager.vsys.folder import SLICES, Folder
from configmanager.vsys.groups import Groups, own_unit
from configmanager.vsys.watches import CHANGES, Watches
from host.run import Runner
from wire.errors import BootError
from wire.slivers import machine_name

log = logging.getLogger(__name__)

# Changes come in numbers: a copy alone is three.
_CALM_SECONDS = 0.05


@dataclass(frozen=True)
class Served:
    """A slice that is served."""

    owner: Owner
    channels: dict[str, Channel] = field(default_factory=dict)

    def close(self, *, remove: bool) -> None:
        """End all that runs for it."""
        for channel in self.channels.values():
            channel.close(remove=remove)
        self.owner.folder.close()


class Daemon:
    """Serves the slices whose folders are there. `root` is "/" but in tests."""

    def __init__(self, root: Path, groups: Groups) -> None:
        self._root = root
        self._loop = asyncio.new_event_loop()
        self._site = Site(self._loop, Watches(self._loop), groups)
        self._served: dict[str, Served] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._faults: tuple[Fault, ...] = ()
        self._strangers: tuple[Fault, ...] = ()

    def run(self) -> None:
        """Serve until SIGTERM."""
        for each in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(each, self._loop.stop)
        self._look()
        tell_systemd("READY=1")
        self._loop.run_forever()
        for served in self._served.values():
            served.close(remove=False)

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_CALM_SECONDS, self._look)

    def _look(self) -> None:
        """Serve what is there now."""
        self._timer = None
        try:
            # Watched before it is looked at: what changes from now on is looked at again.
            self._watch_folders()
            known = catalog.read(self._root)
            slices = self._slices()
        except (OSError, BootError) as error:
            log.error("what is served stays as it is: %s", error)
            return
        self._tell(known, frozenset(name for name, _ in slices.values()))
        for machine in [*self._served]:
            served = self._served[machine]
            name = slices[machine][0] if machine in slices else ""
            if name != served.owner.name or not served.owner.folder.is_at(self._folder(machine)):
                served.close(remove=False)
                del self._served[machine]
        for machine, (name, user) in slices.items():
            try:
                if machine not in self._served:
                    folder = Folder(self._folder(machine), user)
                    self._served[machine] = Served(Owner(name, machine, folder))
                self._serve(self._served[machine], known)
            except FileNotFoundError:
                continue  # It is being made or removed, which is a change.
            except OSError as error:
                log.error("%s is not served: %s", name, error)

    def _watch_folders(self) -> None:
        private = self._root / FOLDER / PRIVATE
        # The first, because /vsys may come later.
        folders = [self._root, self._root / FOLDER, self._root / SLICES, private]
        with suppress(OSError):
            folders += [path for path in private.iterdir() if not path.is_symlink() and path.is_dir()]
        for folder in folders:
            # One that is no folder is none to be watched, and refused by others.
            with suppress(FileNotFoundError, NotADirectoryError):
                self._site.watches.add(str(folder), CHANGES, self._changed)

    def _slices(self) -> dict[str, tuple[str, int]]:
        """Return the slices with a folder, by machine: their names and users."""
        slots = Slots(self._root).all()
        known = {machine_name(name): (name, slot.first_user) for name, slot in slots.items()}
        with suppress(FileNotFoundError):
            there = {path.name for path in (self._root / SLICES).iterdir()}
            return {machine: slice_ for machine, slice_ in known.items() if machine in there}
        return {}

    def _folder(self, machine: str) -> Path:
        return self._root / SLICES / machine

    def _serve(self, served: Served, known: Catalog) -> None:
        owner, channels = served.owner, served.channels
        offers = known.offers(owner.name)
        for name in [*channels]:
            if name not in offers or offers[name].mode is not channels[name].offer.mode:
                channels.pop(name).close(remove=True)
            elif offers[name] != channels[name].offer:
                channels[name].renew(offers[name])
        # What an earlier run of this program left is used again, or goes.
        fifos = {name for channel in channels.values() for name in channel.modes}
        begun = []
        for name in offers.keys() - channels.keys():
            channels[name] = channel_for(self._site, owner, offers[name])
            begun.append(channels[name])
            fifos |= channels[name].modes.keys()
        for name in set(owner.folder.names()) - fifos:
            owner.folder.remove(name)
        for channel in begun:
            channel.begin()

    def _tell(self, known: Catalog, slices: frozenset[str]) -> None:
        strangers = known.strangers(slices)
        for fault in set(known.faults) - set(self._faults):
            log.error("refused: %s", fault)
        for fault in set(strangers) - set(self._strangers):
            log.info("%s", fault)
        changed = known.faults != self._faults
        self._faults, self._strangers = known.faults, strangers
        if changed:
            # The manager looks at once and tells the server.
            with suppress(BootError):
                Runner()(["systemctl", "--no-block", "reload", "configmanager.service"], timeout=5.0)


def main() -> None:
    """Serve this node's slices; what the unit runs."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Two for each FIFO of an instance that runs, and one for each that waits.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Daemon(Path("/"), Groups(own_unit())).run()


if __name__ == "__main__":
    main()
