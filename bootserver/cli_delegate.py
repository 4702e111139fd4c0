"""`bootserver delegate`: accounts of nodes from which their API is called."""

from __future__ import annotations

from pathlib import Path

import click
from sqlalchemy import select

from bootserver import nodes, policy, slices
from bootserver.cli_state import open_state
from bootserver.output import format_option, show
from bootserver.tables import Delegate

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def delegate() -> None:
    """Accounts of nodes from which slices that name them are handled by ssh."""


@delegate.command()
@click.argument("node")
@click.argument("name")
@click.option(
    "--key", "keys", multiple=True, required=True, type=_FILE, help="Public ssh keys that open the account."
)
def add(node: str, name: str, keys: tuple[Path, ...]) -> None:
    """Give NODE a delegate NAME, or change its keys. A slice names it: --attribute delegations=NAME."""
    texts = policy.read_ssh_keys(keys)
    with open_state().database.write() as session:
        slices.set_delegate(session, nodes.find(session, node), name, texts)
    click.echo(f"{name} on {node}")


@delegate.command("list")
@click.argument("node")
@format_option
def list_delegates(node: str, form: str) -> None:
    """List the delegates of NODE."""
    with open_state().database.read() as session:
        found = nodes.find(session, node)
        query = select(Delegate).where(Delegate.node_id == found.id).order_by(Delegate.name)
        rows = [{"name": item.name, "keys": item.keys} for item in session.scalars(query)]
    show(rows, form, ("name",))


@delegate.command()
@click.argument("node")
@click.argument("name")
def remove(node: str, name: str) -> None:
    """Take delegate NAME off NODE; its account goes, slivers stay."""
    with open_state().database.write() as session:
        was = slices.remove_delegate(session, nodes.find(session, node), name)
    click.echo(f"{name} no longer on {node}" if was else f"{name} was not on {node}")
