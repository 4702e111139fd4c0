"""Blobs over real sockets: from servers that break off, lie, drip or are not there, and from mirrors."""

import io
import socket
import threading
import time
import tracemalloc
from concurrent.futures import CancelledError

import pytest

from host.events import Events
from host.halt import Halt
from host.http import PATIENT, HttpClient, HttpTimeouts, NotAtServer, ServerUnreachable
from images.cache import Cache
from images.fetch import AHEAD, CONNECTIONS, Supply
from images.source import BLOBS_PATH, CorruptImage, HttpSource
from images.store import BlobStore
from tests.host.tls_server import context_of
from tests.host.unruly_server import (
    DATA,
    DIGEST,
    MIB,
    breaks,
    busy,
    drips,
    drips_in_the_head,
    get,
    knows_no_ranges,
    many,
    of,
    proper,
    quick,
    silent,
    too_long,
    wrong,
)
from wire import tls

pytestmark = pytest.mark.host
# --- one server ---


def test_a_broken_download_goes_on_at_the_byte(start):
    server = start(script=[breaks(300_001), breaks(700_000)])
    assert get(of(server)) == DATA
    assert server.ranges == [None, "bytes=300001-", "bytes=700000-"]
    assert server.sent == MIB, "no byte came twice"


def test_a_download_that_is_reset_goes_on_too(start):
    def resets(handler):
        proper(handler, 400_000)
        handler.wfile.flush()
        time.sleep(0.2)
        # Without lingering, closing is a reset.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.connection.close()

    server = start(script=[resets])
    assert get(of(server)) == DATA
    assert server.ranges == [None, "bytes=400000-"]


def test_a_server_without_ranges_begins_anew(start):
    server = start(script=[breaks(300_000), knows_no_ranges])
    assert get(of(server)) == DATA
    assert len(server.ranges) == 2


@pytest.mark.parametrize(
    "lie",
    [
        lambda handler: proper(handler, first=handler.start + 1),
        lambda handler: handler.head(206, 0),
        lambda handler: handler.head(206, 0, Content_Range="bytes garbage"),
        lambda handler: handler.head(416, 0),
    ],
    ids=["another", "none", "garbage", "unsatisfiable"],
)
def test_another_range_than_asked_for_is_not_believed(start, lie):
    server = start(script=[breaks(300_000), lie])
    assert get(of(server)) == DATA
    assert server.ranges == [None, "bytes=300000-", None]


def test_a_server_that_is_busy_does_not_cost_what_came(start):
    server = start(script=[breaks(300_000), busy])
    assert get(of(server)) == DATA
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-"]


def test_a_range_nobody_asked_for_is_no_answer(start):
    server = start(script=[lambda handler: handler.head(206, 10, Content_Range="bytes 0-9/10")])
    assert get(of(server)) == DATA


@pytest.mark.parametrize("end", [wrong, too_long])
def test_a_pieced_blob_that_is_wrong_is_fetched_once_more_in_one_piece(start, end):
    server = start(script=[breaks(300_000), end, breaks(600_000)])
    assert get(of(server)) == DATA
    assert server.ranges == [None, "bytes=300000-", None, None]


def test_a_server_that_is_wrong_again_is_corrupt(start):
    server = start(script=[breaks(300_000), wrong, wrong])
    with pytest.raises(CorruptImage, match="SHA-256"):
        get(of(server))
    assert len(server.ranges) == 3


@pytest.mark.parametrize("answer", [wrong, too_long])
def test_a_wrong_answer_in_one_piece_is_corrupt_at_once(start, answer):
    server = start(always=answer)
    with pytest.raises(CorruptImage) as caught:
        get(of(server))
    assert caught.value.code == "corrupt-image"
    assert "publish" in caught.value.advice.lower()
    assert len(server.ranges) == 1


def test_what_the_server_does_not_have(start):
    with pytest.raises(NotAtServer):
        get(of(start(contents=())))


def test_tries_are_bounded(start):
    server = start(always=busy)
    with pytest.raises(ServerUnreachable, match="503"):
        get(of(server))
    assert len(server.ranges) == 1 + PATIENT.total


def test_each_good_piece_renews_the_patience(start):
    failures = PATIENT.total - 1
    server = start(
        script=[answer for at in (300_000, 600_000, 900_000) for answer in (breaks(at), *[busy] * failures)]
    )
    assert get(of(server)) == DATA
    stuck = start(always=breaks(300_000))
    with pytest.raises(ServerUnreachable):
        get(of(stuck))
    assert len(stuck.ranges) == 1 + PATIENT.total, "no progress after the first piece"


