"""Which boot medium a system is of, and as what a newer one is published to nodes."""

from __future__ import annotations

from dataclasses import dataclass

from wire.structure import MalformedMessage, structure_json

# In the medium's folder live/, beside kernel, initial ramdisk and layers; build/images.py writes it.
FILE = "medium.json"
# The image's name, which no other image may have, and the files in it.
IMAGE = "boot-medium"
KERNEL, RAMDISK = "vmlinuz", "initrd"
# Beside the signed hash of that image: when the medium was made, so that a node knows before it fetches.
MADE_FIELD = "made"


@dataclass(frozen=True)
class Medium:
    """A boot medium: when it was `made`, in Unix seconds, and the key of what it was made `of`."""

    made: int
    of: str


def is_made(value: object) -> bool:
    """Say whether it can be the time that a medium was made at: a whole number, before the year 6000."""
    return type(value) is int and 0 < value < 2**36


def medium_of(raw: bytes) -> Medium:
    """Read a medium's file. Raises MalformedMessage."""
    found = structure_json(raw, Medium)
    if not is_made(found.made):
        raise MalformedMessage(f"{FILE}: made at {found.made}")
    return found
