"""`bootserver slice` and `bootserver service`: what nodes are told to run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from bootserver import nodes, policy, slices
from bootserver.cli_state import open_state
from bootserver.output import confirm, format_option, moment, print_json, show, yes_option
from bootserver.tables import Service, Slice
from wire.slivers import MAXIMUM_HEALTH_SECONDS, Instantiation, NodeService

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LAST_MOMENT = 2**31 - 1


@click.group("slice")
def slice_group() -> None:
    """Slices, and the nodes that carry a sliver of them."""


@slice_group.command()
@click.argument("name")
@click.option("--image", required=True, help="Name of the slivers' image.")
@click.option("--key", "keys", multiple=True, type=_FILE, help="Public ssh keys that open the slivers.")
@click.option("--initscript", type=_FILE, help="Run in each sliver when it starts.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Such as ports=tcp:8080:80."
)
@click.option(
    "--days",
    default=365,
    show_default=True,
    type=click.IntRange(1),
    help="Until it expires, and nodes destroy its slivers.",
)
@click.option(
    "--delegated", is_flag=True, help="Nodes make its slivers only when one of its delegates says so there."
)
@format_option
def add(
    name: str,
    image: str,
    keys: tuple[Path, ...],
    initscript: Path | None,
    attributes: tuple[str, ...],
    days: int,
    delegated: bool,
    form: str,
) -> None:
    """Make slice NAME; put it on nodes with `slice add-node`."""
    new = Slice(
        name=name,
        image=image,
        instantiation=Instantiation.DELEGATED if delegated else Instantiation.PLC,
        keys=policy.read_ssh_keys(keys),
        initscript=_text(initscript) if initscript else "",
        attributes=dict(_pair(item) for item in attributes),
        expires=_expiry(days),
    )
    with open_state().database.write() as session:
        slices.add(session, new)
        shown: dict[str, Any] = {"id": new.id, "name": new.name, "expires": new.expires}
        published = slices.published(session, image) is not None
    if form == "json":
        print_json(shown)
    else:
        click.echo(f"{name}: until {moment(shown['expires'])}")
    if not published:
        _tell_missing(image, name)


@slice_group.command("set")
@click.argument("name")
@click.option("--image", help="Name of the image for slivers that are made from now on.")
@click.option("--key", "keys", multiple=True, type=_FILE, help="Replaces the public ssh keys.")
@click.option("--initscript", type=_FILE, help="Replaces the initscript, and slivers start anew.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Adds or replaces; NAME= removes."
)
@click.option("--days", type=click.IntRange(1), help="Until it expires, from now on.")
def change(
    name: str,
    image: str | None,
    keys: tuple[Path, ...],
    initscript: Path | None,
    attributes: tuple[str, ...],
    days: int | None,
) -> None:
    """Change slice NAME on all nodes that have it. What is not named stays, and so do slivers' disks."""
    fields: dict[str, object] = {}
    if image is not None:
        fields["image"] = image
    if keys:
        fields["keys"] = policy.read_ssh_keys(keys)
    if initscript is not None:
        fields["initscript"] = _text(initscript)
    if days is not None:
        fields["expires"] = _expiry(days)
    if not fields and not attributes:
        raise click.UsageError("nothing to set")
    with open_state().database.write() as session:
        found = slices.find(session, name)
        if attributes:
            merged = {**found.attributes, **dict(_pair(item) for item in attributes)}
            fields["attributes"] = {key: value for key, value in merged.items() if value}
        slices.change(session, found, **fields)
        expires, image = found.expires, found.image
        published = slices.published(session, image) is not None
    click.echo(f"{name}: until {moment(expires)}")
    if not published:
        _tell_missing(image, name)


@slice_group.command("list")
@format_option
def list_slices(form: str) -> None:
    """List all slices."""
    with open_state().database.read() as session:
        rows = [
            {
                "id": item.id,
                "name": item.name,
                "image": item.image,
                "instantiation": item.instantiation,
                "expires": moment(item.expires) if form == "table" else item.expires,
                "attributes": _shown(item.attributes) if form == "table" else item.attributes,
                "nodes": sorted(sliver.node.name for sliver in item.slivers),
            }
            for item in session.scalars(select(Slice).order_by(Slice.name))
        ]
    show(rows, form, ("id", "name", "image", "expires", "nodes", "attributes"))


