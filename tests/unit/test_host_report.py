"""Events reach the server once and in order, whatever the server does meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from host import report
from host.events import Events
from host.http import ServerUnreachable
from host.report import ServerSink, portable
from host.server import AuthenticationRefused, CallRefused
from wire import xmlrpc


class Server:
    """Takes batches; `failures` are raised first, one a call."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.names: list[str] = []
        self.refused = ""
        self.gate = threading.Event()
        self.gate.set()

    def call(self, method: str, *params: Any) -> Any:
        assert method == "BootReportEvents"
        self.gate.wait(10)
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        names = [event["event"] for event in params[0]]
        if self.refused in names:
            raise CallRefused("fault 102: event")
        self.names += names
        return len(names)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FIRST_RETRY_SECONDS", 0.01)


def told(sink: ServerSink, *names: str) -> None:
    events = Events("test", (sink,))
    for name in names:
        events.tell(name)


def test_what_was_told_before_the_connection_is_sent_after_it() -> None:
    sink, server = ServerSink(), Server()
    told(sink, "a", "b")
    assert not sink.flush(0.01)
    sink.connect(server)
    assert sink.flush(5)
    assert server.names == ["a", "b"]


def test_an_outage_delays_events_and_loses_none() -> None:
    sink = ServerSink(pause_seconds=0)
    server = Server(*[ServerUnreachable("off")] * 3)
    sink.connect(server)
    told(sink, "a", "b", "c")
    assert sink.flush(5)
    assert server.names == ["a", "b", "c"]


def test_telling_does_not_wait_for_a_server_that_hangs() -> None:
    sink, server = ServerSink(pause_seconds=0), Server()
    server.gate.clear()
    sink.connect(server)
    before = time.monotonic()
    told(sink, *"abcdef")
    assert not sink.flush(0.05)
    assert time.monotonic() - before < 2
    server.gate.set()
    assert sink.flush(5)
    assert server.names == list("abcdef")


def test_a_full_queue_loses_the_oldest() -> None:
    sink, server = ServerSink(queue_events=3), Server()
    told(sink, *"abcde")
    sink.connect(server)
    assert sink.flush(5)
    assert server.names == ["c", "d", "e"]


def test_one_event_that_the_server_refuses_costs_only_itself() -> None:
    sink, server = ServerSink(), Server()
    server.refused = "b"
    told(sink, "a", "b", "c")
    sink.connect(server)
    assert sink.flush(5)
    assert server.names == ["a", "c"]


def test_a_server_that_refuses_the_node_is_not_called_again_until_reconnected() -> None:
    sink, server = ServerSink(pause_seconds=0), Server(AuthenticationRefused("no"))
    told(sink, "a")
    sink.connect(server)
    assert not sink.flush(0.3)
    told(sink, "b")
    time.sleep(0.1)
    assert server.calls == 1
    sink.connect(server)
    assert sink.flush(5)
    assert server.names == ["a", "b"]


def test_whatever_is_told_can_be_carried() -> None:
    data = {
        "size": 2**40,
        "text": "a\x00\x1b[0m\ud800b",
        "path": Path("/dev/sda"),
        "list": (1, True, None, {"x": float("nan")}),
    }
    carried = portable(data)
    assert carried["size"] == float(2**40)
    assert carried["text"] == "a??[0m?b"
    assert carried["path"] == "/dev/sda"
    assert carried["list"] == [1, True, None, {"x": "nan"}]
    assert xmlrpc.load_reply(xmlrpc.dump_reply(carried)) == carried
