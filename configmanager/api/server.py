"""The API's two doors: a Unix socket whose callers are known, and 127.0.0.1:812 for what anybody may ask.

On the Unix socket the kernel says which user has connected (SO_PEERCRED, see unix(7)). On the TCP port nobody
is anybody: a program of the node may be talked into connecting there, and slivers have a loopback of their
own. So it answers `Help`, and the figures for Prometheus at /metrics. Threads, sizes and times are bounded,
and one caller has a small part of them.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from configmanager.api.callers import ANYONE, Caller
from configmanager.slots import FIRST_USER

log = logging.getLogger(__name__)

SOCKET = Path("/run/node-api/socket")
ADDRESS = ("127.0.0.1", 812)
METRICS_PATH = "/metrics"
MAXIMUM_BYTES = 3 * 1024 * 1024
# For all of a request to come, and for each piece of the answer to be taken.
SECONDS = 10.0
THREADS = 32
# At once of one slice, delegate or other user.
PER_CALLER = 4
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Doors:
    """What is behind the doors: what answers the body of a call, who a user is, and the figures as text."""

    answer: Callable[[Caller, bytes], bytes]
    caller: Callable[[int], Caller]
    figures: Callable[[], bytes]


class _Handler(BaseHTTPRequestHandler):
    """One request on one connection."""

    server: _Server

    def setup(self) -> None:
        self.request.settimeout(SECONDS)
        # A time limit on each byte is none on all of them.
        self._deadline = threading.Timer(SECONDS, self._end)
        self._deadline.daemon = True
        self._deadline.start()
        super().setup()

    def finish(self) -> None:
        self._deadline.cancel()
        with suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        """A call of XML-RPC."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        if len(length) > 9 or int(length) > MAXIMUM_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return
        self._deadline.cancel()
        caller = self.server.caller_on(self.request)
        self._send("text/xml", self.server.doors.answer(caller, body))

    def do_GET(self) -> None:
        """The figures, for programs of the node."""
        self._deadline.cancel()
        if self.path != METRICS_PATH or not self.server.has_figures:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._send("text/plain; version=0.0.4; charset=utf-8", self.server.doors.figures())

    def version_string(self) -> str:
        """Say as little as possible."""
        return "configmanager"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news; calls that change something are told as events."""

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _end(self) -> None:
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A door: a thread for each connection, as many as there are places."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    has_figures = True

    def __init__(self, address: Any, doors: Doors) -> None:
        self.doors = doors
        self._lock = threading.Lock()
        self._places: Counter[object] = Counter()
        super().__init__(address, _Handler)

    def caller_on(self, _connection: socket.socket) -> Caller:
        """Return who is at the other end."""
        return ANYONE

    def place_of(self, _connection: socket.socket) -> object:
        """Return whose places a connection takes, None for one that always has one."""
        return ANYONE

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread if there is a place, or close the connection."""
        place = self.place_of(request)
        if not self._take(place):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._give_back(place)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then give its place back."""
        place = self.place_of(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._give_back(place)

    def _take(self, place: object) -> bool:
        with self._lock:
            full = sum(self._places.values()) >= THREADS or self._places[place] >= PER_CALLER
            if place is None or not full:
                self._places[place] += place is not None
                return True
            return False

    def _give_back(self, place: object) -> None:
        with self._lock:
            self._places[place] -= place is not None
            # Whoever has none is forgotten.
            self._places += Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one connection; the others go on."""
        log.info("a connection ended early", exc_info=True)


class _UnixServer(_Server):
    address_family = socket.AF_UNIX
    has_figures = False

    def __init__(self, path: Path, doors: Doors) -> None:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        super().__init__(str(path), doors)
        # Anybody may connect: the calls say who may what.
        path.chmod(0o666)

    def caller_on(self, connection: socket.socket) -> Caller:
        return self.doors.caller(_user_of(connection))

    def place_of(self, connection: socket.socket) -> object:
        user = _user_of(connection)
        if user == 0:
            return None
        # All users of a sliver share its places.
        return ("slot", user >> 16) if user >= FIRST_USER + 0x1_0000 else user


class ApiServer:
    """Both doors, each with a thread that waits there."""

    def __init__(self, doors: Doors, path: Path = SOCKET, address: tuple[str, int] = ADDRESS) -> None:
        """Raises OSError, where an address is taken for example."""
        self._doors = [_UnixServer(path, doors), _Server(address, doors)]
        self.port: int = self._doors[1].server_address[1]

    def start(self) -> None:
        """Answer from now on."""
        for door in self._doors:
            threading.Thread(target=door.serve_forever, name="api", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        for door in self._doors:
            door.shutdown()
            door.server_close()


def _user_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])
