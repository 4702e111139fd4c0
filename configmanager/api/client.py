"""Calling the node's API over its Unix socket, as whoever runs this."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from configmanager.api.server import SOCKET
from wire.xmlrpc import MAXIMUM_BYTES

# A sliver may take its time to start, and others before it.
SECONDS = 900.0


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("node")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def send(body: bytes, path: Path = SOCKET) -> bytes:
    """Return the body of the answer to the body of a call. Raises OSError, http.client.HTTPException."""
    connection = _Connection(path)
    try:
        connection.request("POST", "/", body, {"Content-Type": "text/xml"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the node answered {answer.status} {answer.reason}")
        return answer.read(MAXIMUM_BYTES + 1)
    finally:
        connection.close()
