"""The life of one boot: from "what is wanted?" to the installed system or debug mode."""

from __future__ import annotations

from bootmanager.debug import DebugMode
from bootmanager.engine import Engine
from bootmanager.machine import NodeMachine, State
from bootmanager.plan import steps_for
from bootmanager.preview import plan_text
from bootmanager.remembered import remember, remembered
from host.boot import Chain, leave
from host.http import ServerUntrusted
from host.mark import NotInstalled, read_mark
from host.memory import PeakMemory
from host.ports import Host
from host.report import ServerSink
from host.server import ServerClient
from hwdetect.inventory import Inventory, describe
from images.neighbours import Neighbours
from steps.base import Facts, Step
from wire.errors import BootError, TransientError
from wire.messages import NodeDetails, RunLevel
from wire.nodeconf import NodeConfiguration

FLUSH_SECONDS = 20.0


class Program:
    """Walks the machine's states; each is one plan that the engine executes."""

    def __init__(self, host: Host, sink: ServerSink) -> None:
        self._host = host
        self._sink = sink
        self._engine = Engine(host)
        self._forced = host.options.state
        self._machine = NodeMachine(self._entered)
        self._debug = DebugMode(self._engine, self._connect)
        self._debug.listen()
        self._memory = PeakMemory()
        self._memory.start()

    def run(self) -> None:
        """Return when the machine was handed over; every failure leads to debug mode and on from there."""
        while self._machine.state is not State.CHAINED:
            was = self._machine.state
            try:
                self._advance(was)
            except BootError as error:
                self.fail(error)

    def fail(self, cause: BootError | None) -> None:
        """Tell a failure everywhere, stay in debug mode, and return when released from it."""
        was = self._machine.state
        if cause is not None:
            self._host.events.tell(
                "error",
                state=str(was),
                code=cause.code,
                title=cause.title,
                detail=cause.detail,
                hint=cause.advice,
            )
            if was is not State.DBG:
                self._machine.fire("fail", str(cause))
        near = self._engine.facts.get(Neighbours)
        if near is not None:
            # Their memory and their port are not for debug mode; the next try begins anew.
            near.close()
        self._report_run_level(RunLevel.SAFEBOOT if cause is None else RunLevel.FAILBOOT)
        reason = self._debug.stay(cause, was)
        # The next try starts from nothing: what was true before may be why it failed.
        self._engine.facts = Facts()
        self._forced = "auto"
        self._machine.fire("release", reason)

    def _advance(self, state: State) -> None:
        match state:
            case State.AUTO:
                self._decide()
            case State.NEW:
                self._show_plan()
                self._engine.execute(self._steps(state))
                self._machine.fire("confirmed", "the technician said yes")
            case State.INST | State.RINS:
                self._report_run_level(RunLevel.REINSTALL)
                self._engine.execute(self._steps(state))
                self._host.events.tell("peak", memory_bytes=self._memory.peak)
                self._machine.fire("installed", "the installation is complete")
            case State.BOOT:
                self._engine.execute(self._steps(state))
                self._chain()
            case State.DBG:
                self.fail(None)

    def _decide(self) -> None:
        try:
            self._engine.execute(self._steps(State.AUTO))
        except (TransientError, ServerUntrusted) as error:
            # Who answers in the server's place has not shown anything but that the server is away.
            if self._may_boot_alone():
                self._machine.fire("server_away", f"the disk holds this node's installation; {error}")
                return
            details = self._may_install_alone()
            if details is None:
                raise
            # The details are what is known; the step that verifies images decides whether they still count.
            self._engine.facts = self._engine.facts.plus(details)
            self._host.events.run_id = details.run_id
            wanted = details.boot_state if self._forced == "auto" else self._forced
            self._machine.fire(f"want_{wanted}", f"from the cache; {error}")
            return
        details = self._engine.facts[NodeDetails]
        self._connect(self._engine)
        newest = remember(self._engine.facts)
        if newest > details.generation:
            # A server restored from a backup. What it says now is what counts; the copy stays as it is.
            self._host.events.tell("configuration.older", generation=details.generation, known=newest)
        self._host.events.run_id = details.run_id
        if self._forced == "auto":
            self._machine.fire(f"want_{details.boot_state}", f"the server wants {details.boot_state}")
        else:
            self._machine.fire(f"want_{self._forced}", "asked for at the start")

    def _may_boot_alone(self) -> bool:
        """Say whether the disk can be booted without the server: it is wanted, installed and ours."""
        configuration = self._engine.facts.get(NodeConfiguration)
        if self._forced not in ("auto", "boot") or configuration is None:
            return False
        try:
            return read_mark(self._host.run).node_id == configuration.node_id
        except NotInstalled:
            return False

    def _may_install_alone(self) -> NodeDetails | None:
        """Return what was last asked of this node, where that is an installation that needs nobody.

        A person at the console may ask for one instead, of the last configuration known.
        """
        details = remembered(self._engine.facts, self._host.run)
        wanted = self._forced
        if details is not None and wanted == "auto":
            wanted = str(details.boot_state)
        return details if wanted in (State.INST, State.RINS) else None

    def _show_plan(self) -> None:
        self._host.console.say(describe(self._engine.facts[Inventory]))
        self._host.console.say(plan_text(self._engine.preview(self._steps(State.INST))))

    def _chain(self) -> None:
        how = self._engine.facts[Chain].how
        self._host.events.tell("chain.started", how=str(how))
        self._machine.fire("chain", f"the installed system starts by {how}")
        self._sink.flush(FLUSH_SECONDS)
        leave(self._host.run, how)

    def _steps(self, state: State) -> tuple[Step, ...]:
        return steps_for(state, self._engine.facts.kinds())

    def _connect(self, engine: Engine) -> None:
        self._sink.connect(engine.facts[ServerClient])

    def _entered(self, state: State, reason: str) -> None:
        self._host.events.tell("state.entered", state=str(state), reason=reason)

    def _report_run_level(self, level: RunLevel) -> None:
        self._host.events.tell("runlevel", run_level=str(level))
        client = self._engine.facts.get(ServerClient)
        if client is None:
            return
        try:
            client.call("ReportRunlevel", {"run_level": str(level)})
        except BootError as error:
            # Whatever answers there, a 404 or a page: it must not be what keeps the node out of debug mode.
            self._host.events.tell("runlevel.unreported", code=error.code, detail=error.detail)
