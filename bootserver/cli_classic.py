"""`bootserver node classic`: which nodes may speak the classic protocol."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import click

from bootserver import classic_nodes, nodes
from bootserver.cli_state import open_state
from bootserver.output import format_option, print_json
from bootserver.tables import ClassicNode
from wire.session import BadNodeKey

WEAKNESSES = (
    "its recorded calls can be replayed at any time and its MACs used for other calls; "
    "replies are not authenticated (docs/classic.md)"
)


@click.command()
@click.argument("name")
@click.option("--on/--off", "on", default=None, help="Whether it may; off for every node until switched on.")
@click.option("--key-file", type=click.File("r"), help="Its NODE_KEY from another deployment; - is stdin.")
@click.option(
    "--id", "classic_id", type=click.IntRange(1, classic_nodes.MAXIMUM_ID), help="Its NODE_ID there."
)
@click.option("--mac", help="Its network card, for getnodeid.")
@click.option("--flavour", metavar="PLDISTRO-DISTRIBUTION-ARCH", help="Which archive it is pointed to.")
@format_option
def classic(
    name: str,
    on: bool | None,
    key_file: IO[str] | None,
    classic_id: int | None,
    mac: str | None,
    flavour: str | None,
    form: str,
) -> None:
    """Let node NAME speak the classic PLC protocol (--on), or no longer (--off); without either, say which.

    The classic protocol is weak: what an attacker on the path recorded can be replayed at any time, a MAC
    is good for other calls too, and replies are not authenticated. Switch it on only for nodes that have
    no other boot manager. It uses NODE_ID and NODE_KEY as on the key medium, or those that the node has from
    another deployment: --id and --key-file.
    """
    if on is not True and any(option is not None for option in (key_file, classic_id, mac, flavour)):
        raise click.UsageError("--key-file, --id, --mac and --flavour need --on")
    state = open_state()
    with state.database.write() as session:
        node = nodes.find(session, name)
        if on is False:
            classic_nodes.unmark(session, node)
        if on:
            marked = classic_nodes.mark(session, node, classic_id)
            if key_file is not None:
                classic_nodes.set_key(marked, state.master, _read_key(key_file))
            if mac is not None:
                classic_nodes.set_mac(marked, mac)
            if flavour is not None:
                classic_nodes.set_flavour(marked, flavour)
        session.flush()
        shown = _shown(node.name, session.get(ClassicNode, node.id))
    if form == "json":
        print_json(shown)
    elif not shown["classic"]:
        click.echo(f"{shown['name']}: classic protocol off")
    else:
        key = "a key from another deployment" if shown["other_key"] else "the key on its medium"
        click.echo(f"{shown['name']}: classic protocol on, by {key}")
        click.echo(f"careful: {WEAKNESSES}", err=True)


def _read_key(file: IO[str]) -> str:
    try:
        return file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadNodeKey(f"{Path(file.name)}: {type(error).__name__}") from None


def _shown(name: str, marked: ClassicNode | None) -> dict[str, Any]:
    if marked is None:
        return {"name": name, "classic": False}
    return {
        "name": name,
        "classic": True,
        "classic_id": marked.classic_id,
        "other_key": bool(marked.sealed_key),
        "mac": marked.mac,
        "flavour": marked.flavour,
        "last_call_from": marked.peer,
    }