@pytest.mark.parametrize("answer", [drips, drips_in_the_head, silent])
def test_an_answer_that_drips_is_given_up(start, answer):
    server = start(script=[answer])
    begun = time.monotonic()
    assert get(of(server, connect=quick)) == DATA
    assert time.monotonic() - begun < 8


def test_a_slow_reader_is_no_dripping_server(start):
    server = start(contents=[DATA * 8])
    client = HttpClient(server.url, timeouts=HttpTimeouts(1, 1, 0.05, 10 * MIB))
    slow = HttpSource(lambda _: client, server.url, (), 16 * MIB)
    assert get(slow, DATA * 8) == DATA * 8
    assert len(server.ranges) == 1


# --- several connections ---


def test_a_few_connections_are_kept_for_all_blobs(start):
    contents, blobs = many(20)
    server = start(contents)
    fetched = of(server)
    for part in (blobs[:10], blobs[10:]):
        with Supply(fetched, Cache(None, Events("test"))) as supply:
            list(supply.ahead(part))
    assert 1 < len(server.clients) <= CONNECTIONS
    assert server.clients.total() == len(blobs)


def test_memory_is_bounded_over_many_blobs(start):
    contents, blobs = many(48)
    server = start(contents)
    tracemalloc.start()
    with Supply(of(server), Cache(None, Events("test"))) as supply:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in supply.ahead(blobs):
            time.sleep(0.005)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # A body that grows is allocated with an eighth to spare.
    assert peak < (CONNECTIONS + AHEAD) * blobs[0].size * 9 / 8 + MIB // 2


@pytest.mark.parametrize("answer", [silent, drips])
def test_leaving_cuts_connections_that_hang(start, answer):
    contents, blobs = many(20)
    server = start(contents, always=answer)
    before = set(threading.enumerate())
    begun = time.monotonic()
    with Supply(of(server), Cache(None, Events("test"))) as supply:
        asker = threading.Thread(target=hangs, args=(supply.ahead(blobs),))
        asker.start()
        while len(server.ranges) < CONNECTIONS:
            time.sleep(0.01)
    asker.join(4)
    assert time.monotonic() - begun < 4
    mine = {thread for thread in set(threading.enumerate()) - before if "process_request" not in thread.name}
    assert mine == set()


def test_a_connection_by_tls_is_cut_too(start, tmp_path):
    authority = tls.make_authority("the deployment's", time.time())
    context = context_of(tls.issue(authority, ("127.0.0.1",), time.time()), tmp_path)
    server = start(script=[silent])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    url = server.url.replace("http", "https")
    fetched = HttpSource(lambda url: HttpClient(url, authority=authority.certificate.decode()), url)
    halt = Halt()
    begun = time.monotonic()
    threading.Timer(0.3, halt.set).start()
    with pytest.raises(CancelledError):
        fetched.get(DIGEST, MIB, halt)
    assert time.monotonic() - begun < 4
    assert len(server.ranges) == 1
    assert get(fetched) == DATA


def hangs(stream):
    with pytest.raises(CancelledError):
        next(stream)


def test_a_failure_cuts_the_others(start):
    contents, blobs = many(4)
    server = start(contents, always=silent)
    server.contents.pop(blobs[2].sha256)
    begun = time.monotonic()
    with (
        Supply(of(server), Cache(None, Events("test"))) as supply,
        pytest.raises(NotAtServer, match=blobs[2].sha256),
    ):
        list(supply.ahead(blobs))
    assert time.monotonic() - begun < 4


def test_a_cut_client_is_not_used_again(start):
    server = start(script=[silent])
    fetched, halt = of(server), Halt()
    threading.Timer(0.2, halt.set).start()
    with pytest.raises(CancelledError):
        fetched.get(DIGEST, MIB, halt)
    assert get(fetched) == DATA


# --- bandwidth ---


def test_the_limit_holds_for_all_connections_together(start):
    contents, blobs = many(16, MIB // 8)
    server = start(contents)
    begun = time.monotonic()
    with Supply(of(server, bandwidth=2 * MIB), Cache(None, Events("test"))) as supply:
        assert sum(len(data) for data in supply.ahead(blobs)) == 2 * MIB
    assert 0.9 < time.monotonic() - begun < 4


# --- bootserver ---


def test_bootserver_answers_with_the_range(folder, server):
    BlobStore(folder / "blobs").put(DATA)
    body = io.BytesIO(DATA[:300_001])
    body.seek(0, io.SEEK_END)
    came = []
    HttpClient(server.nodes).resume(BLOBS_PATH + DIGEST, body, limit=MIB, on_piece=came.append)
    assert body.getvalue() == DATA
    assert sum(came) == MIB - 300_001, "only what was missing came"
    assert get(of(server.nodes)) == DATA
