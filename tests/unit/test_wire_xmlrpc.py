"""XML-RPC bodies within bounds."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import xmlrpc
from wire.canonical import MAXIMUM_DEPTH, canonical
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


def test_a_faults_text_is_one_short_line():
    """Anybody on the path can send one, and it is shown on consoles."""
    with pytest.raises(xmlrpc.Fault) as caught:
        xmlrpc.load_reply(xmlrpc.dump_fault(103, "a\nb\r\u009b31mc" + "x" * 3_000_000))
    assert caught.value.faultCode == 103
    assert caught.value.faultString.startswith("a?b??31mcx")
    assert len(caught.value.faultString) < 400


def test_what_is_malformed_is_not_repeated_at_length():
    with pytest.raises(MalformedMessage) as caught:
        xmlrpc.load_reply(b"<!DOCTYPE " + b"x" * 1_000_000 + b" SYSTEM 'y'><a/>")
    assert len(caught.value.detail) < 400


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


def one_value(value):
    return b"<methodResponse><params><param><value>%s</value></param></params></methodResponse>" % value


NO_VALUES = {
    "a decimal": b"<bigdecimal>x</bigdecimal>",
    "a time": b"<dateTime.iso8601>20260101T00:00:00</dateTime.iso8601>",
    "an integer of 65 bits": b"<int>9223372036854775808</int>",
    "an integer without end": b"<int>%s</int>" % (b"9" * 5000),
    "an integer with a gap": b"<int>1_000</int>",
    "an integer in other digits": "<int>\N{ARABIC-INDIC DIGIT ONE}</int>".encode(),
    "no finite number": b"<double>nan</double>",
    "too large a number": b"<double>1e999</double>",
    "half a truth": b"<boolean>2</boolean>",
    "a key twice": b"<struct><member><name>a</name><value>1</value></member>"
    b"<member><name>a</name><value>2</value></member></struct>",
    "a key that is no text": b"<struct><value><int>1</int></value><value>2</value></struct>",
    "a key without a value": b"<struct><member><name>a</name></member></struct>",
    "another vendor's type": b"<ex:float xmlns:ex='urn:x'>1</ex:float>",
    "bytes that are no UTF-8": b"\xff\xfe",
    "a fault made of lists": b"</value></param></params><fault><value><array><data/></array></value></fault>",
}


@pytest.mark.parametrize("value", NO_VALUES.values(), ids=NO_VALUES)
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(MalformedMessage):
        xmlrpc.load_reply(one_value(value))


@pytest.mark.parametrize("name", ["utf-7", "no-such-encoding", "zlib", "utf-16"])
def test_the_body_does_not_choose_its_encoding(name):
    body = b"<?xml version='1.0' encoding='%s'?>" % name.encode() + one_value(b"+AGEAYg-")
    assert xmlrpc.load_reply(body) == "+AGEAYg-"


def nested(depth):
    return b"<array><data><value>" * depth + b"</value></data></array>" * depth


def test_what_is_read_can_be_put_under_a_mac():
    deepest = xmlrpc.load_reply(one_value(nested(MAXIMUM_DEPTH)))
    assert canonical(deepest)
    with pytest.raises(MalformedMessage, match="nested deeper"):
        xmlrpc.load_reply(one_value(nested(MAXIMUM_DEPTH + 1)))


def test_nesting_without_end_costs_neither_memory_nor_the_stack():
    with pytest.raises(MalformedMessage, match="nested deeper"):
        xmlrpc.load_reply(one_value(nested(90_000)))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_refused_at_the_writer(value):
    with pytest.raises(MalformedMessage, match="finite"):
        xmlrpc.dump_call("M", [value])


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(json_like, max_size=3))
def test_every_value_survives_the_journey_with_its_canonical_form(params):
    method, arrived = xmlrpc.load_call(xmlrpc.dump_call("M", params))
    assert (method, canonical(arrived)) == ("M", canonical(params))


@given(st.binary(max_size=200))
def test_no_bytes_make_another_error(raw):
    for body in (raw, one_value(raw), one_value(b"<struct>" + raw)):
        with suppress(MalformedMessage, xmlrpc.Fault):
            canonical(xmlrpc.load_reply(body))
