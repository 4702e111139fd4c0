"""Fetching images over long lines, against what the line could carry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from host.events import Events
from host.http import HttpClient
from images.cache import Cache
from images.fetch import Supply
from images.manifest import Blob, sha256
from images.source import BLOBS_PATH, HttpSource
from tests.bench.result import Result
from tests.bench.slow_link import Link, apart, slow_link

BLOB_BYTES = 4 * 1024 * 1024
BLOBS = 16
LINE = Link(delay=0.025, rate=100e6)


class _BlobServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents = contents


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _BlobServer

    def do_GET(self) -> None:
        data = self.server.contents[self.path.removeprefix(BLOBS_PATH)]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


def _serve(contents: dict[str, bytes], tell: Callable[[int], None]) -> None:
    with _BlobServer(contents) as server:
        tell(server.server_address[1])
        server.serve_forever()


def fetch_50ms_100mbit() -> Result:
    """Fetch 64 MiB, round trip 50 ms, 100 Mbit/s, without a cache; against the line's rate alone."""
    contents = {sha256(data): data for data in (os.urandom(BLOB_BYTES) for _ in range(BLOBS))}
    blobs = [Blob(digest, len(data)) for digest, data in contents.items()]
    with apart(partial(_serve, contents)) as near, slow_link(LINE, near) as far:
        source = HttpSource(HttpClient, f"http://127.0.0.1:{far}")
        begun = time.monotonic()
        with Supply(source, Cache(None, Events("bench"))) as supply:
            fetched = sum(map(len, supply.ahead(blobs)))
        ours = time.monotonic() - begun
    if fetched != BLOBS * BLOB_BYTES:
        raise RuntimeError(f"{fetched} bytes came")
    line = fetched * 8 / LINE.rate
    return Result("fetch_50ms_100mbit", ours / line, 1.05, {"ours": ours, "line": line})
