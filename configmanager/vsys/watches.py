"""inotify(7) within one event loop, by watchdog's bindings.

watchdog's own observers know neither a watch that ends with its first event nor one on a single FIFO, and
have three threads each; here nothing runs until the kernel has something to say.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from ctypes import get_errno

from watchdog.observers.inotify_c import InotifyConstants, inotify_add_watch, inotify_init, inotify_rm_watch

# What a folder's content can become another by. Being read, as by an exec, is none of it.
CHANGES = (
    InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
)
OPENED = InotifyConstants.IN_OPEN | InotifyConstants.IN_ONESHOT
READ = InotifyConstants.IN_ACCESS | InotifyConstants.IN_ONESHOT
OPENED_OR_READ = OPENED | READ
CLOSED_BY_READER = InotifyConstants.IN_CLOSE_NOWRITE | InotifyConstants.IN_ONESHOT
_HEAD = struct.Struct("iIII")
_MOST_BYTES = 256 * 1024


class Watches:
    """Calls what belongs to a watch. A one-shot watch calls once, and is gone by then.

    A call may come without its cause, when the kernel had no room for all that happened.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._file = inotify_init()
        if self._file < 0:
            raise OSError(get_errno(), os.strerror(get_errno()))
        os.set_inheritable(self._file, False)
        os.set_blocking(self._file, False)
        self._calls: dict[int, tuple[int, Callable[[], None]]] = {}
        loop.add_reader(self._file, self.deliver)

    def add(self, path: str, what: int, call: Callable[[], None]) -> int:
        """Watch, and return the watch; a second one on a thing replaces the first. Raises OSError."""
        watch: int = inotify_add_watch(self._file, os.fsencode(path), what)
        if watch < 0:
            raise OSError(get_errno(), os.strerror(get_errno()), path)
        self._calls[watch] = what, call
        return watch

    def add_open(self, file: int, what: int, call: Callable[[], None]) -> int:
        """Watch what is open as `file`, whatever has its name. Raises OSError."""
        return self.add(f"/proc/self/fd/{file}", what, call)

    def forget(self, watch: int) -> None:
        """End a watch; one that has ended is left alone."""
        if self._calls.pop(watch, None) is not None:
            inotify_rm_watch(self._file, watch)

    def deliver(self) -> None:
        """Make the calls for all that has happened so far."""
        try:
            raw = os.read(self._file, _MOST_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(raw):
            watch, what, _, length = _HEAD.unpack_from(raw, at)
            at += _HEAD.size + length
            known, call = self._calls.get(watch, (0, None))
            if what & InotifyConstants.IN_Q_OVERFLOW:
                self._call_all()
            elif call is None:
                continue
            elif what & InotifyConstants.IN_IGNORED:
                # Before that the kernel may still be about to end a one-shot watch, and with it a new one.
                del self._calls[watch]
                call()
            elif not known & InotifyConstants.IN_ONESHOT:
                call()

    def _call_all(self) -> None:
        for watch, (what, call) in [*self._calls.items()]:
            if what & InotifyConstants.IN_ONESHOT:
                self.forget(watch)
            call()
