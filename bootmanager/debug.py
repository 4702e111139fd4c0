"""Debug mode: say what failed, let technicians in, and go on asking the server for a new intent."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from bootmanager.engine import Engine
from bootmanager.machine import State
from bootmanager.menu_run import ConsoleMenu
from bootmanager.plan import steps_for
from bootmanager.remembered import remembered
from bootmanager.sshd import start_sshd
from bootmanager.standing import Standing, screen
from bootmanager.wish import AUTO, take_wish
from host.alone import alone
from host.events import Events
from host.http import AnswerTooLong, NotAtServer, ServerUntrusted
from host.journal import Journal
from host.network import NetworkUp
from host.refusals import CallsPaused, Refusals
from host.server import ServerClient, ServerNotAuthentic
from host.texts import _, error_text
from host.this_boot import interfaces, network_lines
from hwdetect.media import Media
from wire.errors import BootError, CommandError, TransientError
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 60.0
# A node that fails again and again for what may pass waits longer each time.
LONGEST_REST_SECONDS = 600.0
# Who answers in the server's place has not shown anything but that the server is away.
SERVER_AWAY = (TransientError, ServerUntrusted, ServerNotAuthentic, NotAtServer, AnswerTooLong)
RETRY_SIGNAL = signal.SIGUSR1


@dataclass(frozen=True)
class Released:
    """Why a stay ended, and what was asked for: a state, AUTO as the server wants, None for nothing new."""

    reason: str
    state: str | None


class DebugMode:
    """One stay in debug mode after another."""

    def __init__(self, engine: Engine, asked: Callable[[Engine], None]) -> None:
        """`asked` is called with the engine of each successful check-in, to take its connection over."""
        self._engine = engine
        self._asked = asked
        self._person = threading.Event()
        self._shown = Standing(0, "")
        self._password = ""
        self._rest_seconds = FIRST_SECONDS
        self._configuration: NodeConfiguration | None = None

    def listen(self) -> None:
        """Let the menu and `bootmanager retry` end a stay."""
        signal.signal(RETRY_SIGNAL, lambda *_: self._person.set())

    def stay(self, cause: BootError | None, was: State) -> Released:
        """Stay until the operator or a person wants something else; return what."""
        host = self._engine.host
        self._person.clear()
        take_wish(host.state_dir)
        self._configuration = self._engine.facts.get(NodeConfiguration)
        self._show(self._standing(cause, was))
        menu = ConsoleMenu(host, self._shown.stay, lambda: self._password)
        menu.start()
        released = self._released(cause, was)
        ended = _("The node goes on: {reason}.", reason=released.reason)
        # Somebody may be erasing a dongle.
        with alone(host.state_dir):
            replace(self._shown, ended=ended).save(host.state_dir)
        menu.leave()
        return released

    def _released(self, cause: BootError | None, was: State) -> Released:
        # What is known of before, without a server, is no reason to wait for the operator to change it.
        asked = ServerClient in self._engine.facts
        details = self._engine.facts.get(NodeDetails) if asked else None
        may_pass = details is None or isinstance(cause, SERVER_AWAY)
        rest = self._rest(details, cause)
        seconds = FIRST_SECONDS
        while True:
            rest -= seconds
            # Jitter: a site whose server was away must not come back as one.
            if self._person.wait(seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - not a secret
                self._forget_refusals()
                state = take_wish(self._engine.host.state_dir)
                if state == AUTO:
                    return Released(_("a person asked for another try"), AUTO)
                return Released(_("a person asked for {state}", state=state), state)
            seconds = min(seconds * 2, LONGEST_SECONDS)
            with alone(self._engine.host.state_dir):
                found = self._ask(was)
            if found is None:
                continue
            self._password = found.console_password
            is_new = details is not None and found.generation != details.generation
            if is_new and found.boot_state is not TargetState.DBG:
                return Released(_("the operator asked for {state}", state=found.boot_state), AUTO)
            if may_pass and rest <= 0:
                return Released(_("the server answers now"), None)

    def _rest(self, details: NodeDetails | None, cause: BootError | None) -> float:
        """Return the seconds before another try, more each time that a server answers and does not serve."""
        if details is None or not isinstance(cause, SERVER_AWAY):
            self._rest_seconds = FIRST_SECONDS
            return FIRST_SECONDS
        seconds = self._rest_seconds
        self._rest_seconds = min(seconds * 2, LONGEST_REST_SECONDS)
        return seconds

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
            if (error.code, error.detail) != (self._shown.code, self._shown.detail):
                # Somebody is at the machine and has changed something: another stick, another cable.
                self._show(_failed(replace(self._shown, was=str(was)), error, engine.failed))
                self._engine.host.console.say(screen(self._shown))
            return None
        self._asked(engine)
        return engine.facts[NodeDetails]

    def _show(self, standing: Standing) -> None:
        """Let menus show it from now on."""
        self._shown = standing
        standing.save(self._engine.host.state_dir)

    def _standing(self, cause: BootError | None, was: State) -> Standing:
        host, facts = self._engine.host, self._engine.facts
        shown = Standing(self._shown.stay + 1, str(was), ssh=_("(no ssh)"))
        known = None
        try:
            known = remembered(facts, host.run)
            up = facts.get(NetworkUp)
            shown = replace(
                shown,
                addresses=interfaces(host.run),
                ssh=f"ssh root@{up.address}" if up else _("by ssh, once the network is up"),
                host_key=start_sshd(host.run, known.ssh_keys if known else ()),
            )
        except CommandError as error:
            shown = replace(shown, ssh=_("no ssh: {error}", error=error_text(error)))
        media = facts.get(Media)
        if known is not None:
            self._password = known.console_password
        if self._configuration is not None:
            name = known.hostname if known else self._configuration.hostname
            shown = replace(shown, node=f"{self._configuration.node_id} {name}")
        if media is not None and media.candidates:
            shown = replace(shown, network=network_lines(media.candidates[0].text))
        host.events.tell(
            "debug.entered", was=str(was), code=cause.code if cause else "", hints=[shown.ssh, shown.host_key]
        )
        return _failed(shown, cause, self._engine.failed) if cause else shown

    def _forget_refusals(self) -> None:
        journal = self._engine.facts.get(Journal)
        if journal is not None:
            Refusals(journal).cleared()


def _failed(standing: Standing, cause: BootError, step: str) -> Standing:
    return replace(
        standing, step=step, code=cause.code, title=cause.title, detail=cause.detail, hint=cause.advice
    )
