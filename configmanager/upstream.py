"""The server, as the manager sees it: found anew whenever it has to be, asked no more than it allows."""

from __future__ import annotations

import json
import time

from configmanager.node_images import Images
from configmanager.takeover import Link, connect
from configmanager.watch import Waiting, Watch
from host.events import Events
from host.http import HttpClient, http_of
from host.http_lines import HttpTimeouts
from host.refusals import Refusals
from host.report import ServerSink
from host.run import Runner
from host.server import AuthenticationRefused
from wire.changes import WAIT_SECONDS, ChangesKey
from wire.errors import BootError
from wire.handoff import Handoff
from wire.messages import RunLevel
from wire.structure import MalformedMessage

TOLERATED_SECONDS = 30.0
# The server answers when it has waited for so long; after that it has been lost on the way.
PATIENT = HttpTimeouts(silence=WAIT_SECONDS + 25, drip_seconds=2 * WAIT_SECONDS)


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
        watch: Watch | None = None,
    ) -> None:
        self._run = run
        self._events = events
        self._left = left
        self._sink = sink
        self._images = images
        self._refusals = refusals
        self._watch = watch
        self._watching: HttpClient | None = None
        self._link: Link | None = None

    def fetch(self) -> object:
        """GetSlivers. Raises what connect() and ServerClient.call() raise, MalformedMessage, CallsPaused."""
        if self._watch is not None:
            self._watch.set(None)
        self._refusals.gate()
        try:
            link = self._link or self._connect()
            reply = plain_of(link.client.call("GetSlivers", {"form": "json"}))
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

    def watch(self, generation: int) -> None:
        """Let the watch wake the manager when the server has another generation than this one."""
        if self._watch is None or self._watching is None or self._link is None or not generation:
            return
        configuration = self._link.configuration
        key = ChangesKey.derive(configuration.key, configuration.node_id)
        self._watch.set(Waiting(self._watching, key, generation))

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
        self._watching = http_of(link.configuration, timeouts=PATIENT)
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


def plain_of(answer: object) -> object:
    """Return the reply as plain data, as which other servers give it anyway. Raises MalformedMessage."""
    if not isinstance(answer, str):
        return answer
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"GetSlivers: {error}") from None
