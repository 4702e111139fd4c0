"""Servers of blobs that break off, lie, drip or are silent, and how a test asks them."""

import os
import re
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from host.halt import Halt
from host.http import HttpClient, HttpTimeouts
from images.manifest import Blob, sha256
from images.source import BLOBS_PATH, HttpSource

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


def many(count, size=MIB // 4):
    contents = [os.urandom(size) for _ in range(count)]
    return contents, [Blob(sha256(data), len(data)) for data in contents]
