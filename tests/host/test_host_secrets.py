"""No secret of a node is in anything that server and node write, answer, tell or show, whatever goes wrong.

The server is a process of its own, the node's side the real one in this process, so its session keys, which
are nowhere but in memory, are known here and can be searched for. tests/vm searches whole machines.
"""

import base64
import logging
import os
import sqlite3
import traceback
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from bootserver import nodes
from bootserver.catalogue import publish
from bootserver.state import open_state
from host.enrol import announce
from host.events import Events, LineFile
from host.http import HttpClient
from host.report import ServerSink
from host.server import ServerClient
from tests.host.secret_forms import Search, forms
from tests.host.server_process import Process, cli
from wire import xmlrpc
from wire.enrolment import EnrolmentKey, Token
from wire.errors import BootError
from wire.nodeconf import EnrolmentConfiguration
from wire.nodenet import NetworkSettings
from wire.session import METHOD, NodeKey

pytestmark = pytest.mark.host
SECRET = b"\xfb\xff" + bytes(range(7, 37))
PAGES = ("/", "/fleet", "/nodes/node1", "/api/nodes", "/api/nodes/node1", "/api/nodes/node1/events")


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize(
    "write",
    [bytes, repr, bytes.hex, lambda data: data.hex().upper(), base64.b64encode, base64.urlsafe_b64encode],
)
def test_a_secret_is_found_in_every_form(write, before):
    search = Search()
    search.add("secret", SECRET)
    search.look("guilty", write(b"x" * before + SECRET + b"y"))
    search.look("innocent", write(b"x" * before + SECRET[::-1] + b"y"))
    assert search.found == [("secret", "guilty")]
    assert min(map(len, forms(SECRET))) >= 32


class Http(HttpClient):
    """The real way to the server; what went over it is kept."""

    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        self.bodies = []

    def post(self, path, body, **options):
        self.bodies.append(body)
        answer = super().post(path, body, **options)
        self.bodies.append(answer)
        return answer


class Client(ServerClient):
    """The real client; its sessions are kept."""

    def __init__(self, http, *words):
        super().__init__(http, *words)
        self.http = http
        self.sessions = []

    def _open(self):
        session = super()._open()
        self.sessions.append(session)
        return session


class Scene:
    """A server, its nodes, and all that is to be searched."""

    def __init__(self, server, log):
        self.server, self.log = server, log
        self.state = open_state(server.folder)
        with self.state.database.write() as session:
            publish(session, "base", "b" * 64)
        self.search = Search()
        self.clients = []
        self.shown = []

    def identity(self):
        """What is on the node's key medium: id and key."""
        with self.state.database.read() as session:
            node = nodes.find(session, "node1")
            return node.id, nodes.key_of(self.state.master, node)

    def client(self, node_id, key, address="10.0.2.15"):
        client = Client(Http(self.server.nodes), node_id, key, address)
        self.clients.append(client)
        self.shown.append(client)
        return client

    def refused(self, run, *words):
        """Call what fails; the error, as it would be logged, is searched too."""
        with pytest.raises(BootError) as caught:
            run(*words)
        self.shown += [caught.value, *traceback.format_exception(caught.value)]
        self.log.error("it failed: %r", caught.value, exc_info=caught.value)

    def raw(self, url, body=None):
        """Ask without the client; the answer is searched whatever its status."""
        how = "GET" if body is None else "POST"
        self.shown.append(requests.request(how, url, data=body, timeout=60).content)


@pytest.fixture
def server(folder):
    process = Process(folder, "--verbose")
    yield process
    if process.process.poll() is None:
        process.end()


@pytest.fixture
def scene(server):
    made = Scene(server, logging.getLogger("a node"))
    yield made
    made.state.database.close()


