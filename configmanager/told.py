"""What was told: the newest events of this boot, and what units said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from host.run import Runner

EVENTS = Path("/run/configmanager/events.jsonl")
# It is in memory, a boot may last for years, and slices bring events about. Some 20,000 of them.
MOST_BYTES = 4 * 1024 * 1024


def read_events(file: Path = EVENTS) -> list[dict[str, Any]]:
    """Return the events, oldest first; a line that is being written is not there yet."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def journal(run: Runner, unit: str, lines: int) -> str:
    """Return the last lines of a unit's journal in this boot. Raises CommandError."""
    words = ["journalctl", "--no-pager", "--quiet", "--boot", "--output=short", f"--lines={lines}"]
    return run([*words, f"--unit={unit}"]).stdout.rstrip("\n")
