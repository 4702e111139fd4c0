"""The life of one boot: from "what is wanted?" to the installed system or debug mode."""

from __future__ import annotations

from bootmanager.debug import SERVER_AWAY, DebugMode
from bootmanager.engine import Engine
from bootmanager.machine import NodeMachine, State
from bootmanager.plan import MEDIUM_STEPS, steps_for, steps_named
from bootmanager.preview import plan_text
from bootmanager.remembered import remember, remembered
from bootmanager.send_report import FailureReport
from bootmanager.standing import load as load_standing
from host.boot import Chain, ChainHow, leave, unload_kernel
from host.mark import NotInstalled, read_mark
from host.memory import PeakMemory
from host.ports import Host
from host.report import ServerSink
from host.server import ServerClient
from host.texts import _, error_text
from hwdetect.inventory import Inventory, describe
from images.disk_record import DiskRecords
from images.neighbours import Neighbours
from steps.base import Facts, Step
from steps.update_medium import Untouched
from wire.errors import BootError, CommandError
from wire.messages import NodeDetails, RunLevel
from wire.nodeconf import NodeConfiguration

FLUSH_SECONDS = 20.0


class Program:
    """Walks the machine's states; each is one plan that the engine executes."""

    def __init__(self, host: Host, sink: ServerSink) -> None:
        self._host = host
        self._sink = sink
        self._engine = Engine(host)
        # The program may have been started again in this boot.
        if host.options.state == "auto" and load_standing(host.state_dir) is None:
            self._engine.facts = Facts((Untouched(),))
        self._forced = host.options.state
        self._machine = NodeMachine(self._entered)
        self._debug = DebugMode(self._engine, self._connect)
        self._debug.listen()
        self._report = FailureReport(host)
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
                self._machine.fire("fail", error_text(cause))
        near = self._engine.facts.get(Neighbours)
        if near is not None:
            # Their memory and their port are not for debug mode; the next try begins anew.
            near.close()
        self._report_run_level(RunLevel.SAFEBOOT if cause is None else RunLevel.FAILBOOT)
        if cause is not None:
            self._report.begin(self._engine.facts, was, cause)
        self._unload_kernel()
        released = self._debug.stay(cause, was)
        # The next try starts from nothing: what was true before may be why it failed.
        self._engine.facts = Facts()
        if released.state is not None:
            self._forced = released.state
        self._machine.fire("release", released.reason)

    def _advance(self, state: State) -> None:
        match state:
            case State.AUTO:
                self._decide()
            case State.NEW:
                self._show_plan()
                self._engine.execute(self._steps(state))
                self._machine.fire("confirmed", _("the technician said yes"))
            case State.INST | State.RINS:
                self._report_run_level(RunLevel.REINSTALL)
                self._engine.execute(self._steps(state))
                self._host.events.tell("peak", memory_bytes=self._memory.peak)
                # Nobody asked for it twice.
                self._forced = "auto"
                self._machine.fire("installed", _("the installation is complete"))
            case State.IMAGE:
                self._report_run_level(RunLevel.REINSTALL)
                self._engine.execute(self._steps(state))
                self._machine.fire("written", _("the disk holds the image"))
            case State.OTHER:
                self._engine.execute(self._steps(state))
                self._report_run_level(RunLevel.DISKIMAGE)
                self._tell_record()
                self._chain()
            case State.BOOT:
                self._engine.execute(self._steps(state))
                self._chain()
            case State.DBG:
                self.fail(None)

    def _decide(self) -> None:
        try:
            self._engine.execute(self._steps(State.AUTO))
        except SERVER_AWAY as error:
            details = self._may_install_alone()
            is_other = details is not None and self._wanted(details) is State.OTHER
            if not is_other and self._may_boot_alone():
                why = _("the disk holds this node's installation; {error}", error=error_text(error))
                self._machine.fire("server_away", why)
                return
            if details is None:
                raise
            # The details are what is known; the step that verifies images decides whether they still count.
            self._engine.facts = self._engine.facts.plus(details)
            self._host.events.run_id = details.run_id
            why = _("from the cache; {error}", error=error_text(error))
            self._machine.fire(f"want_{self._wanted(details)}", why)
            return
        details = self._engine.facts[NodeDetails]
        self._connect(self._engine)
        self._engine.execute(steps_named(MEDIUM_STEPS, self._engine.facts.kinds()))
        if Chain in self._engine.facts:
            self._chain()
            return
        newest = remember(self._engine.facts)
        if newest > details.generation:
            # A server restored from a backup. What it says now is what counts; the copy stays as it is.
            self._host.events.tell("configuration.older", generation=details.generation, known=newest)
        self._host.events.run_id = details.run_id
        wanted = self._wanted(details)
        reason = _("asked for at the start")
        if self._forced == "auto":
            reason = _("the server wants {state}", state=wanted)
        self._machine.fire(f"want_{wanted}", reason)

    def _wanted(self, details: NodeDetails) -> State:
        """Return the state that is wanted; what boots may be another system, ordered by the operator."""
        wanted = State(details.boot_state if self._forced == "auto" else self._forced)
        order = details.disk_image.id
        if wanted is not State.BOOT or not order:
            return wanted
        record = DiskRecords(self._engine.facts.plus(details), self._host.events).of(order)
        return State.OTHER if record is not None and record.whole else State.IMAGE

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
        """Return what was last asked of this node, where that is something that needs nobody.

        A person at the console may ask for it instead, of the last configuration known.
        """
        details = remembered(self._engine.facts, self._host.run)
        alone = (State.INST, State.RINS, State.IMAGE, State.OTHER)
        return details if details is not None and self._wanted(details) in alone else None

    def _show_plan(self) -> None:
        self._host.console.say(describe(self._engine.facts[Inventory]))
        self._host.console.say(plan_text(self._engine.preview(self._steps(State.INST))))

    def _chain(self) -> None:
        how = self._engine.facts[Chain].how
        self._host.events.tell("chain.started", how=str(how))
        why = _("what is on the disk starts by {how}", how=how)
        if how is ChainHow.MEDIUM:
            why = _("a newer boot medium starts in place of this one")
        self._machine.fire("chain", why)
        what = _("the server to take the last events")
        self._host.events.tell("wait.started", **{"for": what, "seconds": FLUSH_SECONDS})
        self._sink.flush(FLUSH_SECONDS)
        leave(self._host.run, how)

    def _unload_kernel(self) -> None:
        try:
            unload_kernel(self._host.run)
        except CommandError as error:
            self._host.events.tell("kexec.refused", detail=error.detail)

    def _tell_record(self) -> None:
        """Tell the server what is known of the other system's disk, if it was away when that was written."""
        facts = self._engine.facts
        records = DiskRecords(facts, self._host.events)
        record = records.of(facts[NodeDetails].disk_image.id)
        if record is not None:
            records.tell(record)

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
