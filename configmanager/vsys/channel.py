"""One service for one slice: its FIFOs, and its instance while there is one.

A FIFO is waited on and not read here: the instance has it as its own. What is kept open here is what keeps
bytes in it, and keeps an end of file from its reader until it is due.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from configmanager.vsys.acl import Mode
from configmanager.vsys.bucket import Bucket
from configmanager.vsys.catalog import Offer
from configmanager.vsys.folder import IN, OUT, Folder
from configmanager.vsys.groups import Groups
from configmanager.vsys.instance import Instance
from configmanager.vsys.watches import Watches

log = logging.getLogger(__name__)

# Of one slice, all services together: starts, and bytes for the log.
STARTS_A_SECOND, STARTS_AT_ONCE = 20.0, 100.0
WORDS_A_SECOND, WORDS_AT_ONCE = 2048.0, 64.0 * 1024
# After a failure of the node's own: no memory, no file or process left.
RETRY_SECONDS = 10.0


@dataclass(frozen=True)
class Site:
    """What all channels share."""

    loop: asyncio.AbstractEventLoop
    watches: Watches
    groups: Groups


@dataclass(frozen=True)
class Owner:
    """A slice, and what it has left of what is bounded."""

    name: str
    machine: str
    folder: Folder
    starts: Bucket = field(default_factory=lambda: Bucket(STARTS_A_SECOND, STARTS_AT_ONCE))
    words: Bucket = field(default_factory=lambda: Bucket(WORDS_A_SECOND, WORDS_AT_ONCE))


class Channel(ABC):
    """What channels for both directions have in common; begin() makes the FIFOs and waits."""

    def __init__(self, site: Site, owner: Owner, offer: Offer) -> None:
        self.offer = offer
        self._site = site
        self._owner = owner
        self._instance: Instance | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watches: set[int] = set()
        self._closed = False
        self._in_name, self._out_name = f"{offer.name}.in", f"{offer.name}.out"
        # What is open here, -1 for what is not.
        self._in = -1
        self._out = -1

    @property
    def modes(self) -> dict[str, int]:
        """The FIFOs' names and modes."""
        both = {self._in_name: IN, self._out_name: OUT}
        return both if self.offer.mode is Mode.WRITE else {self._out_name: OUT}

    def begin(self) -> None:
        """Make the FIFOs where they are not there, and wait for the slice."""
        self._guard(self._begin)

    def renew(self, offer: Offer) -> None:
        """Go on with another executable; a running instance of the old one ends."""
        self.offer = offer
        if self._instance is not None:
            self._instance.kill()

    def close(self, *, remove: bool) -> None:
        """End the instance and let go of the FIFOs; with `remove` they go."""
        self._closed = True
        if self._instance is not None:
            self._instance.kill()
        if self._timer is not None:
            self._timer.cancel()
        self._drop_watches()
        self._close_in()
        self._close_out()
        if remove:
            for name in self.modes:
                self._owner.folder.remove(name)

    @abstractmethod
    def _rest(self) -> None:
        """Wait for the slice, nothing being open. Raises OSError."""

    @abstractmethod
    def _start(self) -> None:
        """Start an instance. Raises OSError."""

    @abstractmethod
    def _ended(self) -> None:
        """See to the FIFOs after an instance. Raises OSError."""

    def _begin(self) -> None:
        for name, mode in self.modes.items():
            self._owner.folder.make(name, mode)
        self._rest()

    def _begin_instance(self) -> None:
        """Start an instance as soon as the slice may start one."""
        delay = self._owner.starts.delay()
        if delay:
            self._timer = self._site.loop.call_later(delay, self._begin_instance)
            return
        self._owner.starts.spend(1)
        self._guard(self._start)

    def _launch(self, files: tuple[int, int]) -> None:
        group = self._site.groups.make(self._owner.machine, self.offer.name)
        words = [str(self.offer.path), self._owner.name]
        try:
            self._instance = Instance(self._site.loop, group, words, files, self._owner.words, self._over)
        except OSError:
            group.remove()
            raise

    def _over(self) -> None:
        self._instance = None
        if not self._closed:
            self._guard(self._ended)

    def _guard(self, work: Callable[[], None]) -> None:
        """Do something that concerns this channel alone; without files or processes left it waits a while."""
        try:
            work()
        except OSError as error:
            log.error("%s for %s: %s", self.offer.name, self._owner.name, error)
            self._drop_watches()
            self._close_in()
            self._close_out()
            self._timer = self._site.loop.call_later(RETRY_SECONDS, self.begin)

    def _once(self, file: int, what: int, call: Callable[[], None]) -> None:
        """Make a call when that next happens to an open file. Raises OSError."""

        def happened() -> None:
            self._watches.discard(watch)
            self._guard(call)

        watch = self._site.watches.add_open(file, what, happened)
        self._watches.add(watch)

    def _drop_watches(self) -> None:
        for watch in self._watches:
            self._site.watches.forget(watch)
        self._watches.clear()

    def _open(self, name: str, flags: int) -> int:
        return self._owner.folder.open(name, flags)

    def _set_in(self, file: int) -> None:
        """Have that open in the place of what was."""
        self._close_in()
        self._in = file

    def _close_in(self) -> None:
        if self._in >= 0:
            self._site.loop.remove_reader(self._in)
            os.close(self._in)
            self._in = -1

    def _close_out(self) -> None:
        if self._out >= 0:
            os.close(self._out)
            self._out = -1
