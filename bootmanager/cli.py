"""The command line. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from bootmanager.engine import Engine, Preview
from bootmanager.hwtest import report
from bootmanager.hwtest.run import TESTS, failed, run_tests
from bootmanager.machine import State
from bootmanager.menu_run import by_ssh
from bootmanager.plan import steps_for
from bootmanager.preview import PLANNED, plan_data, plan_text, previews_of
from bootmanager.program import FLUSH_SECONDS, Program
from bootmanager.replay import open_report
from bootmanager.send_report import report_now
from bootmanager.view import ConsoleView
from bootmanager.wish import leave_wish
from host.blivet_storage import BlivetStorage
from host.commands import Commands, format_option
from host.console import Console
from host.events import Events, LineFile, Sink
from host.options import KERNEL_COMMAND_LINE, BadOption, Options, load_options
from host.ports import STATE_FOLDER, Host
from host.report import ServerSink
from host.run import Runner
from host.server import ServerClient
from host.texts import shown
from hwdetect.inventory import describe, detect
from steps.base import Step
from steps.verify_images import VerifyImages
from steps.write_disk_image import WriteDiskImage
from wire.errors import BootError, ConfigurationError, InternalError, unsteered
from wire.structure import unstructure

PROGRAM = "bootmanager"
FAULT_PAUSE_SECONDS = 5.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What the menu of the boot medium starts its kernel with, and no other system's does.
MEDIUM_ARGUMENT = "boot=live"


class NotBootMedium(ConfigurationError):
    """Somebody asks a system that runs from a disk to go to a target state."""

    code = "not-boot-medium"
    title = "This system was not started from the boot medium"
    hint = "Nothing was touched. Set the state at the server (bootserver node state NAME STATE) and reboot."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Drive this machine to a target state: new, inst, rins, boot, dbg, or auto to ask the server."""


def _drive(state: str) -> None:
    """Run the whole life of this boot. Raises NotBootMedium."""
    if MEDIUM_ARGUMENT not in KERNEL_COMMAND_LINE.read_text().split():
        raise NotBootMedium(f"the kernel was not started with {MEDIUM_ARGUMENT}")
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=STATE_FOLDER / "bootmanager.log", level=logging.INFO, format=LOG_FORMAT)
    console = Console.of_kernel()
    events = Events(PROGRAM, (LineFile(STATE_FOLDER / "events.jsonl"), ConsoleView(console)))
    sink = ServerSink()
    events.add_sink(sink)
    cause: BootError | None = None
    options = Options()
    try:
        options = load_options(command_line={} if state == "auto" else {"state": state})
    except BootError as error:
        cause = error
    if options.events:
        try:
            events.add_sink(LineFile(Path(options.events)))
        except OSError as error:
            cause = cause or BadOption(f"events: {options.events}: {error.strerror}")
    host = Host(Runner(), BlivetStorage(), events, console, options)
    events.tell("program.started", state=options.state)
    program = Program(host, sink)
    while True:
        try:
            if cause is not None:
                program.fail(cause)
            program.run()
            return
        except Exception as error:
            logging.getLogger(PROGRAM).exception("a fault in the program")
            cause = InternalError(f"{type(error).__name__}: {error}, at {_place(error)}")
            # Debug mode itself may be what fails: nobody is helped by a machine that does so without a pause.
            time.sleep(FAULT_PAUSE_SECONDS)


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _add_state(name: str, text: str) -> None:
    main.command(name, help=text)(lambda: _drive(name))


for _name, _text in {
    "auto": "Ask the server what is wanted; what the boot medium runs.",
    "new": "Show inventory and plan, ask the technician, install.",
    "inst": "Install; ask only where a disk that would be written is not blank.",
    "rins": "Reinstall without a question.",
    "boot": "Validate the installation and start it.",
    "dbg": "Debug mode: ssh, and wait for a new intent.",
}.items():
    _add_state(_name, _text)


_from_option = click.option(
    "--from",
    "report_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of the machine that made this report, not of this one.",
)


@main.command()
# As text: newer versions of click would take the names of the members, which nobody types.
@click.argument("state", type=click.Choice([str(each) for each in PLANNED]))
@_from_option
@format_option
def plan(state: str, report_file: Path | None, form: str) -> None:
    """Say what STATE would keep, create and destroy on this machine, and change nothing.

    The exit status is 1 where a step would fail.
    """
    if report_file is not None:
        _show_plan(open_report(report_file).plan(State(state)), form)
        return
    _show_plan(previews_of(_quiet_host(), state), form)


