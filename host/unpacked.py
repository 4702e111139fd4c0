"""What says that a root file system holds an image whole: written when all else is on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from wire.structure import MalformedMessage, dump_json, structure_json

PATH = Path("etc/bootmanager/unpacked.json")


@dataclass(frozen=True)
class Unpacked:
    """The image, by its name and the SHA-256 (hex) of its manifest, and the run that unpacked it."""

    name: str
    manifest: str
    run_id: str


def load_unpacked(text: str | None) -> Unpacked | None:
    """Return what such a file says; None for no file, and for one that is damaged."""
    try:
        return structure_json(text, Unpacked) if text is not None else None
    except MalformedMessage:
        return None


def write_unpacked(path: Path, unpacked: Unpacked) -> None:
    """Write the file, durably. Raises OSError."""
    write_atomic(path, dump_json(unpacked))
