"""The command line. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import faulthandler
import json
import logging
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from configmanager import passes, plugins, show
from configmanager.alone import DAEMON, Busy, alone, ask, daemon
from configmanager.api import shell
from configmanager.api import start as api
from configmanager.api.node import NodeSide
from configmanager.api.waking import Waker
from configmanager.backends.base import Backend, Node
from configmanager.backends.slivers import Slivers
from configmanager.clock import Clock
from configmanager.converge import Pass, planned_by
from configmanager.decisions import Decisions
from configmanager.manager import Manager
from configmanager.node_images import Images
from configmanager.passes import Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records, unexpired
from configmanager.status import Status
from configmanager.takeover import NotTakenOver, read_handoff, ticket_key
from configmanager.told import EVENTS, MOST_BYTES, journal, read_events
from configmanager.upstream import Upstream
from configmanager.watch import Watch
from host import unpacked
from host.commands import Commands, format_option
from host.events import Event, Events, LineFile
from host.journal import Journal
from host.options import load_options
from host.refusals import Refusals
from host.report import ServerSink
from host.run import Runner
from host.unpacked import Unpacked
from images.manifest import SignedImage
from wire.errors import BootError, InternalError
from wire.handoff import Handoff
from wire.slivers import NodeSlivers
from wire.structure import MalformedMessage, structure_json, unstructure

PROGRAM = "configmanager"
JOURNAL = Path("/var/lib/configmanager/journal.jsonl")
FLUSH_SECONDS = 10.0


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Bring this node into its roles: slivers and services."""


@main.command()
def run() -> None:
    """Take over from bootmanager and keep the node as the server says; what the unit runs."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Where it hangs, when the unit's watchdog ends it.
    faulthandler.enable()
    # Who asks for a pass before there can be one gets the first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sink = ServerSink()
    events = Events(PROGRAM, (LineFile(EVENTS, MOST_BYTES), sink, _show_event))
    try:
        with alone(DAEMON):
            node = _assembled(events, sink, Watch(lambda: manager.poll_now()))
            manager = node.manager
            signal.signal(signal.SIGTERM, lambda *_: manager.stop())
            signal.signal(signal.SIGHUP, lambda *_: manager.poll_now())
            _open_api(node, events)
            manager.run(Reboots(), _reboot, passes.keep)
    except BootError as error:
        _tell(events, error)
        raise
    except Exception as error:
        _tell(events, InternalError(f"{type(error).__name__}: {error}, at {_place(error)}"))
        raise
    finally:
        sink.flush(FLUSH_SECONDS)


@main.command()
@click.option(
    "--older", is_flag=True, help="Take the answer though it is older than what is known; without the daemon."
)
@format_option
def apply(older: bool, form: str) -> None:
    """Ask the server now, make it so, and say what failed: by the daemon, where it runs."""
    try:
        with alone("apply"):
            outcome = _apply(form, older=older)
    except Busy:
        process = daemon()
        if process and older:
            raise click.UsageError("stop the daemon first: systemctl stop configmanager") from None
        if not process:
            raise
        outcome = ask(process, _follow(form))
    if form == "json":
        click.echo(
            json.dumps({"failed": unstructure(list(outcome.failed)), "reboot": outcome.reboot}, indent=1)
        )
    else:
        if outcome.failed:
            click.echo(show.failures(unstructure(list(outcome.failed))))
        click.echo(f"{outcome.done} done, {len(outcome.failed)} failed")
        if outcome.reboot:
            click.echo(show.paragraph("reboot: ", outcome.reboot, 8))
    raise SystemExit(1 if outcome.failed else 0)


@main.command()
@format_option
def plan(form: str) -> None:
    """Say what the next pass would do by the configuration that is known, and change nothing.

    Exit status 1 if a backend cannot say it.
    """
    desired, looked = _desired(), Pass()
    planned = {backend.name: planned_by(backend, desired, looked) for backend in _backends()}
    if looked.failed:
        click.echo(show.failures(unstructure(looked.failed)), err=True)
    if form == "json":
        rows = {
            name: [{"verb": str(item.verb), "name": item.name, "reason": item.reason} for item in actions]
            for name, actions in planned.items()
        }
        click.echo(json.dumps(rows, indent=1))
        raise SystemExit(1 if looked.failed else 0)
    lines = [
        (name, str(item.verb), item.name, item.reason)
        for name, actions in planned.items()
        for item in actions
    ]
    if lines or not looked.failed:
        click.echo(show.table(lines, ("BACKEND", "DOES", "NAME", "BECAUSE IT")) if lines else "nothing to do")
    raise SystemExit(1 if looked.failed else 0)


@main.command()
@format_option
def status(form: str) -> None:
    """Say what the node shall run and what runs."""
    found = Status.look(_backends(), Records(), Reboots())
    click.echo(json.dumps(found.to_plain(), indent=1) if form == "json" else found.to_text())


@main.command()
@click.argument("name", default="")
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
@format_option
def logs(name: str, lines: int, form: str) -> None:
    """Show what happened since the node booted; of NAME, a backend or a thing, also what its unit said."""
    told = [
        event
        for event in read_events(EVENTS)
        if not name or name in (event.get("name"), event.get("backend"))
    ]
    units = [unit for backend in _backends() if name and (unit := backend.unit(name))]
    if name and not told and not units:
        raise click.ClickException(f"nothing was told of {show.printable(name)}")
    said = {unit: journal(Runner(), unit, lines) for unit in units}
    if form == "json":
        click.echo(json.dumps({"events": told[-lines:], "journal": said}, indent=1))
        return
    for event in told[-lines:]:
        click.echo(show.event_line(event))
    for unit, text in said.items():
        click.echo(f"-- {unit}")
        click.echo(show.printable(text) or "it said nothing")


@main.command()
def release() -> None:
    """Let backends reboot the node again after their reboots were stopped, and forget their count."""
    stopped = Reboots().release()
    click.echo(
        "reboots are allowed again; `configmanager apply` goes on" if stopped else "nothing was stopped"
    )


@main.command()
@click.argument("method")
@click.argument("arguments", nargs=-1)
def call(method: str, arguments: tuple[str, ...]) -> None:
    """Make a call of the node's API: its name, then its arguments; `configmanager call Help` lists them.

    A list is given as JSON, and "-" is standard input.
    """
    raise SystemExit(shell.call([method, *arguments]))


@main.command()
@format_option
def verify(form: str) -> None:
    """Compare this system with its image: every file's content, owner, mode, time and attributes.

    What bootmanager and people have changed since is listed too; files that no image has are not. Exit
    status 1 if there is anything.
    """
    runner = Runner()
    images = Images(runner, Events(PROGRAM))
    found = list(images.compare(_installed_image(), Path("/")))
    if form == "json":
        click.echo(json.dumps([{"path": each.path, "differs": each.what} for each in found], indent=1))
    else:
        for each in found:
            click.echo(f"/{each.path}: {', '.join(each.what)}")
        click.echo(f"{len(found)} differ from the image")
    raise SystemExit(1 if found else 0)


def _installed_image() -> SignedImage:
    path = Path("/") / unpacked.PATH
    try:
        known = structure_json(path.read_bytes(), Unpacked)
    except FileNotFoundError:
        raise NotTakenOver(f"there is no {path}") from None
    except MalformedMessage as error:
        raise MalformedMessage(f"{path}: {error.detail}") from None
    return SignedImage(known.name, known.manifest, None)


def _apply(form: str, *, older: bool) -> Outcome:
    """Make one pass here."""
    sink = ServerSink()
    events = Events(PROGRAM, (sink,))
    if form == "text":
        events.add_sink(_show_event)
    manager = _assembled(events, sink).manager
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    manager.refresh(older=older)
    desired = manager.desired()
    made = manager.converge(desired) if desired is not None else Pass()
    sink.flush(FLUSH_SECONDS)
    ended = time.clock_gettime(time.CLOCK_BOOTTIME)
    reason = "; ".join(f"{wish.key}: {wish.reason}" for wish in made.wishes)
    return Outcome(began, ended, True, made.done, (*made.failed, *manager.refused()), reason)


def _reboot() -> None:
    Runner()(["systemctl", "reboot"])


def _follow(form: str) -> Callable[[], None]:
    """Return what shows the daemon's events from now on, as they come."""
    seen = len(read_events(EVENTS))

    def more() -> None:
        nonlocal seen
        known = read_events(EVENTS)
        for event in known[seen:]:
            if form == "text":
                click.echo(show.event_line(event))
        # Fewer than before, where the older ones were dropped meanwhile.
        seen = len(known)

    return more


