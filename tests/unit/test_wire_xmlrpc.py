"""XML-RPC bodies within bounds."""

import pytest

from wire import xmlrpc
from wire.structure import MalformedMessage


def test_a_call_survives_the_journey():
    params = [{"a": [1, True, None, "x"]}, "line\r\nend", 2.5, b"\0\xff"]
    assert xmlrpc.load_call(xmlrpc.dump_call("Method", params)) == ("Method", params)


def test_a_reply_survives_the_journey():
    assert xmlrpc.load_reply(xmlrpc.dump_reply({"a": 1})) == {"a": 1}


def test_a_fault_is_raised():
    with pytest.raises(xmlrpc.Fault, match="no"):
        xmlrpc.load_reply(xmlrpc.dump_fault(103, "no"))


ENTITY = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "ha">]>
<methodCall><methodName>&e;</methodName><params/></methodCall>"""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<methodCall>",
        b"<methodCall><methodName>x</methodName><params><param><value><int>one</int></value></param></params></methodCall>",
        b"<methodCall></methodCall>",
        ENTITY,
        b"x" * (xmlrpc.MAXIMUM_BYTES + 1),
    ],
    ids=["empty", "text", "torn", "no number", "no method", "entity", "too long"],
)
def test_malformed_calls_are_refused(body):
    with pytest.raises(MalformedMessage):
        xmlrpc.load_call(body)


def test_control_characters_are_refused_at_the_writer():
    with pytest.raises(MalformedMessage, match="control character"):
        xmlrpc.dump_call("M", ["\x01"])
