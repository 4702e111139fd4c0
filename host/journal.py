"""The journal: what was begun and what was finished, one JSON object a line, synced at each line.

It tells people what happened and remembers counts across boots. It never decides what is written to
a disk: a lost, torn or read-only journal must change nothing but what people can read. It lies on a
medium that somebody may have tampered with: what stands in its place and is no file is not waited for.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from host.files import open_to_append, read_regular, sync_folder

log = logging.getLogger(__name__)

MAXIMUM_BYTES = 1024 * 1024


class Journal:
    """An append-only record in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **data: Any) -> None:
        """Add a record durably. Raises OSError when the medium cannot take it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = True
        with suppress(FileNotFoundError):
            new = self.path.lstat().st_size > MAXIMUM_BYTES
            if new:
                self.path.replace(self.path.with_suffix(".old"))
        line = json.dumps({"kind": kind, **data}, separators=(",", ":"))
        with open_to_append(self.path) as file:
            # A line torn by a power cut has no newline; start on a fresh one.
            file.write(b"\n" + line.encode() + b"\n" if file.tell() else line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)

    def records(self) -> list[dict[str, Any]]:
        """Return every whole record, oldest first; torn or damaged lines are passed over.

        Where the medium fails there are none; of a file larger than append() makes, the rest is not read.
        """
        try:
            raw = read_regular(self.path, 2 * MAXIMUM_BYTES)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("the journal cannot be read: %s", error)
            return []
        found = []
        for line in raw.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                found.append(record)
        return found
