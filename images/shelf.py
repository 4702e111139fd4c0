"""What this node has for its neighbours: verified blobs in a bounded piece of memory, and on the dongle."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from host.memory import MEMINFO, available
from images.cache import Cache
from wire.neighbours import Holdings

MOST_BYTES = 256 * 1024 * 1024
# Of the memory that is free when it begins.
_SHARE = 4


def room(meminfo: Path = MEMINFO) -> int:
    """Return how many bytes of memory a shelf may take on this machine."""
    return min(MOST_BYTES, available(meminfo) // _SHARE)


class Shelf:
    """Blobs to give. Any thread.

    Where memory is short, those go first that came from a neighbour, who has them too.
    """

    def __init__(self, cache: Cache, room_bytes: int) -> None:
        self._cache = cache
        self._room = room_bytes
        self._lock = threading.Lock()
        # A dongle is slow: it is read for one neighbour at a time.
        self._reading = threading.Lock()
        self._scarce: OrderedDict[str, bytes] = OrderedDict()
        self._common: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._on_dongle: set[str] = set()

    def put(self, digest: str, data: bytes, *, scarce: bool) -> None:
        """Keep a verified blob; `scarce` if it is not known that a neighbour has it too."""
        with self._lock:
            if digest in self._scarce or digest in self._common or len(data) > self._room:
                return
            (self._scarce if scarce else self._common)[digest] = data
            self._bytes += len(data)
            while self._bytes > self._room:
                _, old = (self._common or self._scarce).popitem(last=False)
                self._bytes -= len(old)

    def is_on_dongle(self, digest: str) -> None:
        """Note that the cache has the blob."""
        with self._lock:
            self._on_dongle.add(digest)

    def get(self, digest: str) -> bytes | None:
        """Return a blob, verified, or None; nothing but what was put here is looked for on the dongle."""
        with self._lock:
            data = self._scarce.get(digest) or self._common.get(digest)
            if data is not None or digest not in self._on_dongle:
                return data
        with self._reading:
            data = self._cache.get(digest)
        if data is None:
            with self._lock:
                self._on_dongle.discard(digest)
        else:
            self.put(digest, data, scarce=False)
        return data

    def have(self) -> frozenset[str]:
        """Return the names of all that is here."""
        with self._lock:
            return frozenset((*self._scarce, *self._common, *self._on_dongle))

    def holdings(self, fetching: frozenset[str], wants: frozenset[str]) -> Holdings:
        """Return what this node shows its neighbours."""
        have = self.have()
        return Holdings(have, fetching - have, wants - have - fetching)
