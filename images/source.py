"""Blobs from servers: from mirrors that need not be trusted, and in the end from the node's own server.

A blob is named by its hash, so it does not matter who sends it, nor whether all of it comes from one:
an answer that breaks off is gone on with at that byte, at another mirror if there is one.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from host.halt import Halt
from host.http import (
    PATIENT,
    AnswerTooLong,
    HttpClient,
    NotAtServer,
    ServerUnreachable,
    ServerUntrusted,
    again,
    http_of,
)
from images.manifest import sha256
from images.mirrors import Mirrors
from wire.errors import VerificationError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration

log = logging.getLogger(__name__)

BLOBS_PATH = "/images/blobs/"
# A server that sent so much more before it broke off is as good as one that was asked for the first time.
PROGRESS_BYTES = 256 * 1024


class CorruptImage(VerificationError):
    """What the server sent is not what was signed."""

    code = "corrupt-image"
    title = "An image at the server is corrupt"
    hint = "Publish it again at the server: bootserver image publish NAME PATH. Then set the intent again."


class Source(Protocol):
    """Where blobs come from that the cache does not have. Used by several threads at once."""

    def get(self, digest: str, limit: int, halt: Halt) -> bytes:
        """Return the verified blob, of at most `limit` bytes.

        Raises CancelledError soon after `halt` is set.
        """


class Bandwidth:
    """A limit in bytes per second for all connections together; 0 for none. Any thread."""

    def __init__(self, bytes_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def pause_after(self, size: int) -> float:
        """Return for how many seconds to read nothing, after `size` bytes have come."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now) + size / self._rate
            return self._paid_until - now


class HttpSource:
    """A bootserver and its mirrors.

    `connect` makes a client for a base URL; each is used by one thread at a time, and again for later
    blobs. `bandwidth` is in bytes per second, 0 for no limit.
    """

    def __init__(
        self,
        connect: Callable[[str], HttpClient],
        server: str,
        mirrors: Sequence[str] = (),
        bandwidth: int = 0,
    ) -> None:
        self._connect = connect
        self._mirrors = Mirrors(server, mirrors)
        self._bandwidth = Bandwidth(bandwidth)
        self._lock = threading.Lock()
        self._idle: dict[str, list[HttpClient]] = {}

    def get(self, digest: str, limit: int, halt: Halt) -> bytes:
        """Return the verified blob.

        Mirrors that fail are put aside. The server's answer counts: where none comes it is asked again
        within bounds, since a blob cannot change.
        Raises CorruptImage, NotAtServer, ServerUnreachable, ServerUntrusted, and CancelledError.
        """
        download = _Download(digest, limit)
        while True:
            with self._mirrors.one(download.asked) as url:
                last_resort = url == self._mirrors.server
                try:
                    data = self._ask(url, download, halt)
                except CorruptImage as error:
                    if download.forget():
                        log.warning("fetching it in one piece: %s", error)
                    elif last_resort:
                        raise
                    else:
                        self._mirrors.failed(url, error.detail, lied=True)
                except ServerUnreachable as error:
                    if last_resort:
                        halt.pause(download.pause_after(error))
                    elif not download.went_on or download.asked[url] > 1:
                        self._mirrors.failed(url, error.detail)
                except (NotAtServer, ServerUntrusted) as error:
                    if last_resort:
                        raise
                    self._mirrors.failed(url, error.detail)
                else:
                    self._mirrors.worked(url)
                    return data

    def _ask(self, url: str, download: _Download, halt: Halt) -> bytes:
        def came(size: int) -> None:
            halt.pause(self._bandwidth.pause_after(size))

        with self._client(url, halt) as http:
            return download.ask(http, came)

    @contextmanager
    def _client(self, url: str, halt: Halt) -> Iterator[HttpClient]:
        with self._lock:
            idle = self._idle.setdefault(url, [])
            http = idle.pop() if idle else None
        if http is None:
            http = self._connect(url)
        with halt.cutting(http.abort):
            yield http
        # Not after an error: its connection may be in the middle of an answer, or cut.
        with self._lock:
            idle.append(http)


def source_of(configuration: NodeConfiguration, details: NodeDetails | None = None) -> HttpSource:
    """Return where a node gets blobs: its server, with the mirrors and the limit of its configuration."""
    return HttpSource(
        lambda url: http_of(configuration, base_url=url),
        configuration.server,
        details.mirrors if details is not None else (),
        details.bandwidth_kib * 1024 if details is not None else 0,
    )


class _Download:
    """One blob on its way: what came of it so far, and how often each server was `asked` for it."""

    def __init__(self, digest: str, limit: int) -> None:
        self.asked: Counter[str] = Counter()
        # Whether the last try brought it a good piece further.
        self.went_on = False
        self._digest = digest
        self._limit = limit
        self._body = io.BytesIO()
        self._pieces = 0
        self._in_one_piece = False
        self._renewed_at = 0
        self._retry = PATIENT

    def ask(self, http: HttpClient, came: Callable[[int], None]) -> bytes:
        """Go on where the last try ended, and return the whole, verified.

        Raises what HttpClient.resume() raises, but CorruptImage for an answer that is too long.
        """
        if self._in_one_piece:
            self._empty()
        self._pieces += 1
        path = BLOBS_PATH + self._digest
        try:
            http.resume(path, self._body, limit=self._limit, on_piece=came)
        except AnswerTooLong as error:
            raise CorruptImage(error.detail) from None
        finally:
            self.went_on = self._body.tell() >= self._renewed_at + PROGRESS_BYTES
            if self.went_on:
                self._renewed_at = self._body.tell()
            if not self._body.tell():
                self._pieces = 0
        data = self._body.getvalue()
        found = sha256(data)
        if found != self._digest:
            raise CorruptImage(f"{http.base_url}{path} has {len(data)} bytes with SHA-256 {found}")
        return data

    def forget(self) -> bool:
        """Begin anew. Returns whether what came was pieced together, so that nobody is to blame for it.

        That happens once: from then on each try begins at the first byte.
        """
        pieced = self._pieces > 1
        self._in_one_piece = self._in_one_piece or pieced
        self._empty()
        return pieced

    def pause_after(self, error: ServerUnreachable) -> float:
        """Return the seconds to wait before the next try. Raises the error after too many."""
        if self.went_on:
            self._retry = PATIENT
        self._retry = again(self._retry, error)
        return self._retry.get_backoff_time()

    def _empty(self) -> None:
        self._body = io.BytesIO()
        self._pieces = 0
