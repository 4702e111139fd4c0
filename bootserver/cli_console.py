"""`bootserver console-password`: what opens a shell at the console of a node in debug mode."""

from __future__ import annotations

import sys

import click

from bootserver import console, nodes
from bootserver.cli_state import open_state
from wire.password import hash_password


@click.command("console-password")
@click.option("--node", "name", metavar="NAME", help="Of this node only, in place of the deployment's.")
@click.option("--remove", is_flag=True, help="Take it away; without one a console gives no shell.")
def console_password(name: str | None, remove: bool) -> None:
    """Set the password that opens a shell at the consoles of nodes in debug mode.

    It is asked for at the terminal, or read as the first line of standard input. Only its hash is kept.
    Nodes learn of it when they next check in.
    """
    state = open_state()
    with state.database.read() as session:
        if name is not None:
            nodes.find(session, name)
    hashed = "" if remove else hash_password(_typed())
    with state.database.write() as session:
        if name is None:
            console.set_for_all(session, hashed, nodes.everyone(session))
        else:
            console.set_for_node(nodes.find(session, name), hashed)
    whose = name or "all nodes that have none of their own"
    click.echo(f"{'removed the' if remove else 'set the'} console password of {whose}")


def _typed() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Console password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
