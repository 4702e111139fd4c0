"""The two kinds of channels: asking by .in and reading .out (rw), or reading .out alone (r)."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress

from configmanager.vsys.acl import Mode
from configmanager.vsys.catalog import Offer
from configmanager.vsys.channel import Channel, Owner, Site
from configmanager.vsys.folder import has_reader, waiting_bytes
from configmanager.vsys.watches import CLOSED_BY_READER, OPENED, OPENED_OR_READ, READ


def channel_for(site: Site, owner: Owner, offer: Offer) -> Channel:
    """Return the channel for what a slice is offered."""
    return (WriteChannel if offer.mode is Mode.WRITE else ReadChannel)(site, owner, offer)


class WriteChannel(Channel):
    """Bytes in .in start an instance, unless there is one, which gets them.

        idle    -- bytes in .in -->  running
        running -- it ends -->       idle, with what it said waiting in .out

    To the instance neither FIFO has an end: it stays while the slice's programs come and go.
    """

    _asked_bytes = 0
    _was_read = False
    _was_opened = False

    def _rest(self) -> None:
        # Open to write as well, it has no end: there is an event when there is something to read, else none.
        self._set_in(self._open(self._in_name, os.O_RDWR))
        self._site.loop.add_reader(self._in, self._asked)

    def _asked(self) -> None:
        self._site.loop.remove_reader(self._in)
        self._begin_instance()

    def _start(self) -> None:
        self._asked_bytes = waiting_bytes(self._in)
        self._drop_watches()
        if self._out < 0:
            with suppress(OSError):  # ENXIO where nobody waits to read.
                self._out = self._open(self._out_name, os.O_WRONLY)
        self._was_opened = self._out >= 0 and has_reader(self._out)
        with ExitStack() as stack:
            files = self._open_blocking(self._in_name, stack), self._open_blocking(self._out_name, stack)
            # One end of each stays open here, and no more: the other would hide that the slice has left.
            if self._out < 0:
                self._out = self._open(self._out_name, os.O_WRONLY)
            self._set_in(self._open(self._in_name, os.O_RDONLY))
            self._was_read = False
            self._once(self._in, READ, self._has_read)
            self._once(self._out, OPENED, self._has_opened)
            self._launch(files)

    def _has_read(self) -> None:
        self._was_read = True

    def _has_opened(self) -> None:
        self._was_opened = True

    def _ended(self) -> None:
        # What was read and opened until now is known now.
        self._site.watches.deliver()
        self._drop_watches()
        if not self._was_read:
            # It was started by these bytes and does not want any; they would start it for ever.
            with suppress(BlockingIOError):
                os.read(self._in, self._asked_bytes)
        self._rest()
        self._answer()

    def _answer(self) -> None:
        """Let who reads find the end, once somebody has come and nothing is left before it."""
        self._once(self._out, OPENED_OR_READ, self._fetched)
        if not waiting_bytes(self._out) and (self._was_opened or has_reader(self._out)):
            self._drop_watches()
            self._close_out()

    def _fetched(self) -> None:
        self._was_opened = True
        self._answer()

    def _open_blocking(self, name: str, stack: ExitStack) -> int:
        file = self._open(name, os.O_RDWR)
        stack.callback(os.close, file)
        os.set_blocking(file, True)
        return file


class ReadChannel(Channel):
    """Who opens .out starts an instance, unless there is one, whose output it gets.

        armed    -- .out is opened -->              running
        running  -- it ends, nobody reads -->       armed
        running  -- it ends, somebody reads -->     emptying
        emptying -- the reader has closed it -->    armed

    While it is being emptied nobody has it open to write, so that its reader finds an end.
    """

    def _rest(self) -> None:
        # Without a reader it can be opened to write by one only.
        both = self._open(self._out_name, os.O_RDWR)
        try:
            self._out = self._open(self._out_name, os.O_WRONLY)
        finally:
            os.close(both)
        self._await_reader()

    def _await_reader(self) -> None:
        self._once(self._out, OPENED, self._opened)
        if has_reader(self._out):
            self._drop_watches()
            self._begin_instance()

    def _opened(self) -> None:
        if has_reader(self._out):
            self._begin_instance()
        else:
            self._await_reader()

    def _start(self) -> None:
        try:
            output = self._open(self._out_name, os.O_WRONLY)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            self._await_reader()  # Who opened it has left.
            return
        with ExitStack() as stack:
            stack.callback(os.close, output)
            os.set_blocking(output, True)
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, nothing)
            self._launch((nothing, output))

    def _ended(self) -> None:
        self._once(self._out, CLOSED_BY_READER, self._rest)
        read = has_reader(self._out)
        self._close_out()
        if not read:
            self._drop_watches()
            self._rest()
