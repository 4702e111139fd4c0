"""A source of blobs with a dictionary behind it, and what lies there."""

import threading
from concurrent.futures import CancelledError

from host.events import Events
from images.cache import Cache
from images.manifest import Blob, ImageKind, Manifest, Pack, Piece, sha256

CONTENTS = [b"%d" % number * 1000 for number in range(30)]
BLOBS = tuple(Blob(sha256(data), len(data)) for data in CONTENTS)
MANIFEST = Manifest(
    "base", ImageKind.TREE, (Piece(BLOBS[0], 100, tuple(Pack(blob, 100) for blob in BLOBS[1:])),)
)


class Shelf:
    """A source with a dictionary behind it, which counts; `gates` hold single blobs back.

    `given_up` has those that were asked for and ended by the signal to give up.
    """

    def __init__(self, contents=CONTENTS):
        self.blobs = {sha256(data): data for data in contents}
        self.asked = []
        self.gates = {}
        self.given_up = []

    def gate(self, blob):
        return self.gates.setdefault(blob.sha256, threading.Event())

    def get(self, digest, limit, halt):
        self.asked.append(digest)
        gate = self.gates.get(digest)
        try:
            while gate is not None and not gate.is_set():
                halt.pause(0.005)
        except CancelledError:
            self.given_up.append(digest)
            raise
        return self.blobs[digest]


def nowhere():
    return Cache(None, Events("test"))
