"""What the command line prints: a table for people, JSON for programs; both from the same rows."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A node's words must not steer the operator's terminal.
# Half a surrogate pair stands for a byte that is no UTF-8: a strict terminal raises an error for it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

format_option: Callable[..., Any] = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people or for programs.",
)

yes_option: Callable[..., Any] = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(question: str, yes: bool) -> None:
    """Ask before something is lost, unless `yes` was said already; ends the command at another answer."""
    if not yes:
        click.confirm(question, abort=True)


def show(rows: Sequence[dict[str, Any]], form: str, columns: Sequence[str]) -> None:
    """Print rows: all their keys as JSON, or `columns` as a table."""
    if form == "json":
        print_json(list(rows))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(Text(cell(row.get(column, ""))) for column in columns))
    _console().print(table)


def show_one(row: dict[str, Any], form: str) -> None:
    """Print one thing with all it has."""
    if form == "json":
        print_json(row)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in row.items():
        table.add_row(Text(key.replace("_", " "), style="bold"), Text(cell(value)))
    _console().print(table)


def print_json(value: object) -> None:
    """Print one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=True))


def cell(value: object) -> str:
    """Return a value as text for a terminal."""
    match value:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(cell(item) for item in value)
        case dict():
            return json.dumps(value, ensure_ascii=True)
    return printable(str(value)) or "-"


def printable(text: str) -> str:
    """Return the text with what could steer a terminal replaced."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def moment(when: float) -> str:
    """Return a time as local date and time, "" for never."""
    return datetime.datetime.fromtimestamp(when).astimezone().strftime("%F %T") if when else ""


def ago(when: float) -> str:
    """Return how long ago a time is, such as "3 min", "" for never."""
    if not when:
        return ""
    seconds = max(0, int(time.time() - when))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _console() -> Console:
    # Not cut to 80 columns when the output is no terminal: a program or a log reads it then.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=400)
