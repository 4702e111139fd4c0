"""What a node gives and to whom, and what it takes from neighbours that fail, over real sockets."""

import http.client
import os
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from host.events import Events
from host.halt import Halt
from images import neighbours
from images.cache import Cache
from images.give import EACH, GIVEN_BYTES, Giver
from images.manifest import sha256
from images.neighbours import Neighbours
from images.shelf import Shelf
from images.source import BLOBS_PATH
from tests.host.loopback import serving
from tests.host.unruly_server import Server, breaks, busy, missing, proper, silent, too_long, wrong
from wire.neighbours import HOLDINGS_PATH, Holdings

pytestmark = pytest.mark.host
MIB = 1024 * 1024
DATA = os.urandom(MIB)
DIGEST = sha256(DATA)
PATH = BLOBS_PATH + DIGEST


class Node:
    """What is given: one blob; `known` are the neighbours' addresses."""

    def __init__(self, data=DATA):
        self.known, self.data, self.asked_by = {"127.0.0.1"}, data, []

    def is_neighbour(self, address):
        self.asked_by.append(address)
        return address in self.known

    def shown(self, address):
        return b"{}"

    def blob(self, digest):
        return self.data if digest == sha256(self.data) else None


@pytest.fixture
def give():
    """Start giving; returns the node and its port."""
    with ExitStack() as stack:

        def start(node, bandwidth=GIVEN_BYTES):
            giver = Giver("127.0.0.1", node, bandwidth)
            stack.callback(giver.close)
            return giver.port

        yield start


def get(port, path=PATH, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_blobs_and_the_document_and_nothing_else_are_given(give):
    port = give(Node())
    assert get(port)[1] == DATA
    assert get(port, HOLDINGS_PATH)[1] == b"{}"
    for path in (
        "/",
        "/etc/passwd",
        BLOBS_PATH,
        BLOBS_PATH + "0" * 64,
        PATH + "/",
        BLOBS_PATH + "../x",
        DIGEST,
    ):
        assert get(port, path)[0].status == 404
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert get(port, method=method)[0].status == 501


def test_a_part_of_a_blob_is_given(give):
    port = give(Node())
    answer, body = get(port, Range="bytes=1000000-")
    assert (answer.status, body) == (206, DATA[1_000_000:])
    assert answer.headers["Content-Range"] == f"bytes 1000000-{MIB - 1}/{MIB}"
    assert get(port, Range=f"bytes={MIB}-")[0].status == 416
    assert get(port, Range="bytes=junk")[1] == DATA


def test_a_stranger_gets_no_answer(give):
    node = Node()
    node.known.clear()
    port = give(node)
    with pytest.raises(ConnectionError):
        get(port)
    assert node.asked_by == ["127.0.0.1"]


def test_what_it_gives_has_a_bound(give):
    port = give(Node(), MIB)
    begun = time.monotonic()
    assert get(port)[1] == DATA
    assert 0.8 < time.monotonic() - begun < 5


def test_one_neighbour_has_few_connections(give):
    port = give(Node())
    with ExitStack() as stack:
        for _ in range(EACH):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).send(b"GET ")
        time.sleep(0.2)
        with pytest.raises(ConnectionError):
            get(port)
    # Who lets go of its connections gets new ones.
    give_up = time.monotonic() + 8
    while time.monotonic() < give_up:
        try:
            assert get(port)[1] == DATA
            return
        except ConnectionError:
            time.sleep(0.1)
    raise AssertionError("they are not given back")


def test_who_does_not_read_holds_no_answer_for_ever(give, monkeypatch):
    monkeypatch.setattr("images.give._Handler.timeout", 0.5)
    node = Node(os.urandom(16 * MIB))
    port = give(node)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port)) as lazy:
        lazy.send(f"GET {BLOBS_PATH}{sha256(node.data)} HTTP/1.0\r\n\r\n".encode())
        give_up = time.monotonic() + 5
        time.sleep(0.2)
        while threading.active_count() > before:
            assert time.monotonic() < give_up
            time.sleep(0.05)


# --- taking ---


@dataclass(frozen=True)
class Near:
    """A neighbour on the loopback, where none can be in life."""

    url: str
    address: str = "127.0.0.1"


@pytest.fixture
def take():
    """Take the blob from servers that are neighbours and say that they have it."""
    with ExitStack() as stack:

        def asked(*servers):
            told = []
            events = Events("test", (lambda event: told.append(event.data),))
            near = Neighbours("127.0.0.1", Shelf(Cache(None, events), MIB), None, [], events)
            for server in servers:
                stack.enter_context(serving(server))
            for peer in near.swarm.meet([Near(server.url) for server in servers]):
                near.swarm.heard(peer, Holdings(have=frozenset([DIGEST])))
            return near.take(DIGEST, MIB, Halt()), told

        yield asked


def one_of(answer):
    return Server([DATA], always=answer)


def test_a_neighbour_brings_it(take):
    assert take(one_of(proper)) == (DATA, [])


@pytest.mark.parametrize("answer", [wrong, too_long])
def test_a_liar_is_told_of_and_another_brings_it(take, answer):
    for _ in range(2):
        data, told = take(one_of(answer), one_of(proper), one_of(answer))
        assert data == DATA
        assert {each["lied"] for each in told} <= {True}


@pytest.mark.parametrize("answer", [wrong, too_long, busy, missing, breaks(1000)])
def test_where_no_neighbour_brings_it_there_is_none(take, answer):
    data, told = take(one_of(answer), one_of(answer))
    assert data is None
    assert [each["lied"] for each in told] == [answer in (wrong, too_long)] * (0 if answer is missing else 2)


def test_another_goes_on_where_one_breaks_off(take):
    first, second = one_of(breaks(300_000)), one_of(breaks(500_000))
    data, told = take(first, second, one_of(proper))
    assert data == DATA
    assert all(not each["lied"] for each in told)
    assert all(each in (None, "bytes=300000-", "bytes=500000-") for each in (*first.ranges, *second.ranges))


def test_nobody_is_blamed_for_what_came_from_two(take):
    def wrong_and_breaks(handler):
        proper(handler, 300_000, data=bytes(MIB))

    data, told = take(one_of(wrong_and_breaks), one_of(proper))
    assert data == DATA
    assert [each["lied"] for each in told] in ([], [False])


def test_one_that_is_silent_is_given_up(take, monkeypatch):
    monkeypatch.setattr(neighbours, "NEAR", replace(neighbours.NEAR, silence=0.5))
    begun = time.monotonic()
    data, _ = take(one_of(silent), one_of(silent))
    assert data is None
    assert time.monotonic() - begun < 8


def test_one_that_is_slower_than_the_server_may_be_is_given_up(take, monkeypatch):
    monkeypatch.setattr("images.patience.LEAST_SECONDS", 0.3)

    def slow(handler):
        handler.head(200, len(DATA))
        for at in range(0, len(DATA), 64 * 1024):
            handler.body(DATA[at : at + 64 * 1024])
            time.sleep(0.1)

    data, told = take(one_of(slow))
    assert data is None
    assert "came in" in told[0]["reason"]