@slice_group.command()
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    """Remove slice NAME; nodes destroy its slivers."""
    database = open_state().database
    with database.read() as session:
        slices.find(session, name)
    confirm("Its slivers on all nodes are destroyed. Remove it?", yes)
    with database.write() as session:
        slices.remove(session, slices.find(session, name))
    click.echo(f"removed {name}")


@slice_group.command("add-node")
@click.argument("name")
@click.argument("node")
def add_node(name: str, node: str) -> None:
    """Put a sliver of slice NAME on NODE."""
    with open_state().database.write() as session:
        new = slices.place(session, slices.find(session, name), nodes.find(session, node))
    click.echo(f"{name} on {node}{'' if new else ', as before'}")


@slice_group.command("remove-node")
@click.argument("name")
@click.argument("node")
def remove_node(name: str, node: str) -> None:
    """Take the sliver of slice NAME off NODE; it is destroyed there."""
    with open_state().database.write() as session:
        was = slices.withdraw(session, slices.find(session, name), nodes.find(session, node))
    click.echo(f"{name} no longer on {node}" if was else f"{name} was not on {node}")


@slice_group.command()
@click.argument("name")
@click.option("--node", required=True, help="The node that it is for.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 365), help="Until it expires.")
def ticket(name: str, node: str, days: int) -> None:
    """Put slice NAME on a node, and print a ticket by which its delegate has the sliver made there.

    It tells the node what slice it is, also while the node does not reach this server. It is readable, and
    holds the slice's initscript. `slice remove-node` takes back what it gives.
    """
    state = open_state()
    with state.database.write() as session:
        found = nodes.find(session, node)
        key = nodes.key_of(state.master, found)
        text = slices.ticket(session, key, slices.find(session, name), found, days * 86400)
    click.echo(text)


@click.group()
def service() -> None:
    """Services on nodes themselves."""


@service.command("add")
@click.argument("node")
@click.argument("name")
@click.option("--unit", type=_FILE, help="The text of a systemd service unit.")
@click.option("--overlay", default="", metavar="IMAGE", help="An image that is laid over the node.")
@click.option("--health", default="", metavar="COMMAND", help="Run by sh; succeeds when the service is well.")
@click.option(
    "--health-seconds",
    default=NodeService.health_seconds,
    show_default=True,
    type=click.IntRange(1, MAXIMUM_HEALTH_SECONDS),
    help="How long it may take after a change; then the version before it is put back.",
)
def add_service(
    node: str, name: str, unit: Path | None, overlay: str, health: str, health_seconds: int
) -> None:
    """Run service NAME on NODE, or change it. Files come with it by `conf-file add --service NAME`."""
    text = _text(unit) if unit else ""
    try:
        new = NodeService(name, text, overlay, health, health_seconds)
    except ValueError as error:
        raise slices.BadRole(str(error)) from None
    with open_state().database.write() as session:
        slices.set_service(session, nodes.find(session, node), new)
    click.echo(f"{name} on {node}")


@service.command("list")
@click.argument("node")
@format_option
def list_services(node: str, form: str) -> None:
    """List the services of NODE."""
    with open_state().database.read() as session:
        found = nodes.find(session, node)
        query = select(Service).where(Service.node_id == found.id).order_by(Service.name)
        rows = [
            {"name": item.name, "overlay": item.overlay, "health": item.health, "unit": item.unit}
            for item in session.scalars(query)
        ]
    show(rows, form, ("name", "overlay", "health"))


@service.command("remove")
@click.argument("node")
@click.argument("name")
def remove_service(node: str, name: str) -> None:
    """Stop service NAME on NODE and remove it there."""
    with open_state().database.write() as session:
        was = slices.remove_service(session, nodes.find(session, node), name)
    click.echo(f"{name} no longer on {node}" if was else f"{name} was not on {node}")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise slices.BadRole(f"{file}: {type(error).__name__}") from None


def _expiry(days: int) -> int:
    return min(int(time.time()) + days * 86400, _LAST_MOMENT)


def _tell_missing(image: str, name: str) -> None:
    click.echo(f"no image {image} is published yet: until it is, nodes make no sliver of {name}", err=True)


def _shown(attributes: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in attributes.items()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not of the form NAME=VALUE")
    return name, value
