"""Tickets: what a node believes of one, and what it does not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from wire.errors import VerificationError
from wire.messages import ImageRef
from wire.session import NodeKey, mac
from wire.slivers import Attribute, Instantiation, Sliver
from wire.tickets import MAXIMUM_CHARACTERS, BadTicket, Ticket, TicketExpired, TicketKey

KEY = NodeKey(bytes(range(32)))
SLIVER = Sliver(
    "demo_one",
    1,
    5000,
    Instantiation.DELEGATED,
    image="sliver",
    attributes=(Attribute("delegations", "someone"),),
    initscript="#!/bin/sh\necho 'grün' \n",
)
TICKET = Ticket(7, 1000, 2000, SLIVER, (ImageRef("sliver", "ab" * 32),))
MINE = TicketKey.derive(KEY, 7)
GOOD = MINE.sign(TICKET)


def opened() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(GOOD))
    return found


def closed(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode()


def test_a_node_believes_its_servers_ticket():
    assert MINE.verify(GOOD) == TICKET
    assert MINE.verify(f"  {GOOD}\n") == TICKET


def test_it_is_one_word_for_a_shell():
    assert set(GOOD) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


@pytest.mark.parametrize(
    "other", [TicketKey.derive(KEY, 8), TicketKey.derive(NodeKey(bytes(32)), 7)], ids=["node", "key"]
)
def test_another_node_does_not_whatever_key_it_has(other):
    with pytest.raises(BadTicket, match="not signed for this node"):
        other.verify(GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires", 3000),
        ("issued", 1),
        ("node_id", 8),
        ("images", []),
        ("issued", "1000"),
        ("issued", 1000.0),
        ("more", 1),
    ],
)
def test_no_field_can_be_changed(field, value):
    signed = opened()
    signed["statement"][field] = value
    with pytest.raises(BadTicket):
        MINE.verify(closed(signed))


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "other"), ("slice_id", 2), ("instantiation", "plc-instantiated"), ("initscript", "rm")],
)
def test_nor_any_of_the_sliver(field, value):
    signed = opened()
    signed["statement"]["sliver"][field] = value
    with pytest.raises(BadTicket):
        MINE.verify(closed(signed))


def test_any_byte_changed():
    for place in range(0, len(GOOD), 7):
        text = GOOD[:place] + ("A" if GOOD[place] != "A" else "B") + GOOD[place + 1 :]
        with pytest.raises(BadTicket):
            MINE.verify(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "grün",
        "\x00",
        GOOD[:-8],
        GOOD + GOOD,
        closed([]),
        closed("x"),
        closed({}),
        closed({"statement": {}, "mac": None}),
        closed({"statement": {}, "mac": "\ud800"}),
        closed({"statement": {"\ud800": 1}, "mac": "x"}),
        closed({"statement": None, "mac": ["x"]}),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b'{"statement": ' + b"9" * 5000 + b', "mac": "x"}').decode(),
        closed({"statement": float("nan"), "mac": "x"}),
        "A" * (MAXIMUM_CHARACTERS + 1),
    ],
    ids=range(17),
)
def test_what_is_no_ticket_is_refused(text):
    with pytest.raises(BadTicket):
        MINE.verify(text)


def test_a_key_for_another_purpose_signs_none():
    signed = opened()
    signed["mac"] = mac(KEY.derive("bootmanager changes 1"), "ticket", 7, signed["statement"])
    with pytest.raises(BadTicket):
        MINE.verify(closed(signed))


def test_one_that_is_signed_and_breaks_a_rule_is_refused():
    statement = opened()["statement"] | {"sliver": {"name": "../x", "slice_id": 1, "expires": 5000}}
    with pytest.raises(BadTicket):
        MINE.verify(closed({"statement": statement, "mac": mac(MINE.secret, "ticket", 7, statement)}))


def test_its_time_is_judged_by_the_later_of_the_nodes_and_its_own():
    TICKET.judge(0)
    TICKET.judge(1999)
    with pytest.raises(TicketExpired):
        TICKET.judge(2000)
    with pytest.raises(TicketExpired):
        replace(TICKET, issued=2000).judge(0)


def test_the_key_is_not_shown():
    assert MINE.secret.hex() not in repr(MINE)
    assert str(MINE.secret) not in repr(MINE)


def test_refusals_do_not_quote_the_ticket():
    for text in (closed({"statement": "initscript of somebody", "mac": "x"}), GOOD[:-8]):
        with pytest.raises(VerificationError) as refused:
            MINE.verify(text)
        assert "somebody" not in str(refused.value)
