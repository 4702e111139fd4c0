"""The server, as the manager sees it: found anew whenever it has to be, asked no more than it allows."""

from __future__ import annotations

import time

from configmanager.takeover import Images, Link, connect
from host.events import Events
from host.refusals import Refusals
from host.report import ServerSink
from host.run import Runner
from host.server import AuthenticationRefused
from wire.errors import BootError
from wire.handoff import Handoff
from wire.messages import RunLevel
from wire.slivers import NodeSlivers
from wire.structure import structure

TOLERATED_SECONDS = 30.0


class Upstream:
    """Calls of an installed node."""

    def __init__(
        self,
        run: Runner,
        events: Events,
        left: Handoff,
        sink: ServerSink,
        images: Images,
        refusals: Refusals,
    ) -> None:
        self._run = run
        self._events = events
        self._left = left
        self._sink = sink
        self._images = images
        self._refusals = refusals
        self._link: Link | None = None

    def fetch(self) -> NodeSlivers:
        """GetSlivers. Raises what connect() and ServerClient.call() raise, MalformedMessage, CallsPaused."""
        self._refusals.gate()
        try:
            link = self._link or self._connect()
            reply = structure(link.client.call("GetSlivers"), NodeSlivers)
        except AuthenticationRefused:
            self._refusals.refused()
            self._link = None
            raise
        except BootError:
            # The key medium may be another one, or the address may have changed, when it works again.
            self._link = None
            raise
        self._refusals.cleared()
        self._sink.connect(link.client)
        self._set_clock(link)
        self._images.refresh()
        return reply

    def report(self, level: RunLevel) -> None:
        """ReportRunlevel. Raises what fetch() raises."""
        link = self._link or self._connect()
        link.client.call("ReportRunlevel", {"run_level": str(level)})

    def _connect(self) -> Link:
        link = connect(self._run, self._events, self._left)
        # Learns the time, before the calls that judge certificates by it.
        link.client.open()
        self._set_clock(link)
        self._images.link = self._link = link
        return link

    def _set_clock(self, link: Link) -> None:
        """Follow the server's authenticated time: kexec leaves the machine with its own clock's."""
        if not link.client.server_time:
            return  # A classic server tells no time that could be trusted.
        now = link.client.server_now()
        off = now - time.time()
        if abs(off) > TOLERATED_SECONDS:
            time.clock_settime(time.CLOCK_REALTIME, now)
            self._events.tell("clock.set", off_seconds=round(off))
