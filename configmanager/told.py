"""What was told: the events of this boot, and what units said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from host.run import Runner

EVENTS = Path("/run/configmanager/events.jsonl")


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