@dataclass(frozen=True)
class _Assembled:
    """The daemon's parts, of which some are the API's too."""

    manager: Manager
    backends: tuple[Backend, ...]
    records: Records
    decisions: Decisions
    left: Handoff


def _assembled(events: Events, sink: ServerSink, watch: Watch | None = None) -> _Assembled:
    left = read_handoff()
    events.run_id = left.run_id
    options = load_options()
    if options.events:
        events.add_sink(LineFile(Path(options.events)))
    events.tell("program.started", hostname=left.hostname)
    runner = Runner()
    images = Images(runner, events, shares=options.neighbours == "on")
    backends = plugins.load(Node(runner, events, images.unpack, bring=images.bring))
    server = Upstream(runner, events, left, sink, images, Refusals(Journal(JOURNAL)), watch)
    records, decisions = Records(), Decisions()
    if (damage := decisions.mend()) is not None:
        _tell(events, damage)
    clock = Clock(records.newest_time)
    manager = Manager(backends, records, server, events, clock, decisions.applied)
    return _Assembled(manager, backends, records, decisions, left)


def _open_api(parts: _Assembled, events: Events) -> None:
    """Answer calls of this node's slices, if it is one that has slivers."""
    slivers = next((backend for backend in parts.backends if isinstance(backend, Slivers)), None)
    if slivers is None:
        return
    runner = Runner()
    node = NodeSide(
        parts.manager,
        parts.records,
        parts.decisions,
        slivers,
        partial(ticket_key, runner, events, parts.left),
        Waker(parts.manager.poll_now),
        events,
    )
    try:
        api.serve(node, runner)
    except api.ApiUnavailable as error:
        _tell(events, error)


def _backends() -> tuple[Backend, ...]:
    runner, events = Runner(), Events(PROGRAM)
    images = Images(runner, events)
    return plugins.load(Node(runner, events, images.unpack, bring=images.bring))


def _desired() -> NodeSlivers:
    records = Records()
    record = records.load()
    if record is None:
        raise click.ClickException("there is no configuration from the server yet")
    return Decisions().applied(unexpired(record, Clock(records.newest_time).now()))


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _tell(events: Events, error: BootError) -> None:
    events.tell("error", code=error.code, title=error.title, detail=error.detail, hint=error.advice)


def _show_event(event: Event) -> None:
    """One line for people; the unit sends it to the console."""
    data = event.data
    if event.event == "error":
        text = f"{data['title']}: {data['detail']} [{data['code']}] {data['hint']}"
    else:
        text = " ".join([event.event, *(f"{key}={value}" for key, value in data.items())])
    click.echo(f"{PROGRAM}: {text}")
