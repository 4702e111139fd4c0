"""Bodies made to exhaust whoever reads them: bounded memory and time, and nothing outside is read."""

import time
import tracemalloc

import pytest

from wire import xmlrpc
from wire.structure import MalformedMessage

KIB, MIB = 1024, 1024 * 1024
# What docs/protocol.md promises for each byte of a body; and seconds for each MiB of one, with room for a
# machine that is busy with other things.
MEMORY_PER_BYTE = 24
SECONDS_PER_MIB = 10
HEAD = b"<methodResponse><params><param><value>"
TAIL = b"</value></param></params></methodResponse>"


def doctype(declarations, use):
    return b"<?xml version='1.0'?><!DOCTYPE x [%s]>%s<string>%s</string>%s" % (declarations, HEAD, use, TAIL)


def laughs():
    steps = [b'<!ENTITY e0 "ha">']
    steps += [b'<!ENTITY e%d "%s">' % (step, b"&e%d;" % (step - 1) * 10) for step in range(1, 12)]
    return doctype(b"".join(steps), b"&e11;")


OUTSIDE = {
    "a billion laughs": laughs(),
    "quadratic": doctype(b'<!ENTITY e "%s">' % (b"x" * 50_000), b"&e;" * 50_000),
    "a file": doctype(b'<!ENTITY e SYSTEM "file:///etc/passwd">', b"&e;"),
    "a server": doctype(b'<!ENTITY e SYSTEM "http://127.0.0.1:1/">', b"&e;"),
    "a parameter entity": doctype(b'<!ENTITY %% e SYSTEM "file:///etc/passwd"> %e;', b""),
    "a document type elsewhere": b"<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'>" + HEAD + TAIL,
    "an empty document type": doctype(b"", b""),
    "attributes by default": doctype(b"<!ATTLIST string a CDATA 'x'>", b""),
}


@pytest.mark.parametrize("body", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("read", [xmlrpc.load_reply, xmlrpc.load_call], ids=["reply", "call"])
def test_document_types_and_entities_are_refused(body, read):
    before = time.process_time()
    # The least of three: what threads that other tests left behind allocate meanwhile is counted too.
    assert min(peak_of_a_refusal(read, body) for _ in range(3)) < 8 * MIB
    assert time.process_time() - before < 6


def peak_of_a_refusal(read, body):
    tracemalloc.start()
    with pytest.raises(MalformedMessage, match="DTDForbidden"):
        read(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def filled(unit, before=b"<array><data>", after=b"</data></array>", size=256 * KIB):
    room = size - len(HEAD + TAIL + before + after)
    return HEAD + before + unit * (room // len(unit)) + after + TAIL


COSTLY = {
    "empty values": filled(b"<value/>"),
    "empty structs": filled(b"<struct/>"),
    "empty lists": filled(b"<array/>"),
    "small structs": filled(b"<value><struct><member><name>a</name><value/></member></struct></value>"),
    "small numbers": filled(b"<value><int>9</int></value>"),
    "one text": filled(b"x", b"<string>", b"</string>"),
    "wide characters": filled("\N{GRINNING FACE}".encode(), b"<string>", b"</string>"),
    "references": filled(b"&#9;", b"<string>", b"</string>"),
    "base64": filled(b"AAAA", b"<base64>", b"</base64>"),
    "unknown elements": filled(b"<a/>", b"<string>", b"</string>"),
    "attributes": HEAD + b"<string " + b" ".join(b"a%d=''" % n for n in range(22_000)) + b"/>" + TAIL,
    "elements within elements": b"<a>" * 85_000,
    "lists within lists": HEAD + b"<array><data><value>" * 12_500,
    "a struct of many": filled(
        b"".join(b"<member><name>%d</name><value/></member>" % n for n in range(5_500)),
        b"<struct>",
        b"</struct>",
    ),
    "digits": filled(b"9", b"<int>", b"</int>"),
    "a comment": filled(b"x", b"<!--", b"-->"),
}


@pytest.mark.parametrize("body", COSTLY.values(), ids=COSTLY)
def test_a_body_costs_memory_and_time_in_proportion(body):
    assert len(body) <= 256 * KIB
    tracemalloc.start()
    before = time.process_time()
    refused = ""
    try:
        xmlrpc.load_reply(body)
    except MalformedMessage as error:
        refused = error.detail
    seconds = time.process_time() - before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY_PER_BYTE * 256 * KIB
    assert seconds < SECONDS_PER_MIB / 4
    assert len(refused) < KIB, "what is refused is not quoted at length"


def test_a_body_over_the_limit_is_not_even_looked_at():
    before = time.process_time()
    with pytest.raises(MalformedMessage, match="4194304 allowed"):
        xmlrpc.load_reply(HEAD + b"<value/>" * (600 * KIB))
    assert time.process_time() - before < 0.1
