"""The connections of an HTTP client: what may drip, and what another thread may cut.

A limit for each silence does not bound an answer: one byte every 29 seconds keeps it alive for days, in
its head as well as in its body. So all that comes is counted here, below the parser, where each byte of
an answer passes.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


@dataclass(frozen=True)
class HttpTimeouts:
    """Seconds to connect, and seconds of silence within an answer.

    In each `drip_seconds` of waiting for one answer `drip_bytes` of it must come.
    """

    connect: float = 10.0
    silence: float = 30.0
    drip_seconds: float = 60.0
    drip_bytes: int = 60 * 1024


USUAL = HttpTimeouts()


class DrippingAnswer(OSError):
    """An answer comes too slowly to wait for its end."""


class Line:
    """The one connection that a client has at a time."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._cut = False

    def connected(self, connection: socket.socket) -> None:
        """Take note of a new connection. Raises ConnectionAbortedError if the line was cut meanwhile."""
        self._socket = connection
        if self._cut:
            connection.close()
            raise ConnectionAbortedError("cut")

    def cut(self) -> None:
        """End the connection for good; who reads from it in another thread finds its end."""
        self._cut = True
        if self._socket is not None:
            # Not the method of a TLS socket, which would first turn it into one that speaks plainly.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def pools(line: Line, timeouts: HttpTimeouts) -> dict[str, Any]:
    """Return urllib3's pools by scheme, whose connections stand on `line` and keep to the limits."""

    class Answer(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *words: Any, **options: Any) -> None:
            super().__init__(sock, *words, **options)
            self.fp = io.BufferedReader(_Counted(self.fp.detach(), timeouts))

    class Plain(HTTPConnection):
        response_class = Answer

        def connect(self) -> None:
            super().connect()
            line.connected(self.sock)

    class Secure(HTTPSConnection):
        response_class = Answer

        def connect(self) -> None:
            super().connect()
            line.connected(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Counted(io.RawIOBase):
    """What comes from a socket, as long as it comes fast enough.

    Only the time spent waiting counts: who reads slowly by intention finds the bytes there.
    """

    def __init__(self, raw: io.RawIOBase, timeouts: HttpTimeouts) -> None:
        self._raw = raw
        self._timeouts = timeouts
        self._waited = 0.0
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        begun = time.monotonic()
        size = self._raw.readinto(buffer)
        self._waited += time.monotonic() - begun
        self._came += size or 0
        if self._waited >= self._timeouts.drip_seconds and size:
            if self._came < self._timeouts.drip_bytes:
                raise DrippingAnswer(f"{self._came} bytes came in {self._waited:.0f} s")
            self._waited, self._came = 0.0, 0
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()
