"""`bootserver node reinstall` and `node follow`: from another end of the world, to the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from bootserver import nodes, power, views
from bootserver.bmc import Bmc, Source, Switch
from bootserver.cli_node import FOLLOW_SECONDS
from bootserver.cli_state import open_state
from bootserver.following import Following
from bootserver.live_view import LiveView
from bootserver.output import confirm, format_option, print_json, yes_option
from bootserver.state import State
from wire.errors import BootError, TransientError
from wire.messages import TargetState

# A server takes ten minutes to its boot medium; in an installation a node is never silent for half of this.
TIMEOUT_SECONDS = 1800
INTERRUPTED = 130
_PAGE = 1000
_timeout_option: Callable[..., Any] = click.option(
    "--timeout",
    type=click.IntRange(1),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds without a word of the node until it counts as lost.",
)


@click.command("reinstall")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Choice([str(source) for source in Source]),
    default=str(Source.PXE),
    show_default=True,
    help="Where its boot medium is, with power control.",
)
@click.option("--no-power", is_flag=True, help="Leave its power alone, also where it can be controlled.")
@_timeout_option
@yes_option
@format_option
def reinstall(name: str, source: str, no_power: bool, timeout: int, yes: bool, form: str) -> None:
    """Reinstall node NAME now, with no hand on it, and follow it until it is up.

    Its root file system is made anew. Where its power is controlled, it is power-cycled; otherwise it
    reboots by itself if it is up. Interrupting ends the following and nothing else; where the power was not
    switched by then, it says how to go on.

    Exit status: 0 it is up, 1 it failed, 3 it never came back, 130 interrupted.
    """
    state = open_state()
    with state.database.read() as session:
        found = nodes.find(session, name)
        name = found.name
        controlled = found.power is not None and not no_power
        bmc = power.bmc_of(state.master, found) if controlled else None
    confirm(f"The root file system of {name} is made anew, with all that is on it. Reinstall it?", yes)
    if bmc is not None:
        # First, so that nothing was changed where this fails.
        bmc.boot_once_from(Source(source))
    with state.database.write() as session:
        found = nodes.find(session, name)
        how = {"by": "power", "medium": source} if bmc is not None else {}
        nodes.order_reinstallation(session, found, **how)
    told = "if it is up it reboots by itself; if not, somebody has to give it power"
    if bmc is not None:
        told = f"power-cycled, to start from {source}"
    _follow(state, name, timeout, form, told, bmc)


@click.command("follow")
@click.argument("name")
@_timeout_option
@format_option
def follow(name: str, timeout: int, form: str) -> None:
    """Follow the present run of node NAME from its beginning until the node is up.

    Exit status: 0 it is up, 1 it failed, 3 it never came back, 130 interrupted.
    """
    _follow(open_state(), name, timeout, form, "from the beginning of its run")


def _follow(state: State, name: str, timeout: int, form: str, told: str, bmc: Bmc | None = None) -> None:
    """Follow the node's present run to its end; with `bmc`, cycle its power first."""
    with state.database.read() as session:
        found = nodes.find(session, name)
        name, run_id, after = found.name, found.run_id, views.first_of_run(session, found)
    following = Following(run_id, time.time(), timeout)
    is_begun = bmc is None
    try:
        if bmc is not None:
            bmc.switch(Switch.CYCLE)
            following.since, is_begun = time.time(), True
        with _shown(form, f"{name}, run {run_id}: {told}") as show:
            while True:
                # What is wanted is read with what was told: the node says it is up after it has turned it.
                with state.database.read() as session:
                    found = nodes.find(session, name)
                    rows = views.events_after(session, found, after, _PAGE)
                    wanted = found.run_id, found.boot_state
                for row in rows:
                    after = int(row["id"])
                    following.hear(row)
                    show(row)
                if len(rows) == _PAGE:
                    continue
                if following.is_done(*wanted, time.time()):
                    break
                time.sleep(FOLLOW_SECONDS)
    except BootError as error:
        if not is_begun:
            # No answer does not say that nothing was done.
            _say_ordered(name, run_id, is_sure=not isinstance(error, TransientError))
        if form == "json":
            ended = {"code": error.code, "title": error.title, "detail": error.detail, "hint": error.advice}
            print_json({"outcome": "failed", **ended, "run": run_id, "failure": following.failure})
        raise
    except KeyboardInterrupt:
        if is_begun:
            click.echo(f"no longer followed; it goes on: bootserver node follow {name}", err=True)
        else:
            _say_ordered(name, run_id, is_sure=False)
        sys.exit(INTERRUPTED)
    if form == "json":
        print_json({"outcome": "up", "run": run_id})
    else:
        click.echo(f"{name} is up: run level boot, run {run_id}")


def _say_ordered(name: str, run_id: str, *, is_sure: bool) -> None:
    """Say what stands though the power was not switched, or maybe not, and what to do about it."""
    switched = "was not" if is_sure else "may not have been"
    click.echo(
        f"{name} is ordered to reinstall (run {run_id}) and does so at its next start; "
        f"its power {switched} switched.\n"
        f"  Now: bootserver node power {name} cycle, then: bootserver node follow {name}\n"
        f"  Or take it back: bootserver node state {name} {TargetState.BOOT}",
        err=True,
    )


@contextmanager
def _shown(form: str, head: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    if form == "json":
        yield print_json
        return
    with LiveView(Console()) as view:
        view.say(head, "bold")
        yield view.event
