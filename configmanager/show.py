"""What the command line prints for people: tables and paragraphs that fit a terminal of 80 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configmanager.backends.base import Item

# Words of slices and services must not steer the terminal.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ENVELOPE = ("seq", "time", "uptime", "program", "run", "boot", "event")


def printable(text: str) -> str:
    """Return the text with what could steer a terminal replaced."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def table(rows: Sequence[Sequence[str]], heading: Sequence[str]) -> str:
    """Return rows below their heading, each column as wide as its longest cell; the last one is wrapped."""
    cells = [[printable(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    before = sum(width + 2 for width in widths[:-1])
    lines = []
    for row in cells:
        start = "".join(cell.ljust(width + 2) for cell, width in zip(row[:-1], widths, strict=False))
        lines.append(paragraph(start, row[-1], before))
    return "\n".join(lines)


def paragraph(start: str, text: str, indent: int) -> str:
    """Return `start` and the text after it, whose further lines begin below it."""
    room = max(shutil.get_terminal_size((80, 24)).columns, indent + 30)
    wrapped = textwrap.wrap(
        printable(text), room, initial_indent=start, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    return "\n".join(wrapped).rstrip() or start.rstrip()


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values in two columns."""
    known = list(pairs)
    width = max(len(name) for name, _ in known) + 2
    return "\n".join(paragraph(name.ljust(width), value, width) for name, value in known)


def failures(found: Iterable[Mapping[str, Any]]) -> str:
    """Return each failure as what, why, and what to do."""
    lines = []
    for item in found:
        lines.append(paragraph("! ", f"{item['title']}: {item['detail']} [{item['code']}]", 2))
        lines.append(paragraph("  ", str(item["hint"]), 2))
    return "\n".join(lines)


def state(item: Item) -> str:
    """Say in words how a thing is."""
    if not item.digest:
        return "half made"
    return "runs" if item.running else "does not run"


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event of the log, its time first."""
    start = time.strftime("%H:%M:%S  ", time.localtime(float(event.get("time", 0))))
    data = {key: value for key, value in event.items() if key not in _ENVELOPE}
    if event.get("event") == "error":
        text = f"error: {data.pop('title', '')}: {data.pop('detail', '')} [{data.pop('code', '')}]"
        data.pop("hint", None)
    else:
        text = str(event.get("event"))
    words = [text, *(f"{key}={value}" for key, value in data.items() if value != "")]
    return paragraph(start, " ".join(words), len(start))


def moment(when: float) -> str:
    """Return a time as date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))


def ago(seconds: float) -> str:
    """Return a length of time, such as "3 min"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
