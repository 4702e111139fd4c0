"""Runs in the guest, on the code of its medium: `lossy_guest.py serve ADDRESS`, `lossy_guest.py fetch URL`.

Both sides make the same bytes of the same seed, so nothing but them goes over the line.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from host.events import Events
from host.http import HttpClient
from images.cache import Cache
from images.fetch import Supply
from images.manifest import Blob, sha256
from images.source import BLOBS_PATH, HttpSource

# Packs of a Debian root are about so long.
BLOB_BYTES = 3 * 1024 * 1024
BLOBS = 6
PORT = 8000
ALL_OF_IT = "/all"


def contents() -> list[bytes]:
    """Return the blobs."""
    dice = random.Random(1)
    return [dice.randbytes(BLOB_BYTES) for _ in range(BLOBS)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: dict[str, bytes]

    def do_GET(self) -> None:
        data = self.answers[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


def serve(address: str) -> None:
    """Serve each blob, and all of them as one file; says so when it listens."""
    blobs = contents()
    _Handler.answers = {BLOBS_PATH + sha256(data): data for data in blobs} | {ALL_OF_IT: b"".join(blobs)}
    with ThreadingHTTPServer((address, PORT), _Handler) as server:
        print("listening", flush=True)
        server.serve_forever()


def fetch(address: str) -> None:
    """Print the seconds that ours takes and that one connection takes, as JSON."""
    blobs = contents()
    wanted = [Blob(sha256(data), len(data)) for data in blobs]
    whole = sha256(b"".join(blobs))

    def ours() -> str:
        source = HttpSource(HttpClient, f"http://{address}:{PORT}")
        with Supply(source, Cache(None, Events("bench"))) as supply:
            return sha256(b"".join(supply.ahead(wanted)))

    def theirs() -> str:
        connection = http.client.HTTPConnection(address, PORT)
        connection.request("GET", ALL_OF_IT)
        answer, found = connection.getresponse(), hashlib.sha256()
        while piece := answer.read(64 * 1024):
            found.update(piece)
        return found.hexdigest()

    def timed(get: Callable[[], str]) -> float:
        started = time.monotonic()
        if get() != whole:
            raise RuntimeError("not what was sent")
        return time.monotonic() - started

    print(json.dumps({"ours": timed(ours), "theirs": timed(theirs)}))


if __name__ == "__main__":
    {"serve": serve, "fetch": fetch}[sys.argv[1]](sys.argv[2])
