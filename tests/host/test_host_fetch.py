"""Blobs over real sockets: from servers that break off, lie, drip or are not there, and from mirrors."""

import io
import os
import re
import socket
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from host.events import Events
from host.halt import Halt
from host.http import PATIENT, HttpClient, HttpTimeouts, NotAtServer, ServerUnreachable
from images import mirrors, source
from images.cache import Cache
from images.fetch import AHEAD, CONNECTIONS, Supply
from images.manifest import Blob, sha256
from images.source import BLOBS_PATH, CorruptImage, HttpSource, source_of
from images.store import BlobStore
from tests.host.loopback import serving
from tests.host.tls_server import context_of
from wire import tls
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NetworkSettings, NodeConfiguration
from wire.session import NodeKey

pytestmark = pytest.mark.host
MIB = 1024 * 1024
DATA = os.urandom(MIB)
DIGEST = sha256(DATA)
# On a busy machine an honest server may be away for a second.
QUICK = HttpTimeouts(connect=5, silence=2, drip_seconds=1, drip_bytes=60_000)


class Server(ThreadingHTTPServer):
    """Serves blobs with ranges; the next answers are given by `script`, a list of functions of the handler.

    `ranges` keeps the Range header of each request, `sent` the bytes of all bodies.
    """

    daemon_threads = True

    def __init__(self, contents=(DATA,), script=(), always=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = {sha256(data): data for data in contents}
        self.script, self.always = list(script), always
        self.lock = threading.Lock()
        self.ranges, self.sent, self.clients = [], 0, Counter()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Clients that give up are what is tested here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.lock:
            self.server.ranges.append(self.headers["Range"])
            self.server.clients[self.client_address] += 1
            answer = self.server.script.pop(0) if self.server.script else self.server.always or proper
        self.data = self.server.contents.get(self.path.removeprefix(BLOBS_PATH))
        found = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        self.start = int(found[1]) if found else 0
        with suppress(BrokenPipeError, ConnectionResetError):
            (missing if self.data is None else answer)(self)

    def head(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, data):
        # Counted first: the client may have it all before the next line is run.
        with self.server.lock:
            self.server.sent += len(data)
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def missing(handler):
    handler.head(404, 0)


def proper(handler, end=None, first=None, data=None):
    """Answer with the range, up to byte `end`, claiming that it begins at `first`."""
    data, start = data or handler.data, handler.start
    first = start if first is None else first
    headers = {"Content_Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if start else {}
    handler.head(206 if start else 200, len(data) - start, **headers)
    handler.body(data[start:end])
    handler.close_connection = end is not None


def breaks(end):
    return lambda handler: proper(handler, end)


def knows_no_ranges(handler):
    handler.start = 0
    proper(handler)


def wrong(handler):
    proper(handler, data=bytes(len(handler.data)))


def too_long(handler):
    proper(handler, data=handler.data + b"x")


def busy(handler):
    handler.head(503, 0)


def drips(handler):
    handler.head(200, len(handler.data))
    for at in range(0, len(handler.data), 1000):
        handler.body(handler.data[at : at + 1000])
        time.sleep(0.05)


def drips_in_the_head(handler):
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)


def silent(handler):
    time.sleep(8)
    handler.close_connection = True


@pytest.fixture
def start():
    """Servers, each begun by a call with what Server takes."""
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(serving(Server(*words, **options)))


@pytest.fixture(autouse=True)
def hardly_patient(monkeypatch):
    """The same number of tries, without most of their pauses."""
    monkeypatch.setattr(source, "PATIENT", PATIENT.new(backoff_factor=0, backoff_jitter=0.01))


def of(server, *mirrors, connect=HttpClient, bandwidth=0):
    url = server if isinstance(server, str) else server.url
    return HttpSource(connect, url, [mirror.url for mirror in mirrors], bandwidth)


def quick(url):
    return HttpClient(url, timeouts=QUICK)


def get(source, data=DATA):
    return source.get(sha256(data), len(data), Halt())


def nowhere_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


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


def many(count, size=MIB // 4):
    contents = [os.urandom(size) for _ in range(count)]
    return contents, [Blob(sha256(data), len(data)) for data in contents]


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


# --- mirrors ---


def test_mirrors_share_the_work_and_the_server_has_none(start):
    contents, blobs = many(24)
    server, *near = start(contents), start(contents), start(contents)
    with Supply(of(server, *near), Cache(None, Events("test"))) as supply:
        assert len(list(supply.ahead(blobs))) == len(blobs)
    assert server.ranges == []
    assert sum(len(mirror.ranges) for mirror in near) == len(blobs)
    assert min(len(mirror.ranges) for mirror in near) >= len(blobs) // 4


@pytest.mark.parametrize("answer", [wrong, too_long, missing, busy, silent, drips])
def test_a_mirror_that_fails_is_left_alone(start, answer):
    contents, blobs = many(12)
    server, bad, good = start(contents), start(contents, always=answer), start(contents)
    connect = quick if answer in (silent, drips) else HttpClient
    with Supply(of(server, bad, good, connect=connect), Cache(None, Events("test"))) as supply:
        assert list(supply.ahead(blobs)) == contents
    assert 1 <= len(bad.ranges) <= CONNECTIONS
    assert len(good.ranges) >= len(blobs) - CONNECTIONS
    assert server.ranges == []


def test_without_a_mirror_that_works_the_server_serves(start):
    server, bad = start(), start(always=wrong)
    fetched = HttpSource(HttpClient, server.url, [nowhere_url(), bad.url])
    assert get(fetched) == DATA
    assert len(server.ranges) == 1


def test_a_blob_is_pieced_together_from_several(start):
    server, first, second = start(), start(script=[breaks(300_000)]), start(script=[breaks(500_000)])
    assert get(of(server, first, second)) == DATA
    assert second.sent == 200_000
    assert first.sent + second.sent == MIB, "no byte came twice"


def test_nobody_is_blamed_for_a_wrong_blob_of_several(start):
    """One gives wrong bytes and breaks off, the other goes on: only the next try shows who lies."""

    def wrong_and_breaks(handler):
        proper(handler, 300_000, data=bytes(MIB))

    liar, honest = start(script=[wrong_and_breaks], always=wrong), start()
    fetched = of(start(), liar, honest)
    assert get(fetched) == DATA
    asked = len(liar.ranges)
    assert len(honest.ranges) >= 1
    for _ in range(6):
        assert get(fetched) == DATA
    assert len(liar.ranges) <= max(asked, 2), "found out, and left alone"


def test_a_mirror_comes_back(start, monkeypatch):
    monkeypatch.setattr(mirrors, "ASIDE_SECONDS", 0.2)
    server, mirror = start(), start(script=[busy])
    fetched = of(server, mirror)
    for _ in range(3):
        get(fetched)
    assert (len(mirror.ranges), len(server.ranges)) == (1, 3)
    time.sleep(0.25)
    get(fetched)
    assert (len(mirror.ranges), len(server.ranges)) == (2, 3)


def test_a_node_fetches_as_its_configuration_says(start):
    server, mirror = start(), start()
    configuration = NodeConfiguration(7, NodeKey.generate(), server.url, NetworkSettings())
    details = NodeDetails(
        7, "n1", TargetState.INST, "r1", 3, ImageRef("base", "ab"), mirrors=(mirror.url,), bandwidth_kib=2048
    )
    assert get(source_of(configuration)) == DATA
    assert (len(server.ranges), len(mirror.ranges)) == (1, 0)
    begun = time.monotonic()
    assert get(source_of(configuration, details)) == DATA
    assert (len(server.ranges), len(mirror.ranges)) == (1, 1)
    assert time.monotonic() - begun > 0.4


def test_the_last_error_is_the_servers(start):
    with pytest.raises(NotAtServer, match="http"):
        get(of(start(contents=()), start(always=wrong)))


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
