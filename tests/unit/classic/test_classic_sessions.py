"""Classic sessions: one a node, and they end."""

import pytest

from bootserver.classic import SESSION_SECONDS, ClassicCalls, ClassicSessions
from bootserver.sessions import NotAuthentic
from tests.unit.classic.nodes import OTHER_KEY, REFUSED, fault_of, manager


def test_one_session_a_node(marked):
    node = manager(marked)
    first = node.hmac("GetSession")
    second = node.hmac("BootGetNodeDetails")["session"]
    assert first != second
    node.session = first
    assert fault_of(node.in_session, "AuthCheck") == REFUSED
    node.session = second
    assert node.in_session("AuthCheck") == 1
    assert node.in_session("BootGetNodeDetails")["session"] == second


def test_a_session_ends_with_its_key(marked, tmp_path):
    node = manager(marked)
    node.session = node.hmac("GetSession")
    file = tmp_path / "key"
    file.write_text(OTHER_KEY)
    marked.cli("node", "classic", "node1", "--on", "--key-file", file)
    assert fault_of(node.in_session, "AuthCheck") == REFUSED


def test_a_key_that_changes_while_a_call_is_judged(marked, tmp_path, monkeypatch):
    calls = ClassicCalls(marked.state)
    proven = calls._proven
    (tmp_path / "key").write_text(OTHER_KEY)

    def meanwhile(auth, params):
        identity = proven(auth, params)
        marked.cli("node", "classic", "node1", "--on", "--key-file", tmp_path / "key")
        return identity

    monkeypatch.setattr(calls, "_proven", meanwhile)
    with pytest.raises(NotAuthentic, match="meanwhile"):
        calls.result("GetSession", [manager(marked).auth()], "peer")


def test_a_session_ends_after_a_day(marked):
    now = [0.0]
    calls = ClassicCalls(marked.state, ClassicSessions(clock=lambda: now[0]))
    session = calls.result("GetSession", [manager(marked).auth()], "peer")
    auth = {"AuthMethod": "session", "session": session}
    now[0] = SESSION_SECONDS - 1.0
    assert calls.result("AuthCheck", [auth], "peer") == 1
    now[0] = SESSION_SECONDS + 1.0
    with pytest.raises(NotAuthentic):
        calls.result("AuthCheck", [auth], "peer")
