"""Answers that are made to exhaust a node: what is read of them is bounded, whatever they claim."""

import gzip
import tracemalloc
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bootmanager.program import SERVER_AWAY
from host.http import AnswerTooLong, HttpClient, HttpTimeouts, NotAtServer, ServerUnreachable
from host.server import AuthenticationRefused, ServerClient, ServerNotAuthentic
from tests.host.loopback import serving
from wire import xmlrpc
from wire.errors import BootError
from wire.session import NodeKey

pytestmark = pytest.mark.host
LIMIT = 4 * 1024 * 1024
MIB = 1024 * 1024


class Evil(ThreadingHTTPServer):
    """Answers everything with `answer`; `sent` counts the bytes of the body that somebody took."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.asked, self.sent = answer, [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            self.server.answer(self)

    do_POST = do_GET

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, data):
        self.wfile.write(data)
        self.server.sent += len(data)

    def log_message(self, *_):
        pass


def answering(answer):
    return serving(Evil(answer))


def endless(handler, status=200, **headers):
    handler.head(status, **headers)
    for _ in range(64):
        handler.body(bytes(MIB))


def lying(handler):
    endless(handler, Content_Length="1000")


BOMB = gzip.compress(bytes(64 * MIB))
TWICE = gzip.compress(BOMB)


def bomb(handler):
    handler.head(200, Content_Encoding="gzip", Content_Length=str(len(BOMB)))
    handler.body(BOMB)


def bomb_in_a_bomb(handler):
    handler.head(200, Content_Encoding="gzip, gzip", Content_Length=str(len(TWICE)))
    handler.body(TWICE)


def chunked(handler):
    handler.head(200, Transfer_Encoding="chunked")
    for _ in range(64):
        handler.wfile.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
        handler.server.sent += MIB


def redirecting(handler):
    endless(handler, 302, Location="/elsewhere")


def redirecting_bomb(handler):
    handler.head(307, Location="/elsewhere", Content_Encoding="gzip", Content_Length=str(len(BOMB)))
    handler.body(BOMB)


def failing(handler):
    endless(handler, 500)


def many_headers(handler):
    handler.head(200, **{f"X_{number}": "x" * 1000 for number in range(5000)})


ANSWERS = [endless, bomb, bomb_in_a_bomb, chunked, redirecting, redirecting_bomb, failing, many_headers]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
@pytest.mark.parametrize("how", ["get", "post"])
def test_an_answer_without_end_costs_bounded_memory(answer, how):
    with answering(answer) as server:
        client = HttpClient(server.url, timeouts=HttpTimeouts(5, 5))
        ask = {
            "get": lambda: client.get("/x", limit=LIMIT),
            "post": lambda: client.post("/x", b"x", content_type="text/xml", limit=LIMIT),
        }[how]
        tracemalloc.start()
        with pytest.raises(BootError) as caught:
            ask()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(caught.value, AnswerTooLong | ServerUnreachable)
    assert peak < 16 * MIB
    assert [path for path, _ in server.asked] == ["/x"], "no redirection is followed"
    assert server.sent < 32 * MIB, "the rest was not taken"


def test_an_answer_longer_than_it_says_is_cut_where_it_says():
    with answering(lying) as server:
        assert len(HttpClient(server.url).get("/x", limit=LIMIT)) == 1000


def test_no_compression_is_asked_for():
    with answering(lambda handler: handler.head(200, Content_Length="0")) as server:
        assert HttpClient(server.url).get("/x", limit=LIMIT) == b""
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_compressed_answer_is_none():
    """Older libraries unfold a whole piece of it at once, however large that becomes."""

    def small(handler):
        data = gzip.compress(b"hello")
        handler.head(200, Content_Encoding="gzip", Content_Length=str(len(data)))
        handler.body(data)

    with answering(small) as server, pytest.raises(ServerUnreachable, match="encoding 'gzip'"):
        HttpClient(server.url).get("/x", limit=LIMIT)


def saying(body, status=200):
    def answer(handler):
        handler.head(status, Content_Length=str(len(body)))
        handler.body(body)

    return answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (saying(b"<html>Please log in</html>"), ServerNotAuthentic),
        (saying(b"<html>Please log in</html>", 404), NotAtServer),
        (saying(xmlrpc.dump_fault(102, "no")), ServerNotAuthentic),
        (saying(xmlrpc.dump_reply({"value": 1})), ServerNotAuthentic),
        (endless, AnswerTooLong),
        (saying(xmlrpc.dump_fault(103, "no")), AuthenticationRefused),
    ],
    ids=["page", "404", "fault", "other struct", "endless", "refusal"],
)
def test_junk_in_place_of_the_server_is_told_from_a_refusal(answer, error):
    with answering(answer) as server, pytest.raises(error) as caught:
        ServerClient(HttpClient(server.url), 1, NodeKey(bytes(32))).call("BootGetNodeDetails")
    assert isinstance(caught.value, SERVER_AWAY) == (error is not AuthenticationRefused)
    assert "Publish" not in caught.value.advice
