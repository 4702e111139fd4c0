"""`bootserver node`: register nodes, change what is wanted of them, see what they do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bootserver import nodes, policy, views
from bootserver.cli_state import open_state
from bootserver.generations import changed
from bootserver.output import (
    ago,
    confirm,
    format_option,
    moment,
    print_json,
    printable,
    show,
    show_one,
    yes_option,
)
from bootserver.state import State
from bootserver.tables import Node
from wire.messages import TargetState

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_STATES = click.Choice([str(state) for state in TargetState])
_PAGE = 1000
FOLLOW_SECONDS = 0.5


@click.group()
def node() -> None:
    """Machines: their configuration, intent and events."""


@node.command()
@click.argument("name")
@click.option("--state", type=_STATES, default="new", show_default=True, help="What is wanted of it.")
@click.option("--system-disk", metavar="SERIAL", help="Serial number or WWN; else the only disk that fits.")
@click.option("--data-disks", metavar="auto|none|S1,S2", help="Which further disks it may use.")
@click.option("--min-memory", "memory_mib", metavar="MIB", help="Least memory.")
@click.option("--min-disk", "disk_mib", metavar="MIB", help="Least size of the system disk.")
@click.option("--kernel-arguments", help="Of the installed system.")
@click.option("--base-image", default="base", show_default=True, help="What the root filesystem is.")
@click.option("--image", "images", multiple=True, metavar="NAME", help="Images to have at hand.")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="Asked for images first.")
@click.option("--bandwidth", "bandwidth_kib", metavar="KIB", help="A bound for images, KiB per second.")
@click.option("--no-neighbours", is_flag=True, help="It gives no other node packs, and takes from none.")
@click.option("--ssh-key", "ssh_keys", multiple=True, type=_FILE, help="Public keys for root, also in dbg.")
@format_option
def add(
    name: str,
    state: str,
    base_image: str,
    images: tuple[str, ...],
    mirrors: tuple[str, ...],
    no_neighbours: bool,
    ssh_keys: tuple[Path, ...],
    form: str,
    **fields: str | None,
) -> None:
    """Register node NAME with a new key; next comes `bootserver media key NAME FILE`."""
    opened = open_state()
    keys = policy.read_ssh_keys(ssh_keys)
    with opened.database.write() as session:
        added = nodes.add(session, opened.master, name, TargetState(state), base_image)
        added.ssh_keys = keys
        lists = {"images": ",".join(images), "mirrors": ",".join(mirrors)}
        chosen = {**fields, "base_image": base_image, **lists}
        chosen["neighbours"] = "off" if no_neighbours else "on"
        for field, text in chosen.items():
            if text is not None:
                policy.set_field(added, field, text)
        session.flush()
        shown = _brief(added)
    _tell(shown, form)


@node.command("list")
@format_option
def list_nodes(form: str) -> None:
    """List all nodes: what is wanted, what was observed, what they do."""
    with open_state().database.read() as session:
        rows = [views.node_row(item) for item in nodes.everyone(session)]
    if form == "table":
        rows = [{**row, **_doing(row), "contact": ago(row["contacted"])} for row in rows]
    show(rows, form, ("id", "name", "boot_state", "run_level", "doing", "progress", "contact"))


def _doing(row: dict[str, Any]) -> dict[str, str]:
    status = row["status"]
    error = status["error"].get("code", "")
    doing = f"error: {error}" if error else status["waiting"] and f"waiting for {status['waiting']}"
    fraction = status["fraction"]
    doing = doing or status["title"] or status["state"]
    return {
        "doing": f"KEY IN TWO PLACES; {doing}" if row["shared_key"] else doing,
        "progress": f"{fraction:.0%}" if fraction >= 0 else "",
    }


@node.command("show")
@click.argument("name")
@format_option
def show_node(name: str, form: str) -> None:
    """Show all that is known of node NAME, but for its key."""
    with open_state().database.read() as session:
        row = views.node_whole(nodes.find(session, name))
    if form == "table":
        for field in ("contacted", "created", "run_level_at", "key_changed", "shared_key_at"):
            row[field] = moment(row[field])
    show_one(row, form)


@node.command()
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    """Forget node NAME; it cannot check in any more. The machine itself is not touched."""
    database = open_state().database
    with database.read() as session:
        nodes.find(session, name)
    confirm("Its key, configuration and events are lost. Remove it?", yes)
    with database.write() as session:
        session.delete(nodes.find(session, name))
    click.echo(f"removed {name}")


@node.command("rotate-key")
@click.argument("name")
def rotate_key(name: str) -> None:
    """Give node NAME a new key: its sessions end at once, and its key medium has to be written again."""
    opened = open_state()
    with opened.database.write() as session:
        found = nodes.find(session, name)
        nodes.rotate_key(session, opened.master, found)
        name = found.name
    click.echo(f"{name} has a new key; its sessions are ended and its key medium is refused from now on")
    click.echo(f"  Write the medium again: bootserver media key {name} FILE")


@node.command("accept-key")
@click.argument("name")
def accept_key(name: str) -> None:
    """Take the mark from node NAME that its key was used from two places, when you know why it was."""
    with open_state().database.write() as session:
        found = nodes.find(session, name)
        nodes.accept_key(session, found)
        name = found.name
    click.echo(f"{name} is no longer marked; when it happens again, it will be")


@node.command("set", help=f"Change fields of node NAME.\n\nFields: {', '.join(policy.FIELDS)}.")
@click.argument("name")
@click.argument("assignments", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--ssh-key", "ssh_keys", multiple=True, type=_FILE, help="Replaces the keys for root.")
@format_option
def set_fields(name: str, assignments: tuple[str, ...], ssh_keys: tuple[Path, ...], form: str) -> None:
    """Change fields of a node."""
    if not assignments and not ssh_keys:
        raise click.UsageError("nothing to set")
    keys = policy.read_ssh_keys(ssh_keys)
    opened = open_state()
    with opened.database.write() as session:
        found = nodes.find(session, name)
        for assignment in assignments:
            field, equals, text = assignment.partition("=")
            if not equals:
                raise click.UsageError(f"{assignment!r} is not of the form FIELD=VALUE")
            policy.set_field(found, field.replace("-", "_"), text)
        if keys:
            found.ssh_keys = keys
        changed(found)
        shown = _brief(found)
    _tell(shown, form)


@node.command("state")
@click.argument("name")
@click.argument("state", type=_STATES)
@click.option("--clean", is_flag=True, help="With rins: take no file from the former root, format it.")
@format_option
def set_state(name: str, state: str, clean: bool, form: str) -> None:
    """Say what is wanted of node NAME. new, inst and rins always begin another run."""
    if clean and state != TargetState.RINS:
        raise click.UsageError("--clean goes with rins; new and inst format the root in any case")
    with open_state().database.write() as session:
        found = nodes.find(session, name)
        nodes.set_intent(found, TargetState(state), clean=clean)
        shown = _brief(found)
    _tell(shown, form)


@node.command()
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes.")
@click.option(
    "--last", default=100, show_default=True, type=click.IntRange(0), help="How many to begin with."
)
@click.option("--after", type=click.IntRange(0), help="Begin after the event with this id instead.")
@format_option
def events(name: str, follow: bool, last: int, after: int | None, form: str) -> None:
    """Print what node NAME told, oldest first; as JSON lines with --format json."""
    state = open_state()
    with state.database.read() as session:
        found = nodes.find(session, name)
        if after is None:
            rows = views.latest_events(session, found, last)
        else:
            rows = views.events_after(session, found, after, _PAGE)
    position = after or 0
    while True:
        for row in rows:
            _print_event(row, form)
            position = int(row["id"])
        if not rows or after is None:
            if not follow:
                return
            time.sleep(FOLLOW_SECONDS)
        after = position
        rows = _further(state, name, position)


def _further(state: State, name: str, after: int) -> list[dict[str, Any]]:
    with state.database.read() as session:
        return views.events_after(session, nodes.find(session, name), after, _PAGE)


def _print_event(row: dict[str, Any], form: str) -> None:
    if form == "json":
        print_json(row)
        return
    line = f"{moment(row['received'])}  {row['program']:<13} {row['event']:<16} {views.event_text(row)}"
    click.echo(printable(line.rstrip()))


def _brief(found: Node) -> dict[str, Any]:
    keys = ("id", "name", "boot_state", "run_id", "generation")
    return {key: getattr(found, key) for key in keys}


def _tell(shown: dict[str, Any], form: str) -> None:
    if form == "json":
        print_json(shown)
    else:
        click.echo(f"{shown['name']} (id {shown['id']}): {shown['boot_state']}, run {shown['run_id']}")
