"""The command line. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import fcntl
import json
import logging
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from configmanager import plugins
from configmanager.backends.base import Backend, Node
from configmanager.manager import Manager
from configmanager.records import Records, unexpired
from configmanager.takeover import Images, NotTakenOver, read_handoff
from configmanager.upstream import Upstream
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
from wire.errors import BootError, InternalError, TransientError
from wire.slivers import NodeSlivers
from wire.structure import MalformedMessage, structure_json

PROGRAM = "configmanager"
RUNTIME_FOLDER = Path("/run/configmanager")
JOURNAL = Path("/var/lib/configmanager/journal.jsonl")
FLUSH_SECONDS = 10.0


class Busy(TransientError):
    """Another configmanager is at work."""

    code = "configmanager-busy"
    title = "configmanager is at work already"
    hint = "`systemctl reload configmanager` makes the daemon ask the server at once."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Bring this node into its roles: slivers and services."""


@main.command()
def run() -> None:
    """Take over from bootmanager and keep the node as the server says; what the unit runs."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sink = ServerSink()
    events = Events(PROGRAM, (LineFile(RUNTIME_FOLDER / "events.jsonl"), sink, _show_event))
    try:
        with _alone():
            manager = _manager(events, sink)
            signal.signal(signal.SIGTERM, lambda *_: manager.stop())
            signal.signal(signal.SIGHUP, lambda *_: manager.poll_now())
            manager.run()
    except BootError as error:
        _tell(events, error)
        raise
    except Exception as error:
        _tell(events, InternalError(f"{type(error).__name__}: {error}, at {_place(error)}"))
        raise
    finally:
        sink.flush(FLUSH_SECONDS)


@main.command()
@format_option
def apply(form: str) -> None:
    """Ask the server once, make it so, and say what failed."""
    sink = ServerSink()
    events = Events(PROGRAM, (sink,))
    if form == "text":
        events.add_sink(_show_event)
    with _alone():
        manager = _manager(events, sink)
        manager.refresh()
        failed = manager.converge(_record())
    sink.flush(FLUSH_SECONDS)
    if form == "json":
        rows = [
            {"backend": item.backend, "name": item.name, "code": item.error.code, "detail": item.error.detail}
            for item in failed
        ]
        click.echo(json.dumps({"failed": rows}, indent=1))
    raise SystemExit(1 if failed else 0)


@main.command()
@format_option
def plan(form: str) -> None:
    """Say what the next pass would do by the configuration that is known, and change nothing."""
    record = _record()
    planned = {backend.name: backend.plan(record, backend.observe()) for backend in _backends()}
    if form == "json":
        rows = {
            name: [{"verb": str(item.verb), "name": item.name, "reason": item.reason} for item in actions]
            for name, actions in planned.items()
        }
        click.echo(json.dumps(rows, indent=1))
        return
    lines = [f"{name}: {action}" for name, actions in planned.items() for action in actions]
    click.echo("\n".join(lines) or "nothing to do")


@main.command()
@format_option
def status(form: str) -> None:
    """Say what the node shall run and what runs."""
    record = Records().load()
    observed = {backend.name: backend.observe() for backend in _backends()}
    if form == "json":
        known = {"timestamp": record.timestamp, "hostname": record.hostname} if record is not None else None
        rows = {
            name: [{"name": item.name, "running": item.running, "whole": bool(item.digest)} for item in items]
            for name, items in observed.items()
        }
        click.echo(json.dumps({"configuration": known, "backends": rows}, indent=1))
        return
    if record is None:
        click.echo("no configuration from the server yet")
    else:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.timestamp))
        click.echo(f"{record.hostname} (node {record.node_id}), configuration of {when}")
    for name, items in observed.items():
        for item in items:
            click.echo(f"{name}: {item.name} {'runs' if item.running else 'does not run'}")


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


def _manager(events: Events, sink: ServerSink) -> Manager:
    left = read_handoff()
    events.run_id = left.run_id
    options = load_options()
    if options.events:
        events.add_sink(LineFile(Path(options.events)))
    events.tell("program.started", hostname=left.hostname)
    runner = Runner()
    images = Images(runner, events)
    backends = plugins.load(Node(runner, events, images.unpack))
    server = Upstream(runner, events, left, sink, images, Refusals(Journal(JOURNAL)))
    return Manager(backends, Records(), server, events)


def _backends() -> tuple[Backend, ...]:
    runner, events = Runner(), Events(PROGRAM)
    return plugins.load(Node(runner, events, Images(runner, events).unpack))


def _record() -> NodeSlivers:
    record = Records().load()
    if record is None:
        raise click.ClickException("there is no configuration from the server yet")
    return unexpired(record, time.time())


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


@contextmanager
def _alone() -> Iterator[None]:
    """Exclude another configmanager for the length of the block. Raises Busy."""
    RUNTIME_FOLDER.mkdir(parents=True, exist_ok=True)
    with (RUNTIME_FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"it holds {lock.name}") from None
        yield
