"""`bootserver conf-file`: files on nodes themselves."""

from __future__ import annotations

from pathlib import Path

import click
from sqlalchemy.orm import Session

from bootserver import nodes, slices
from bootserver.cli_state import open_state
from bootserver.output import format_option, show
from bootserver.tables import Node
from wire.conf_files import MAXIMUM_CONTENT, ConfFile, encode

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_node_option = click.option("--node", metavar="NODE", help="The node that it is for.")
_all_option = click.option("--all", "on_all", is_flag=True, help="For all nodes, also those yet to come.")


@click.group("conf-file")
def conf_file() -> None:
    """Files on nodes themselves."""


@conf_file.command()
@click.argument("dest")
@_node_option
@_all_option
@click.option("--from", "source", required=True, type=_FILE, help="The file that it is a copy of.")
@click.option("--mode", default=ConfFile.file_permissions, show_default=True, help="Its permissions, octal.")
@click.option("--owner", default=ConfFile.file_owner, show_default=True)
@click.option("--group", default=ConfFile.file_group, show_default=True)
@click.option("--pre", default="", metavar="COMMAND", help="Run by sh before the change.")
@click.option("--post", default="", metavar="COMMAND", help="Run by sh after the change.")
@click.option("--error", default="", metavar="COMMAND", help="Run by sh when one of these fails.")
@click.option("--ignore-errors", is_flag=True, help="Go on although a command fails.")
@click.option("--always", is_flag=True, help="Write it at each reply of the server, changed or not.")
@click.option("--service", default="", metavar="NAME", help="The service that it comes and goes with.")
def add(
    dest: str,
    node: str | None,
    on_all: bool,
    source: Path,
    mode: str,
    owner: str,
    group: str,
    pre: str,
    post: str,
    error: str,
    ignore_errors: bool,
    always: bool,
    service: str,
) -> None:
    """Have a file at the path DEST of a node, or of all, or change it. A node's own counts first."""
    try:
        file = ConfFile(
            dest=dest,
            content=encode(_content(source)),
            source=source.name,
            file_permissions=mode,
            file_owner=owner,
            file_group=group,
            preinstall_cmd=pre,
            postinstall_cmd=post,
            error_cmd=error,
            ignore_cmd_errors=ignore_errors,
            always_update=always,
            service=service,
        )
    except ValueError as fault:
        raise slices.BadRole(str(fault)) from None
    with open_state().database.write() as session:
        slices.set_file(session, _whom(session, node, on_all), file)
    click.echo(f"{dest} on {node or 'all nodes'}")


@conf_file.command("list")
@_node_option
@_all_option
@format_option
def list_files(node: str | None, on_all: bool, form: str) -> None:
    """List the files of a node, or what all nodes have."""
    with open_state().database.read() as session:
        rows = [
            {
                "dest": file.dest,
                "source": file.source,
                "bytes": len(file.data),
                "mode": file.file_permissions,
                "owner": f"{file.file_owner}:{file.file_group}",
                "service": file.service,
                "for": "all" if everywhere else "this node",
            }
            for file, everywhere in slices.files_of(session, _whom(session, node, on_all))
        ]
    show(rows, form, ("dest", "source", "bytes", "mode", "owner", "service", "for"))


@conf_file.command()
@click.argument("dest")
@_node_option
@_all_option
def remove(dest: str, node: str | None, on_all: bool) -> None:
    """Take the file at DEST from a node, or from all; what was there before it comes back."""
    with open_state().database.write() as session:
        was = slices.remove_file(session, _whom(session, node, on_all), dest)
    whose = node or "all nodes"
    click.echo(f"{dest} no longer on {whose}" if was else f"{dest} was not on {whose}")


def _whom(session: Session, node: str | None, on_all: bool) -> Node | None:
    if bool(node) == on_all:
        raise click.UsageError("say either --node NODE or --all")
    return nodes.find(session, node) if node else None


def _content(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(MAXIMUM_CONTENT + 1)
    except OSError as error:
        raise slices.BadRole(f"{source}: {error.strerror}") from None
