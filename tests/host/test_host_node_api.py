"""The doors of the node's API on real sockets: who calls by the kernel's word, and what is bounded."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from configmanager.api import server as module
from configmanager.api import shell
from configmanager.api.callers import caller_of
from configmanager.api.client import send
from configmanager.api.server import PER_CALLER, ApiServer, Doors
from configmanager.slots import Slot
from tests.unit.node_api import FakeNode
from wire.xmlrpc import dump_call, load_reply

pytestmark = pytest.mark.host
SLOTS, DELEGATES = {"mine": Slot(1), "other": Slot(2)}, {Slot(0).first_user + 0x8000: "someone"}
# What another user's process runs: it connects, sends and prints the end of the answer.
CLIENT = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.sendall(b"POST / HTTP/1.0\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
print(door.makefile("rb").read().rpartition(b"\\r\\n\\r\\n")[2].decode())
"""


@pytest.fixture
def folder():
    # Other users have to reach it.
    made = Path(tempfile.mkdtemp(prefix="node-api-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def opened(folder):
    servers = []

    def open_with(answer=lambda caller, _: str(caller).encode()) -> ApiServer:
        doors = Doors(answer, lambda user: caller_of(user, SLOTS, DELEGATES), lambda: b"figure 1\n")
        servers.append(ApiServer(doors, folder / "socket", ("127.0.0.1", 0)))
        servers[-1].start()
        return servers[-1]

    yield open_with
    for server in servers:
        server.close()


def connection(folder: Path) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    door.settimeout(20)
    door.connect(str(folder / "socket"))
    return door


def answer_of(door: socket.socket) -> bytes:
    """What comes until the other end closes."""
    said = b""
    try:
        while more := door.recv(65536):
            said += more
    except ConnectionError:
        pass
    return said


def as_user(user: int, folder: Path) -> str:
    words = ["/usr/bin/python3", "-I", "-c", CLIENT, str(folder / "socket")]
    done = subprocess.run(
        words, user=user, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("user", "who"),
    [
        (0, "operator"),
        (Slot(1).account, "slice mine"),
        (Slot(2).first_user, "slice other"),
        (Slot(2).first_user + 1000, "slice other"),
        (Slot(3).first_user, "anyone"),
        (Slot(0).first_user + 0x8000, "delegate someone"),
        (65534, "anyone"),
    ],
)
def test_the_user_of_a_process_says_who_calls(opened, folder, user, who):
    opened()
    assert as_user(user, folder) == who


def test_on_tcp_nobody_is_anybody(opened):
    url = f"http://127.0.0.1:{opened().port}/"
    assert urllib.request.urlopen(url, data=b"hi").read() == b"anyone"


def test_figures_are_for_the_node_and_not_for_slivers(opened, folder):
    url = f"http://127.0.0.1:{opened().port}"
    assert urllib.request.urlopen(f"{url}/metrics").read() == b"figure 1\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/other")
    with connection(folder) as door:
        door.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b" 404 " in answer_of(door)


def test_a_call_in_words_and_a_body_go_through(opened, folder, tmp_path, capfd, monkeypatch):
    node = FakeNode(tmp_path)
    opened(node.answers.answer)
    path = folder / "socket"
    assert shell.call(["SetLoans", "mine", '[["other", "cpu_share", 50]]'], path) == 0
    assert shell.call(["GetLoans", "mine"], path) == 0
    assert '"cpu_share"' in capfd.readouterr().out
    assert shell.call(["Start", "gone"], path) == 1
    assert "[102]" in capfd.readouterr().err
    assert [shell.call(words, path) for words in ([], ["SetLoans", "mine", "[oh"])] == [2, 2]
    capfd.readouterr()
    assert shell.call(["Help"], tmp_path / "nowhere") == 1
    assert "the node's API does not answer" in capfd.readouterr().err
    assert shell.call(["SetLoans", "mine", "[" * 100_000], path) == 2
    assert "GetXIDs()" in load_reply(send(dump_call("Help", []), path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(dump_call("Help", []))))
    monkeypatch.setattr("sys.stdout", out := io.TextIOWrapper(io.BytesIO()))
    assert shell.forward(path) == 0
    assert "GetXIDs()" in load_reply(out.buffer.getvalue())


def test_a_slow_request_ends(opened, folder, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 1.0)
    opened()
    begun = time.monotonic()
    with connection(folder) as door:
        door.sendall(b"POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n")
        # A byte now and then keeps no connection open.
        with suppress(OSError):
            while time.monotonic() < begun + 15:
                door.sendall(b"x")
                time.sleep(0.1)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 99999999\r\n", b" 413 "),
        (b"Content-Length: 99999999999999999999\r\n", b" 413 "),
        (b"Content-Length: -1\r\n", b" 411 "),
        (b"Content-Length: 0x10\r\n", b" 411 "),
        (b"", b" 411 "),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b" 411 "),
        (b"X: " + b"y" * 70_000 + b"\r\n", b" 431 "),
        (b"X: y\r\n" * 200, b" 431 "),
    ],
)
def test_a_large_request_is_refused_unread(opened, folder, head, status):
    opened()
    with connection(folder) as door:
        door.sendall(b"POST / HTTP/1.0\r\n" + head + b"\r\n")
        assert status in answer_of(door)


def test_one_caller_does_not_take_all_places(opened, folder, monkeypatch):
    opened()
    monkeypatch.setattr(module, "SECONDS", 30.0)
    # As a sliver would: connections that say nothing, more than it may have.
    script = (
        "import os, socket, sys\n"
        "doors = [socket.socket(socket.AF_UNIX) for _ in range(40)]\n"
        "for door in doors: door.connect(sys.argv[1])\n"
        "doors[-1].settimeout(20)\n"
        "print(doors[-1].recv(1), flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = ["/usr/bin/python3", "-I", "-c", script, str(folder / "socket")]
    taking = subprocess.Popen(
        words,
        user=Slot(1).first_user,
        group=65534,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    # The last of them was closed at once.
    assert taking.stdout.readline() == b"b''\n"
    assert as_user(Slot(2).first_user, folder) == "slice other"
    assert as_user(0, folder) == "operator"
    taking.communicate(timeout=20)


def test_places_are_given_back(opened, folder):
    opened()
    for _ in range(3 * PER_CALLER):
        assert as_user(Slot(1).first_user, folder) == "slice mine"


def test_roots_place_is_kept_while_all_are_taken(opened, folder, monkeypatch):
    monkeypatch.setattr(module, "THREADS", 0)
    opened()
    assert as_user(0, folder) == "operator"


def test_an_error_in_the_program_costs_one_connection(opened, folder):
    calls = []

    def answer(_, body: bytes) -> bytes:
        calls.append(body)
        if len(calls) == 1:
            raise RuntimeError("a fault of ours")
        return b"good"

    opened(answer)
    assert as_user(0, folder) == ""
    assert as_user(0, folder) == "good"


def test_a_socket_that_was_left_behind_is_taken_over(opened, folder):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "socket"))
    opened()
    assert as_user(0, folder) == "operator"


def test_calls_are_answered_side_by_side(opened, folder):
    both = threading.Barrier(2, timeout=20)

    def answer(*_: object) -> bytes:
        both.wait()
        return b"good"

    opened(answer)
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda: said.append(as_user(Slot(1).first_user, folder))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["good", "good"]
