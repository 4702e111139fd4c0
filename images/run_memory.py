"""What a node remembers of its runs where its server does not (host.classic_run).

It is kept twice: in RAM, so that one boot remembers without a dongle, and on the dongle under a MAC of the
node's key, so that a power cut in an installation does not begin another one.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from host.classic_run import ClassicRun
from host.files import write_atomic
from images.documents import Document, Documents
from wire.structure import MalformedMessage, structure, structure_json, unstructure

NAME = "classic-run"


class RunRecord:
    """The two copies; the one with the higher generation counts."""

    def __init__(self, documents: Documents, folder: Path) -> None:
        """`folder` is in RAM and nobody else's."""
        self._documents = documents
        self._path = folder / f"{NAME}.json"

    def load(self) -> ClassicRun:
        """Return what is remembered, or an empty run."""
        found = [ClassicRun()]
        with suppress(OSError, MalformedMessage):
            found.append(structure_json(self._path.read_bytes(), ClassicRun))
        document = self._documents.read(NAME)
        if document is not None:
            with suppress(MalformedMessage):
                found.append(structure(document.body, ClassicRun))
        return max(found, key=lambda run: run.generation)

    def save(self, run: ClassicRun) -> None:
        """Keep it in RAM, and on the dongle as well as that can be."""
        plain = unstructure(run)
        write_atomic(self._path, json.dumps(plain))
        self._documents.write(NAME, Document(run.generation, plain))
