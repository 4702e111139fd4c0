"""What the node knows of each sliver of its own: what it was made from, and what was decided here.

A record is the first thing of a sliver to come and the last to go, so nothing is ever left behind that is
not known. It is on the disk before what it says is done.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configmanager.kept import ReadFiles
from host.files import sync_folder, write_atomic
from wire.errors import ConfigurationError
from wire.slivers import Sliver, check_name, machine_name
from wire.structure import MalformedMessage, structure_json, unstructure

log = logging.getLogger(__name__)

FOLDER = Path("var/lib/configmanager/slivers")
# Where a damaged record leaves only the name.
_ANY_SLICE = 0


class NoSuchSliver(ConfigurationError):
    """Something was asked for a sliver that is not there."""

    code = "no-such-sliver"
    title = "There is no such sliver"
    hint = "`configmanager status` on the node lists what is there."


@dataclass(frozen=True)
class Made:
    """A sliver's record.

    `manifest` is the image that it was made from, "" before; `start_digest` names what was written for its
    next start, `digest` all its settings once it is finished. `held`: its owner stopped it here; `anew`: its
    disk is to be made again.
    """

    name: str
    machine: str
    slice_id: int = _ANY_SLICE
    manifest: str = ""
    start_digest: str = ""
    digest: str = ""
    held: bool = False
    anew: bool = False


def is_of_another(slice_id: int, sliver: Sliver) -> bool:
    """Whether what is a sliver of that slice was made for another one, which had the name before."""
    return slice_id not in (_ANY_SLICE, sliver.slice_id)


class SliverRecords:
    """The records of this node's slivers. `root` is "/" but in tests. Safe from any thread."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._turn = threading.RLock()
        self._files = ReadFiles(lambda text: structure_json(text, Made))

    def get(self, name: str) -> Made | None:
        """Return a sliver's record, None without one."""
        file = f"{self._folder}/{check_name(name)}.json"
        try:
            return self._files.get(file)
        except FileNotFoundError:
            return None
        except MalformedMessage as error:
            # Its name is what matters: the sliver is ours, and its settings are written again.
            log.error("%s is damaged: %s", file, error)
            return Made(name, machine_name(name))

    def all(self) -> list[Made]:
        """Return all records, by name."""
        try:
            files = [entry.name for entry in os.scandir(self._folder)]
        except FileNotFoundError:
            return []
        found = [self.get(name.removesuffix(".json")) for name in sorted(files) if _is_record(name)]
        return [made for made in found if made is not None]

    def save(self, made: Made) -> Made:
        """Keep a record, and return it."""
        with self._turn:
            write_atomic(self._file(made.name), json.dumps(unstructure(made)) + "\n")
            self._files.forget(self._file(made.name))
        return made

    def change(self, name: str, **changes: Any) -> Made:
        """Change part of a record, whoever changes others meanwhile, and return it. Raises NoSuchSliver."""
        with self._turn:
            known = self.get(name)
            if known is None:
                raise NoSuchSliver(name)
            return self.save(replace(known, **changes))

    def forget(self, name: str) -> None:
        """Remove a record; doing so again changes nothing."""
        with self._turn:
            if self._file(name).exists():
                self._file(name).unlink()
                self._files.forget(self._file(name))
                sync_folder(self._folder)

    def _file(self, name: str) -> Path:
        return self._folder / f"{check_name(name)}.json"


def _is_record(file: str) -> bool:
    # One that is being written begins with a dot.
    return file.endswith(".json") and not file.startswith(".")
