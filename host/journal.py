"""The journal: what was begun and what was finished, one JSON object a line, synced at each line.

It tells people what happened and remembers counts across boots. It never decides what is written to
a disk: a lost, torn or read-only journal must change nothing but what people can read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from host.files import sync_folder

MAXIMUM_BYTES = 1024 * 1024


class Journal:
    """An append-only record in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **data: Any) -> None:
        """Add a record durably. Raises OSError when the medium cannot take it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > MAXIMUM_BYTES:
            self.path.replace(self.path.with_suffix(".old"))
        new = not self.path.exists()
        line = json.dumps({"kind": kind, **data}, separators=(",", ":"))
        with self.path.open("ab") as file:
            # A line torn by a power cut has no newline; start on a fresh one.
            file.write(b"\n" + line.encode() + b"\n" if file.tell() else line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)

    def records(self) -> list[dict[str, Any]]:
        """Return every whole record, oldest first; torn or damaged lines are passed over."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for line in raw.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                found.append(record)
        return found
