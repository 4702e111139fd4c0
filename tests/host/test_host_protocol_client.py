"""A client written from docs/protocol.md alone, in another language, checks in at the real server."""

import subprocess
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.host.server_process import Process, cli, key_file
from wire.nodeconf import parse
from wire.session import NodeKey

CLIENT = Path(__file__).parents[1] / "client/checkin.sh"
pytestmark = pytest.mark.host


KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHtxGW1HQ7rMNDdUX0JKpJWVmZTcLGDmEvQUH3mDQKM zoë <&> 'co' ☃"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server") / "state"
    cli(folder, "init", "--server", "http://10.0.2.2:8080")
    (folder / "ssh.pub").write_text(KEY_LINE + "\n")
    cli(folder, "node", "add", "node1", "--state", "inst", "--ssh-key", folder / "ssh.pub")
    (folder / "blank").write_bytes(b"")
    archive = folder / "base.tar.zst"
    words = ["tar", "-c", "--zstd", "-f", archive, "-C", folder, "blank"]
    subprocess.run(words, check=True)
    cli(folder, "image", "publish", "base", archive)
    process = Process(folder)
    yield process
    process.end()


@pytest.fixture(scope="module")
def key(server, tmp_path_factory):
    """The node's number and a file with its key."""
    configuration = parse(key_file(server.folder), "the medium")
    file = tmp_path_factory.mktemp("key") / "node.key"
    file.write_text(configuration.key.to_text())
    return configuration.node_id, file


def check_in(url, node_id, file, *words):
    argv = ["sh", CLIENT, url, str(node_id), file, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_it_checks_in(server, key):
    done = check_in(server.nodes, *key, "10.0.2.77")
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert shown["result.value.hostname"] == "node1"
    assert shown["result.value.boot_state"] == "inst"
    assert shown["result.value.ssh_keys.0"] == KEY_LINE
    assert shown["result.value.disks.data"] == "auto"
    node = server.get("/api/nodes/node1")
    assert (node["run_level"], node["address"]) == ("boot", "10.0.2.77")


def test_a_wrong_key_and_an_unknown_node_look_alike(server, key, tmp_path):
    node_id, file = key
    other = tmp_path / "other.key"
    other.write_text(NodeKey.generate().to_text())
    wrong = check_in(server.nodes, node_id, other)
    unknown = check_in(server.nodes, 4711, file)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (
        unknown.returncode,
        unknown.stdout,
        unknown.stderr,
    )
    assert wrong.returncode == 3


@contextmanager
def on_the_path(server, old, new):
    """Somebody between node and server who changes answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with urllib.request.urlopen(server.nodes + self.path, body) as answer:
                changed = answer.read().replace(old, new)
            self.send_response(200)
            self.send_header("Content-Length", str(len(changed)))
            self.end_headers()
            self.wfile.write(changed)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as between:
        thread = threading.Thread(target=between.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{between.server_address[1]}"
        between.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"?", b"?", 0),
        (b"node1", b"node2", 4),
        (b"<string>inst<", b"<string>rins<", 4),
        (b"<name>data</name>", b"<name>date</name>", 4),
        (b"<value><int>", b"<value><i8>00", 4),
        (b"<?xml version='1.0'?>", b"<?xml version='1.0'?><!DOCTYPE x>", 4),
    ],
    ids=["nothing", "a name", "the intent", "a key", "other digits", "a document type"],
)
def test_it_believes_no_changed_answer(server, key, old, new, status):
    with on_the_path(server, old, new) as url:
        done = check_in(url, *key)
    assert done.returncode == status, done.stderr
    assert ("hostname=node2" in done.stdout) is False


def test_the_key_is_nobodys_argument(server, key, tmp_path):
    """Every program that the client starts is traced; none has the key, or one made of it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("openssl", "awk", "curl", "cut", "cat", "mktemp", "rm"):
        real = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        tool = tools / name
        tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec {real.stdout.strip()} "$@"\n')
        tool.chmod(0o755)
    argv = ["sh", CLIENT, server.nodes, str(key[0]), key[1]]
    subprocess.run(argv, check=True, capture_output=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    seen = (tmp_path / "argv").read_text()
    secret = NodeKey.from_text(key[1].read_text())
    assert "--data-binary" in seen
    assert secret.to_text() not in seen
    assert secret.secret.hex() not in seen
    assert "hexkey" not in seen
