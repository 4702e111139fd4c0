"""A bootserver in a folder, and nodes that talk to its application without a network."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from click.testing import CliRunner
from starlette.testclient import TestClient

from bootserver import cli, database, nodes
from bootserver.app import node_app
from bootserver.catalogue import publish
from bootserver.cli_keys import begin_signing
from bootserver.operator_app import operator_app
from bootserver.state import initialise, open_state
from host.server import ServerClient
from tests.unit.quick_database import quick_engine
from tests.unit.quick_requests import portal
from wire import xmlrpc
from wire.messages import TargetState

database.create_engine = quick_engine


class Wire:
    """Stands where HttpClient stands; keeps every body, so that a test can play an attacker on the path."""

    base_url = "http://server"

    def __init__(self, client):
        self.client = client
        self.sent = []
        self.answers = []

    def post(self, path, body, *, content_type, limit):
        self.sent.append(body)
        answer = self.client.post(path, content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 200, answer.text
        assert len(answer.content) <= limit
        self.answers.append(answer.content)
        return answer.content


@cache
def deployed(owner):
    """Return a server's folder with images `base` and `sliver`; making one takes longer than copying it."""
    top = Path(tempfile.mkdtemp(prefix=f"{owner}-"))
    atexit.register(shutil.rmtree, top)
    folder = top / "server"
    state = initialise(folder, {"server": "http://10.0.2.2:8080"})
    begin_signing(state, folder / "root-keys", 3, 2, b"")
    with state.database.write() as session:
        publish(session, "base", "b" * 64)
        publish(session, "sliver", "5" * 64)
    state.database.close()
    return folder


class Deployment:
    """A server with images published. Those of one `owner` have the same keys."""

    def __init__(self, folder, owner="deployment"):
        self.folder = folder
        shutil.copytree(deployed(owner), folder, dirs_exist_ok=True)
        self.state = open_state(folder)
        self.web = TestClient(node_app(self.state))
        self.operator = TestClient(operator_app(self.state, "127.0.0.1"), base_url="http://127.0.0.1")
        self.web.portal = self.operator.portal = portal()

    def add(self, name="node1", state=TargetState.INST):
        with self.state.database.write() as session:
            return nodes.add(session, self.state.master, name, state, "base").id

    def node(self, name="node1"):
        """Return a node's row, detached."""
        with self.state.database.read() as session:
            node = nodes.find(session, name)
            session.expunge(node)
            return node

    def set(self, name="node1", **fields):
        with self.state.database.write() as session:
            node = nodes.find(session, name)
            for field, value in fields.items():
                setattr(node, field, value)

    def key(self, name="node1"):
        return nodes.key_of(self.state.master, self.node(name))

    def client(self, name="node1", *, key=None, node_id=None):
        """Return what a node uses, over a wire that remembers."""
        wire = Wire(self.web)
        node_id = node_id or self.node(name).id
        client = ServerClient(wire, node_id, key or self.key(name), "10.0.2.15")
        client.wire = wire
        return client

    def post(self, body):
        """Post bytes; return the reply's value or the fault."""
        answer = self.web.post("/PLCAPI/", content=body)
        assert answer.status_code == 200
        try:
            return xmlrpc.load_reply(answer.content)
        except xmlrpc.Fault as fault:
            return fault

    def cli(self, *words, status=0):
        """Run a command; return what it printed."""
        done = CliRunner().invoke(cli.main, ["--state", str(self.folder), *map(str, words)])
        assert done.exit_code == status, (done.output, done.exception)
        return done.stdout if status == 0 else done.stderr

    def cli_json(self, *words):
        return json.loads(self.cli(*words, "--format", "json"))


def event(seq=1, name="step.started", **data):
    """Return an event as a node tells it."""
    common = {"seq": seq, "time": 1000.5 + seq, "uptime": 2.25 + seq, "program": "bootmanager"}
    return {**common, "run": "r", "boot": "0badcafe", "event": name, **data}
