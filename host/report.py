"""Events, live at the server: a sink that never blocks, never raises, and resumes after an outage.

Events wait in a bounded queue and go out in batches from a thread of their own. A batch whose answer was
lost is sent again; the server knows an event that it already has. When the queue is full the oldest
events are lost; the file on the node still has them.
"""

from __future__ import annotations

import logging
import math
import random
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from host.events import Event
from wire.errors import BootError, TransientError, TrustError

log = logging.getLogger(__name__)

METHOD = "BootReportEvents"
QUEUE_EVENTS = 5000
BATCH_EVENTS = 100
# Between two calls: what happens meanwhile shares one, and a dashboard is still live.
PAUSE_SECONDS = 0.5
FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 30.0
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Caller(Protocol):
    """What is needed of a ServerClient; `call` may raise any BootError."""

    def call(self, method: str, *params: Any) -> Any:
        """Return the authenticated result of a call."""


class ServerSink:
    """A sink that uploads events once it is connected; those told before are kept for then."""

    def __init__(self, *, queue_events: int = QUEUE_EVENTS, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._queue: deque[dict[str, Any]] = deque(maxlen=queue_events)
        self._pause = pause_seconds
        self._changed = threading.Condition()
        self._client: Caller | None = None
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._flushing = 0

    def __call__(self, event: Event) -> None:
        """Take an event for sending; returns at once."""
        plain = {key: portable(value) for key, value in event.to_plain().items()}
        with self._changed:
            self._queue.append(plain)
            self._changed.notify_all()

    def connect(self, client: Caller) -> None:
        """Send by `client` from now on; also after the server had refused an earlier one."""
        with self._changed:
            self._client = client
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="report", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is sent, at most `timeout` seconds. Returns whether it is."""
        with self._changed:
            if self._client is None:
                return not self._queue
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._queue and not self._in_flight, timeout)
            finally:
                self._flushing -= 1

    def _work(self) -> None:
        retry = FIRST_RETRY_SECONDS
        while True:
            client, batch = self._take()
            try:
                self._send(client, batch)
            except TransientError as error:
                log.warning("events wait for the server: %s", error)
                self._give_back(batch)
                # Jitter: a fleet that lost its server must not come back in one instant.
                self._wait(retry * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
                retry = min(2 * retry, LAST_RETRY_SECONDS)
            except TrustError as error:
                log.error("no further events to the server: %s", error)
                self._give_back(batch)
                self._disconnect(client)
            else:
                retry = FIRST_RETRY_SECONDS
                self._done()
                self._wait(self._pause)

    def _take(self) -> tuple[Caller, list[dict[str, Any]]]:
        with self._changed:
            self._changed.wait_for(lambda: self._client is not None and self._queue)
            client = self._client
            if client is None:
                raise RuntimeError("woken without a client")
            batch = list(islice(self._queue, BATCH_EVENTS))
            for _ in batch:
                self._queue.popleft()
            self._in_flight = len(batch)
            return client, batch

    def _send(self, client: Caller, batch: Sequence[dict[str, Any]]) -> None:
        """Send a batch; one event that the server cannot take must not hold up the others."""
        try:
            client.call(METHOD, list(batch))
        except (TransientError, TrustError):
            raise
        except BootError as error:
            if len(batch) == 1:
                log.error("the server does not take the event %s: %s", batch[0].get("event"), error)
                return
            for event in batch:
                self._send(client, [event])

    def _give_back(self, batch: Sequence[dict[str, Any]]) -> None:
        with self._changed:
            room = (self._queue.maxlen or 0) - len(self._queue)
            # The oldest are the first to be lost, also of those that were on their way.
            self._queue.extendleft(reversed(batch[max(0, len(batch) - room) :]))
            self._in_flight = 0

    def _done(self) -> None:
        with self._changed:
            self._in_flight = 0
            self._changed.notify_all()

    def _disconnect(self, client: Caller) -> None:
        with self._changed:
            if self._client is client:
                self._client = None

    def _wait(self, seconds: float) -> None:
        """Wait, but not while somebody waits for the queue to be empty; then only to breathe."""
        with self._changed:
            self._changed.wait_for(lambda: self._flushing > 0, seconds)
            flushing = self._flushing > 0
        if flushing:
            time.sleep(min(seconds, 0.1))


def portable(value: object) -> Any:
    """Return `value` as XML-RPC can carry it.

    Integers beyond 32 bits become floats, characters that XML does not know question marks, and
    what is no plain data its text.
    """
    match value:
        case None | bool():
            return value
        case int():
            return int(value) if -(2**31) <= value < 2**31 else float(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _NOT_IN_XML.sub("?", str(value))
        case Mapping():
            return {_NOT_IN_XML.sub("?", str(key)): portable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [portable(item) for item in value]
    return _NOT_IN_XML.sub("?", str(value))
