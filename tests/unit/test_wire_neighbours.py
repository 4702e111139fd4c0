"""What nodes of a LAN say of themselves, and what is no neighbour."""

import json

import pytest

from wire.neighbours import (
    MAXIMUM_HOLDINGS_BYTES,
    MAXIMUM_NAMES,
    Holdings,
    Met,
    Neighbour,
    dump_holdings,
    load_holdings,
)
from wire.structure import MalformedMessage, structure


def test_there_and_back():
    holdings = Holdings(frozenset("ab"), frozenset("c"), frozenset("def"))
    assert load_holdings(dump_holdings(holdings)) == holdings
    assert load_holdings(dump_holdings(Holdings())) == Holdings()


def test_what_a_node_shows_fits_into_what_another_reads():
    names = frozenset(f"{number:064x}" for number in range(MAXIMUM_NAMES + 100))
    raw = dump_holdings(Holdings(names, names, names))
    assert len(raw) <= MAXIMUM_HOLDINGS_BYTES
    assert len(load_holdings(raw).have) == MAXIMUM_NAMES


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"have": "ab", "fetching": [], "wants": []}',
        b'{"have": [1], "fetching": [], "wants": []}',
        b"[" * 100_000,
        json.dumps({"have": ["a"] * (MAXIMUM_NAMES + 1), "fetching": [], "wants": []}).encode(),
    ],
    ids=["nothing", "no text", "a list", "members missing", "a text", "numbers", "deep", "too many"],
)
def test_anything_else_is_malformed(raw):
    with pytest.raises(MalformedMessage):
        load_holdings(raw)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1", 40000),
        ("::1", 40000),
        ("0.0.0.0", 40000),
        ("224.0.0.1", 40000),
        ("255.255.255.255", 40000),
        ("localhost", 40000),
        ("10.0.0.1/evil", 40000),
        ("10.0.0.1", 22),
        ("10.0.0.1", 0),
        ("10.0.0.1", 65536),
    ],
)
def test_what_is_no_other_machine_is_no_neighbour(address, port):
    with pytest.raises(MalformedMessage):
        structure({"neighbours": [{"address": address, "port": port}]}, Met)


def test_a_neighbours_url():
    assert Neighbour("10.0.0.1", 40000).url == "http://10.0.0.1:40000"
    assert Neighbour("fd00::1", 40000).url == "http://[fd00::1]:40000"
