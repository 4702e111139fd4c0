"""`bootserver node reports` and `node report`: what nodes sent for somebody to look into."""

from __future__ import annotations

from pathlib import Path

import click

from bootserver import nodes, reports
from bootserver.cli_state import open_state
from bootserver.output import format_option, moment, show
from host.files import write_atomic


@click.command("reports")
@click.argument("name")
@format_option
def list_reports(name: str, form: str) -> None:
    """List the reports that node NAME sent, the newest last."""
    with open_state().database.read() as session:
        rows = reports.rows(session, nodes.find(session, name))
    if form == "table":
        rows = [{**row, "received": moment(row["received"])} for row in rows]
    show(rows, form, ("id", "received", "code", "size_bytes"))


@click.command()
@click.argument("name")
@click.argument("number", metavar="[ID]", type=int, required=False)
@click.option("--to", "file", required=True, type=click.Path(dir_okay=False, path_type=Path))
def report(name: str, number: int | None, file: Path) -> None:
    """Write a report of node NAME to a file, the newest without ID; look into it with bootmanager."""
    with open_state().database.read() as session:
        found = nodes.find(session, name)
        archive = reports.archive_of(session, found, number)
    write_atomic(file, archive, mode=0o600)
    click.echo(f"{file}: {len(archive)} bytes; next: bootmanager inventory --from {file}")
