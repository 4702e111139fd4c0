"""A node of tests.host.lan: `python -m tests.host.lan_node ID ADDRESS SERVER MANIFEST TARGET BEHAVIOUR`.

Its key comes by standard input, then the word to begin, then the word to end. It says when it gives; what it
moved, how long that took and what it told; each as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from host.events import Event, Events
from host.server import ServerClient
from images import give
from images.cache import Cache
from images.manifest import SignedImage
from images.neighbours import Neighbours, meeting
from images.shelf import Shelf
from images.source import source_of
from images.unpack import install
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

MIB = 1024 * 1024
# For a node with little memory: half of the image of the test.
ROOM = {"small": 6 * MIB}


class Liar(Shelf):
    """Has everything, and gives other bytes."""

    def get(self, digest: str) -> bytes | None:
        data = super().get(digest)
        return data and os.urandom(len(data))


class Boaster(Shelf):
    """Keeps nothing, so that it never has what it wants and fetches."""

    def put(self, digest: str, data: bytes, *, scarce: bool) -> None:
        pass


SHELVES: dict[str, type[Shelf]] = {"lies": Liar, "boasts": Boaster}


def main() -> None:
    """Install, and stay until told to end."""
    number, address, server, digest, target, behaviour = sys.argv[1:7]
    key = NodeKey.from_text(sys.stdin.readline().strip())
    told: list[dict[str, Any]] = []
    events = Events("bootmanager", (lambda event: told.append(_plain(event)),))
    configuration = NodeConfiguration(int(number), key, server, NetworkSettings())
    cache = Cache(None, events)
    near = None
    bandwidth = give.GIVEN_BYTES
    if behaviour != "alone":
        if behaviour == "drips":
            bandwidth = 2000
        client = ServerClient.of(configuration, address)
        shelf = SHELVES.get(behaviour, Shelf)(cache, ROOM.get(behaviour, 256 * MIB))
        near = Neighbours(address, shelf, partial(meeting, client), [digest], events, bandwidth)
        near.start()
    _say("gives")
    sys.stdin.readline()
    begun = time.monotonic()
    image = SignedImage("base", digest, None)
    moved = install(image, Path(target), source_of(configuration), cache, near=near)
    seconds = time.monotonic() - begun
    _say(
        {
            "network_bytes": moved.network_bytes,
            "neighbour_bytes": moved.neighbour_bytes,
            "seconds": seconds,
            "told": told,
        }
    )
    sys.stdin.readline()


def _plain(event: Event) -> dict[str, Any]:
    return {"event": event.event, **event.data}


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
