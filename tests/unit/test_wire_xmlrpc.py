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


@pytest.mark.parametrize("number", [0, -1, 2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1, -(2**63)])
def test_numbers_of_bytes_cross(number):
    body = xmlrpc.dump_call("m", [number])
    assert xmlrpc.load_call(body) == ("m", [number])
    assert (b"<int>" in body) == (-(2**31) <= number < 2**31)


@pytest.mark.parametrize("value", [2**63, object(), {1: 2}])
def test_what_cannot_be_carried_is_said(value):
    with pytest.raises(MalformedMessage):
        xmlrpc.dump_reply(value)
