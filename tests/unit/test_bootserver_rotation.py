"""Key rotation: from the moment of the command on, nothing made with the old key counts."""

import pytest
from starlette.testclient import TestClient

from bootserver.app import node_app
from bootserver.calls import Calls
from bootserver.sessions import Sessions
from host.server import AuthenticationRefused, CallRefused
from tests.unit.bootserver_deployment import event


def test_a_session_used_after_rotation_is_refused(server):
    sessions = [server.client(), server.client()]
    for client in sessions:
        client.call("GetSlivers")
    server.cli("node", "rotate-key", "node1")
    for client in sessions:
        sent = len(client.wire.sent)
        with pytest.raises(AuthenticationRefused):
            client.call("ReportRunlevel", {"run_level": "boot"})
        # The call in the old session, and the try to open another one with the old key.
        assert len(client.wire.sent) == sent + 2
    assert server.node().run_level == ""
    assert server.client().call("GetSlivers")["hostname"] == "node1"


def test_the_old_key_opens_no_session(server):
    old = server.key()
    server.cli("node", "rotate-key", "node1")
    with pytest.raises(AuthenticationRefused):
        server.client(key=old).call("GetSlivers")


def test_other_nodes_go_on(server):
    server.add("node2")
    other = server.client("node2")
    other.call("GetSlivers")
    server.cli("node", "rotate-key", "node1")
    other.call("GetSlivers")
    assert len(other.wire.sent) == 3, "no new session was needed"


def test_a_call_under_way_while_the_key_is_rotated_changes_nothing(server):
    class Slow(Sessions):
        """The operator is faster than the call, between its proof and its effect."""

        def prove(self, *words):
            proven = super().prove(*words)
            server.cli("node", "rotate-key", "node1")
            return proven

    client = server.client()
    app = node_app(server.state)
    app.routes[0].endpoint.__self__._calls = Calls(server.state, Slow())
    client.wire.client = TestClient(app)
    with pytest.raises(AuthenticationRefused):
        client.call("ReportRunlevel", {"run_level": "boot"})
    assert server.node().run_level == ""


def test_the_operator_is_told_what_comes_next_and_no_secret(server):
    old = server.key()
    said = server.cli("node", "rotate-key", "NODE1")
    assert "bootserver media key node1 FILE" in said
    for key in (old, server.key()):
        assert key.to_text() not in said
        assert key.secret.hex() not in said
    (row,) = server.operator.get("/api/nodes/node1/events").json()
    assert (row["program"], row["event"]) == ("bootserver", "key.rotated")
    assert server.node().key_changed > server.node().created


def test_a_node_cannot_tell_what_only_the_server_tells(server):
    with pytest.raises(CallRefused, match="fault 102"):
        server.client().call("BootReportEvents", [event(1, "key.rotated", program="bootserver")])


def test_a_node_that_is_not_there(server):
    assert "no-such-node" in server.cli("node", "rotate-key", "other", status=1)
