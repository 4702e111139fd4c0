"""What bootmanager leaves on the installed system for configmanager.

Never the key: that is read from the key medium each time, so that a stolen or returned disk opens
nothing at the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wire.messages import ImageRef
from wire.structure import MalformedMessage, dump_json, structure_json

PATH = Path("etc/bootmanager/handoff.json")


@dataclass(frozen=True)
class Handoff:
    """Which run installed the node, and whom it belongs to.

    `images` are those the server named then; `authority` is the certificate (PEM) by which the server is
    known, so that images can be had while the key medium is away.
    """

    run_id: str
    node_id: int
    hostname: str
    server: str
    images: tuple[ImageRef, ...] = ()
    authority: str = ""


def dump_handoff(handoff: Handoff) -> str:
    """Return the file's text."""
    return dump_json(handoff)


def load_handoff(text: str) -> Handoff:
    """Read the file's text. Raises MalformedMessage."""
    try:
        return structure_json(text, Handoff)
    except MalformedMessage as error:
        raise MalformedMessage(f"/{PATH}: {error.detail}") from None
