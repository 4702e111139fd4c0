"""The published vectors and the page's example are what the programs do."""

import json

import pytest

from tests.unit import protocol_vectors as made
from wire import xmlrpc
from wire.canonical import canonical
from wire.session import NodeKey, Session, mac
from wire.structure import MalformedMessage

PUBLISHED = json.loads(made.VECTORS.read_text())


def value_of(xml):
    body = f"<methodResponse><params><param>{xml}</param></params></methodResponse>"
    return xmlrpc.load_reply(body.encode())


def test_vectors_and_page_are_up_to_date():
    """If this fails and the protocol was meant to change: python -m tests.unit.protocol_vectors."""
    assert made.VECTORS.read_text() == made.vectors()
    assert made.PAGE.read_text() == made.page()


def test_the_vectors_never_change_with_the_programs():
    # These were written down once; whoever changes them breaks every other client.
    assert PUBLISHED["opening"]["session_key_hex"].startswith("04a31e8e92351840")
    assert PUBLISHED["calls"][1]["value"].startswith("7bc66cf00f7515bb")


@pytest.mark.parametrize("vector", PUBLISHED["canonical"], ids=lambda vector: vector["what"])
def test_canonical_form(vector):
    assert canonical(value_of(vector["xml"])).hex() == vector["canonical_hex"]


def test_the_opening():
    given = PUBLISHED["opening"]
    assert xmlrpc.load_call(given["call_body"].encode()) == (
        "OpenSession",
        [{"node_id": given["node_id"], "nonce": given["client_nonce"]}],
    )
    key = NodeKey.from_text(given["node_key_base64"])
    session = Session.derive(
        key, given["node_id"], given["session"], given["client_nonce"], given["server_nonce"]
    )
    assert session.key.hex() == given["session_key_hex"]
    reply = xmlrpc.load_reply(given["reply_body"].encode())
    assert reply["value"] == session.opening_mac(given["client_nonce"], given["server_nonce"], given["time"])


@pytest.mark.parametrize("call", PUBLISHED["calls"], ids=lambda call: f"{call['counter']} {call['method']}")
def test_calls_and_replies(call):
    key = bytes.fromhex(PUBLISHED["opening"]["session_key_hex"])
    session = PUBLISHED["opening"]["session"]
    method, (auth, *params) = xmlrpc.load_call(call["body"].encode())
    node = PUBLISHED["opening"]["node_id"]
    assert method == call["method"]
    assert params == [value_of(xml) for xml in call["params_xml"]]
    assert mac(key, "call", method, node, call["node_ip"], session, call["counter"], params) == auth["value"]
    reply = xmlrpc.load_reply(call["reply_body"].encode())
    assert (
        mac(key, "reply", session, call["counter"], auth["value"], reply["result"], reply["time"])
        == reply["value"]
    )


@pytest.mark.parametrize("vector", PUBLISHED["refused"], ids=lambda vector: vector["what"])
def test_what_is_refused(vector):
    with pytest.raises(MalformedMessage):
        value_of(vector["xml"])
