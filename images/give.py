"""The server by which a node gives its neighbours what it has: two kinds of documents, to be read only.

    GET /holdings                  what this node has, fetches and wants
    GET /images/blobs/<sha256>     a blob, with ranges

Who is not a neighbour by the word of the deployment's server gets no answer at all. It speaks plain HTTP:
there is nothing secret in it, and who gets a blob looks at its hash.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Protocol

from images.manifest import is_digest
from images.source import BLOBS_PATH, Bandwidth
from wire.neighbours import HOLDINGS_PATH

log = logging.getLogger(__name__)

# More is not taken of the node's own line: bytes per second, all connections together.
GIVEN_BYTES = 32 * 1024 * 1024
CONNECTIONS = 32
# Of one neighbour.
EACH = 4
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 60.0
_STOP_SECONDS = 0.1
_PIECE = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{1,10})-")


class Giving(Protocol):
    """What is given, and to whom."""

    def is_neighbour(self, address: str) -> bool:
        """Say whether the machine with this address gets answers."""

    def shown(self, address: str) -> bytes:
        """Return the document of what this node has, for the machine with this address."""

    def blob(self, digest: str) -> bytes | None:
        """Return a verified blob, or None."""


# Not HTTPServer, which asks the DNS for its own name before it listens.
class Giver(ThreadingTCPServer):
    """Gives on a free port of one address, in threads of its own, until it is closed."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(self, address: str, giving: Giving, bandwidth: int) -> None:
        """Listen. Raises OSError."""
        self.giving = giving
        self.bandwidth = Bandwidth(bandwidth)
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        super().__init__((address, 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(_STOP_SECONDS,), name="give", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def close(self) -> None:
        """Answer nobody any more."""
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Say whether to answer: a neighbour that has not too many connections."""
        address = client_address[0]
        if not self.giving.is_neighbour(address):
            return False
        with self._lock:
            if self._open[address] >= EACH or self._open.total() >= CONNECTIONS:
                return False
            self._open[address] += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and count the connection as ended."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open[client_address[0]] -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong in the log, not on the console."""
        log.info("an answer to %s ended early", client_address[0], exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request a connection, so that who says nothing holds none."""

    server: Giver
    server_version = "bootmanager"
    sys_version = ""
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        digest = self.path.removeprefix(BLOBS_PATH)
        body: bytes | None = None
        if self.path == HOLDINGS_PATH:
            body = self.server.giving.shown(self.client_address[0])
        elif digest != self.path and is_digest(digest):
            body = self.server.giving.blob(digest)
        if body is None:
            self.send_error(404)
        else:
            self._send(body)

    def _send(self, body: bytes) -> None:
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start >= len(body) and asked:
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self._in_pieces(memoryview(body)[start:], self.wfile.write)

    def _in_pieces(self, body: memoryview, write: Callable[[memoryview], object]) -> None:
        give_up = time.monotonic() + ANSWER_SECONDS
        with suppress(ConnectionError, TimeoutError):
            for at in range(0, len(body), _PIECE):
                if time.monotonic() > give_up:
                    return
                piece = body[at : at + _PIECE]
                time.sleep(self.server.bandwidth.pause_after(len(piece)))
                write(piece)

    def log_message(self, format: str, *words: Any) -> None:
        log.debug(format, *words)