def test_no_key_is_anywhere_whatever_goes_wrong(scene, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    node_id, key = scene.identity()
    keys = {"node key": key}
    node = scene.client(node_id, key)
    tell_all(scene, node, tmp_path / "events.jsonl")
    provoke_faults(scene, node)
    break_the_database(scene, node)
    provoke_refusals(scene, node, node_id, key)
    keys["enrolled node's key"], token = enrol(scene)
    keys["rotated key"] = rotate(scene, node)

    secrets = {name: key.secret for name, key in keys.items()}
    secrets |= {f"{name} for documents": key.derive("cache") for name, key in keys.items()}
    secrets |= {"token": token.secret.encode(), "token's key": token.key()}
    sessions = [session for client in scene.clients for session in client.sessions]
    secrets |= {f"key of session {number}": session.key for number, session in enumerate(sessions)}
    assert len(sessions) >= 4
    for name, secret in secrets.items():
        scene.search.add(name, secret)
    scene.shown += [*keys.values(), *sessions, *map(vars, scene.clients), token]
    search_all(scene, tmp_path, caplog)
    assert scene.search.found == []


def tell_all(scene, node, path):
    """Every call that a node makes, and its events by the real sinks."""
    sink = ServerSink()
    events = Events("bootmanager", (LineFile(path), sink))
    node.open()
    sink.connect(node)
    node.call("BootGetNodeDetails", {})
    events.tell("step.started", step="check_in", server=repr(node))
    node.call("BootUpdateNode", {"ssh_host_keys": ["ssh-ed25519 AAAA"], "inventory": {"disks": [1, "x"]}})
    node.call("ReportRunlevel", {"run_level": "boot"})
    node.call("GetSlivers")
    assert sink.flush(30)
    scene.shown.append(sink)


def provoke_faults(scene, node):
    """Calls that are proven and wrong."""
    run = node.call("BootGetNodeDetails")["run_id"]
    for words in (
        ("NoSuchMethod", {"a": 1}),
        ("GetSlivers", 1, 2, 3),
        ("BootUpdateNode", {"boot_state": "inst"}),
        ("BootUpdateNode", {"boot_state": "boot", "run_id": run + "x"}),
        ("BootUpdateNode", {"node_key": "x"}),
        ("BootUpdateNode", {"inventory": {"x": "y" * 600_000}}),
        ("BootReportEvents", [{"event": 1}]),
        ("ReportRunlevel", "boot"),
    ):
        scene.refused(node.call, *words)


def break_the_database(scene, node):
    """Errors of the server's own, with their tracebacks in its log."""
    event = {"event": "x", "program": "p", "seq": 1, "time": 0.0}
    with closing(sqlite3.connect(scene.server.folder / "bootserver.db")) as database:
        database.execute("ALTER TABLE events RENAME TO gone")
        scene.refused(node.call, "BootReportEvents", [event])
        database.execute("ALTER TABLE gone RENAME TO events")
        (sealed,) = database.execute("SELECT sealed_key FROM nodes").fetchone()
        database.execute("UPDATE nodes SET sealed_key = ?", (bytes(len(sealed)),))
        database.commit()
        scene.refused(node.call, "GetSlivers")
        database.execute("UPDATE nodes SET sealed_key = ?", (sealed,))
        database.commit()


def provoke_refusals(scene, node, node_id, key):
    """Calls that prove nothing, bodies that are none, and a key that two places use."""
    node.call("GetSlivers")
    last = node.http.bodies[-2]
    scene.raw(scene.server.nodes + "/PLCAPI/", last)
    scene.raw(scene.server.nodes + "/PLCAPI/", last.replace(METHOD.encode(), b"hmac"))
    for body in (b"", b"<x", b"\xff" * 100, xmlrpc.dump_call("OpenSession", [])):
        scene.raw(scene.server.nodes + "/PLCAPI/", body)
    # It is not read to its end, so sending it or reading the answer may fail.
    with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        scene.raw(scene.server.nodes + "/PLCAPI/", b"x" * 5_000_000)
    scene.raw(scene.server.nodes + "/images/blobs/nothing")
    wrong = NodeKey.generate()
    scene.refused(scene.client(node_id, wrong).call, "GetSlivers")
    scene.refused(scene.client(4711, key).call, "GetSlivers")
    other = scene.client(node_id, key, "10.0.2.99")
    for client in (other, node, other):
        client.call("GetSlivers")
    for client in scene.clients:
        # As after a restart of the server: the session is not known any more.
        client._counter += 5
    node.call("GetSlivers")


def enrol(scene):
    """A machine with a token, one with a wrong token, and one that nobody knows."""
    token = Token.from_text(cli(scene.server.folder, "token", "new", "--site", "example.org"))
    given = None
    for number, held in enumerate((token, Token(token.name, "x" * 43), None)):
        http, key = Http(scene.server.nodes), EnrolmentKey.generate()
        medium = EnrolmentConfiguration(scene.server.nodes, NetworkSettings(), token=held)
        scene.shown += [medium, key, held]
        answer = announce(http, medium, key, f"52:54:00:00:00:0{number}")
        assert (answer is not None) == (held is token)
        given = given or answer
        scene.shown += [answer, *http.bodies]
    scene.client(given.node_id, given.key).call("GetSlivers")
    return given.key, token


def rotate(scene, node):
    """Give the node another key; the old one is refused then."""
    scene.shown.append(cli(scene.server.folder, "node", "rotate-key", "node1"))
    scene.refused(node.call, "GetSlivers")
    node_id, key = scene.identity()
    scene.client(node_id, key).call("GetSlivers")
    return key


def search_all(scene, tmp_path, caplog):
    """Look at everything, while the server runs and after it."""
    for page in (*PAGES, "/api/waiting", "/nodes/none"):
        scene.raw(scene.server.operator + page)
    search, process = scene.search, Path(f"/proc/{scene.server.process.pid}")
    for name in ("cmdline", "environ"):
        search.look(process / name, (process / name).read_bytes())
    search.look("this process's environment", repr(os.environ))
    assert (scene.server.folder / "bootserver.db-wal").stat().st_size > 0
    search.look_below(tmp_path)
    assert scene.server.end() == 0
    # Not earlier: an error may be logged after it was answered.
    log = (scene.server.folder / "log").read_text()
    assert "Traceback" in log
    assert "no such table: events" in log
    search.look_below(tmp_path)
    for shown in scene.shown:
        search.look(f"shown: {type(shown).__name__}", shown if isinstance(shown, bytes) else repr(shown))
        search.look(f"text: {type(shown).__name__}", str(shown))
    for client in scene.clients:
        for body in client.http.bodies:
            search.look("a body", body)
    assert "it failed" in caplog.text
    search.look("the node's log", caplog.text)
    for record in caplog.records:
        search.look("a record", repr(vars(record)))
