"""Reports: the server gets one when a person asks, and once by itself when a failure leads to debug mode."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from bootmanager.engine import Engine
from bootmanager.machine import State
from bootmanager.plan import steps_for
from bootmanager.remembered import remembered
from bootmanager.report import make_report
from bootmanager.report_place import write_to, write_to_stick
from host.ports import Host
from host.server import ServerClient
from host.texts import _
from hwdetect.media import Media
from steps.base import Facts
from wire.errors import BootError, TransientError
from wire.reports import METHOD

_NICE = 10
# What needs no network, so that a report can be written where there is none.
_LOCAL = ("detect_hardware", "read_configuration", "open_cache", "open_journal")


def send_report(client: ServerClient, archive: bytes, cause: BootError | None) -> int:
    """Send an archive and return the number that the server gave it. Raises what ServerClient.call does."""
    return int(client.call(METHOD, {"archive": archive, "code": cause.code if cause is not None else ""}))


def report_now(host: Host, place: Path | None, *, stick: bool) -> str:
    """Make a report; write it to `place` or onto the stick, else send it. Returns what became of it.

    What cannot be learnt of this machine is in the report as its cause. Raises what prevents the report.
    """
    engine, cause = Engine(host), None
    elsewhere = place is not None or stick
    try:
        engine.execute([step for step in steps_for(State.AUTO) if step.name in _LOCAL or not elsewhere])
    except BootError as error:
        cause = error
    facts = engine.facts
    media, client = facts.get(Media), facts.get(ServerClient)
    if media is None or (client is None and not elsewhere):
        # Without them steps have failed: the node's own media, never to be written, or the server.
        raise cause or RuntimeError("neither media nor a server, and no reason")
    details = remembered(facts, host.run)
    known = facts.plus(details) if details is not None else facts
    archive = make_report(host, known, state=State.AUTO, cause=cause)
    if place is not None:
        return _("written: {place}", place=write_to(place, archive, media))
    if client is None or stick:
        return _("written: {place}", place=write_to_stick(host.run, archive, media))
    number = send_report(client, archive, cause)
    return _("sent: report {number}, {size} bytes", number=number, size=len(archive))


class FailureReport:
    """Sends one report a boot. Debug mode does not wait for it, and nothing fails with it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._done = False

    def begin(self, facts: Facts, state: State, cause: BootError) -> None:
        """Send what is known of a failure, unless one was sent or the server was not reached."""
        client = facts.get(ServerClient)
        if self._done or client is None:
            return
        self._done = True
        threading.Thread(
            target=self.send, args=(client, facts, state, cause), name="failure-report", daemon=True
        ).start()

    def send(self, client: ServerClient, facts: Facts, state: State, cause: BootError) -> None:
        """Make the report and send it; tell how that ended."""
        tell = self._host.events.tell
        # Of this thread only, and of what it runs: the screen and ssh come first (nice(2), Linux).
        os.nice(_NICE)
        try:
            archive = make_report(self._host, facts, state=state, cause=cause)
            number = send_report(client, archive, cause)
        except BootError as error:
            # The next failure tries again where that may help.
            self._done = not isinstance(error, TransientError)
            tell("report.unsent", code=error.code, detail=error.detail)
        else:
            tell("report.sent", id=number, size_bytes=len(archive))
