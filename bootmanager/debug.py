"""Debug mode: say what failed, let technicians in, and go on asking the server for a new intent."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

from bootmanager.engine import Engine
from bootmanager.machine import State
from bootmanager.plan import steps_for
from bootmanager.remembered import remembered
from bootmanager.sshd import start_sshd
from bootmanager.view import error_screen
from host.events import Events
from host.journal import Journal
from host.network import NetworkUp
from host.refusals import CallsPaused, Refusals
from host.server import ServerClient
from wire.errors import BootError, CommandError
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 60.0
RETRY_SIGNAL = signal.SIGUSR1


class DebugMode:
    """One stay in debug mode after another."""

    def __init__(self, engine: Engine, asked: Callable[[Engine], None]) -> None:
        """`asked` is called with the engine of each successful check-in, to take its connection over."""
        self._engine = engine
        self._asked = asked
        self._person = threading.Event()
        self._shown = ("", "")
        self._where: tuple[str, ...] = ()
        self._configuration: NodeConfiguration | None = None

    def listen(self) -> None:
        """Let `bootmanager retry` end a stay."""
        signal.signal(RETRY_SIGNAL, lambda *_: self._person.set())

    def stay(self, cause: BootError | None, was: State) -> str:
        """Stay until the operator or a person wants something else; return why."""
        # What is known of before, without a server, is no reason to wait for the operator to change it.
        asked = ServerClient in self._engine.facts
        details = self._engine.facts.get(NodeDetails) if asked else None
        self._configuration = self._engine.facts.get(NodeConfiguration)
        self._person.clear()
        self._show(cause, was)
        seconds = FIRST_SECONDS
        while True:
            # Jitter: a site whose server was away must not come back as one.
            if self._person.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - not a secret
                self._forget_refusals()
                return "a person asked for another try"
            seconds = min(seconds * 2, LONGEST_SECONDS)
            found = self._ask(was)
            if found is None:
                continue
            if details is None:
                return "the server answers now"
            if found.generation != details.generation and found.boot_state is not TargetState.DBG:
                return f"the operator asked for {found.boot_state}"

    def _ask(self, was: State) -> NodeDetails | None:
        """Check in quietly, by the same steps as at the start; say so when something else stops it now."""
        engine = Engine(replace(self._engine.host, events=Events("bootmanager")))
        try:
            engine.execute(steps_for(State.AUTO))
        except CallsPaused:
            inserted = engine.facts.get(NodeConfiguration)
            if inserted != self._configuration:
                # Another key medium: a person acted. Once for each, or a wrong one would be tried for ever.
                self._configuration = inserted
                self._forget_refusals()
            return None
        except BootError as error:
            self._engine.host.events.tell("debug.asked", code=error.code, detail=error.detail)
            if (error.code, error.detail) != self._shown:
                # Somebody is at the machine and has changed something: another stick, another cable.
                self._shown = (error.code, error.detail)
                self._engine.host.console.say(error_screen(state=was, cause=error, where=self._where))
            return None
        self._asked(engine)
        return engine.facts[NodeDetails]

    def _show(self, cause: BootError | None, was: State) -> None:
        host = self._engine.host
        where = []
        try:
            known = remembered(self._engine.facts, host.run)
            fingerprint = start_sshd(host.run, known.ssh_keys if known else ())
            up = self._engine.facts.get(NetworkUp)
            where.append(
                f"Get in      : ssh root@{up.address if up else '(no address)'}   host key {fingerprint}"
            )
        except CommandError as error:
            where.append(f"No ssh      : {error}")
        where.append("Go on       : set a state at the server, or `bootmanager retry` by ssh")
        host.events.tell("debug.entered", was=str(was), code=cause.code if cause else "", hints=where)
        self._shown = (cause.code, cause.detail) if cause else ("", "")
        self._where = tuple(where)
        host.console.say(error_screen(state=was, cause=cause, where=self._where))

    def _forget_refusals(self) -> None:
        journal = self._engine.facts.get(Journal)
        if journal is not None:
            Refusals(journal).cleared()