@main.group()
def image() -> None:
    """Images of whole disks, for technicians in debug mode. DISK is a serial number or WWN."""


@image.command("plan")
@click.argument("name")
@click.argument("disk")
@format_option
def image_plan(name: str, disk: str, form: str) -> None:
    """Say what writing the image NAME onto DISK would destroy, and change nothing."""
    steps = _image_steps(name, disk)
    engine = Engine(_quiet_host())
    engine.execute(steps[:-1])
    _show_plan(engine.preview(steps[-1:]), form)


@image.command("write")
@click.argument("name")
@click.argument("disk")
def image_write(name: str, disk: str) -> None:
    """Make DISK equal to the image NAME, whatever it held, and read it back."""
    shown = Console([Path("/proc/self/fd/1")])
    Engine(_quiet_host(ConsoleView(shown))).execute(_image_steps(name, disk))


def _image_steps(name: str, disk: str) -> tuple[Step, ...]:
    """Return what comes before, so that node, server and signed images are known, and the writing itself."""
    return (*steps_for(State.AUTO), VerifyImages(), WriteDiskImage(name, disk))


@main.command()
@_from_option
@format_option
def inventory(report_file: Path | None, form: str) -> None:
    """Print this machine's hardware."""
    found = detect() if report_file is None else open_report(report_file).inventory()
    _show(describe(found), unstructure(found), form)


@main.command("report")
@click.option(
    "--to", "place", type=click.Path(path_type=Path), help="Write it there: a new file, or a folder."
)
@click.option("--stick", is_flag=True, help="Write it onto the stick labelled BMREPORT.")
def field_report(place: Path | None, stick: bool) -> None:
    """Send the server all that helps to see why this machine fails, but no secrets; or write it somewhere."""
    if place is not None and stick:
        raise click.UsageError("--to and --stick are two places")
    click.echo(shown(report_now(_quiet_host(), place, stick=stick)))


@main.command()
def retry() -> None:
    """End debug mode and try again now; forgets that the server refused this node."""
    leave_wish(Runner(), STATE_FOLDER)


@main.command()
def menu() -> None:
    """The menu of debug mode, on this terminal; `ssh root@NODE` begins with it."""
    with _reporting_host() as (host, connect):
        by_ssh(host, connect)


@main.command("test")
@click.argument("what", type=click.Choice(["all", *TESTS]), default="all")
@click.option("--long", is_flag=True, help="Hours, not 2 minutes: all of each disk, 30 minutes of memory.")
@click.option("--drive-test", is_flag=True, help="Start the long tests that drives make of themselves, too.")
@format_option
def test_hardware(what: str, long: bool, drive_test: bool, form: str) -> None:
    """Test this machine's hardware, and tell the server; nothing is written to disks.

    The exit status is 1 where something failed.
    """
    names = TESTS if what == "all" else (what,)
    with _reporting_host() as (host, connect):
        results = run_tests(host, names, long=long, drive_test=drive_test, progress=_note, connect=connect)
    _show(report.text(results), unstructure(results), form)
    if failed(results):
        raise click.exceptions.Exit(1)


def _note(text: str) -> None:
    click.echo(shown(text), err=True)


@contextmanager
def _reporting_host() -> Iterator[tuple[Host, Callable[[ServerClient], None]]]:
    """Give a host whose events go to the log, and to the server from when it is told of one."""
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    sink = ServerSink()
    connected = []

    def connect(client: ServerClient) -> None:
        connected.append(client)
        sink.connect(client)

    try:
        yield _quiet_host(LineFile(STATE_FOLDER / "events.jsonl"), sink), connect
    finally:
        if connected:
            sink.flush(FLUSH_SECONDS)


def _quiet_host(*sinks: Sink) -> Host:
    return Host(Runner(), BlivetStorage(), Events(PROGRAM, sinks), Console([]), load_options())


def _show_plan(previews: Sequence[Preview], form: str) -> None:
    _show(plan_text(previews), plan_data(previews), form)
    if any(preview.error for preview in previews):
        raise click.exceptions.Exit(1)


def _show(text: str, data: object, form: str) -> None:
    # A disk's label, or another machine's report, must not steer this terminal.
    click.echo(json.dumps(data, indent=1) if form == "json" else "\n".join(map(unsteered, text.split("\n"))))
