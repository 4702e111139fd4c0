"""Replies to GetSlivers that are as large and as wrong as they can be: what they cost, and what is left."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configmanager.entries import MOST
from configmanager.records import Records
from configmanager.upstream import plain_of
from wire import xmlrpc
from wire.structure import MalformedMessage

MIB = 1024 * 1024
# For each byte of a reply: an empty struct is 72 bytes here, and three as text. Seconds are the processor's,
# for an eighth of what a body may have, on a slow machine and with tracemalloc.
MOST_MEMORY = 40
MOST_SECONDS = 5.0
SLIVER = {"name": "demo_one", "slice_id": 1, "expires": 5000}
HEAD: dict[str, Any] = {"timestamp": 1000, "node_id": 1, "hostname": "node1", "slivers": [SLIVER]}


def one(**members: object) -> dict[str, Any]:
    return {**HEAD, "slivers": [SLIVER, {"name": "bad", "slice_id": 2, "expires": 5000, **members}]}


def many(count: int, **members: object) -> list[dict[str, Any]]:
    return [{"name": f"s{number}", "slice_id": 1, "expires": 5000, **members} for number in range(count)]


# Each makes half a mebibyte or less. The others' settings count.
ONES_FAULT: dict[str, Callable[[], dict[str, Any]]] = {
    "thousands of keys that are none": lambda: one(keys=[0] * 240_000),
    "thousands of attributes that are none": lambda: one(attributes=[{}] * 150_000),
    "a number without end": lambda: one(slice_id="9" * 490_000),
    "a script without end": lambda: one(initscript="x" * 490_000),
    "ports without end": lambda: one(attributes=[{"tagname": "ports", "value": "tcp:80:80," * 49_000}]),
    "lists in lists": lambda: one(attributes=json.loads("[" * 900 + "]" * 900)),
    "attributes with the same fault": lambda: one(attributes=[{"tagname": "x y", "value": ""}] * 12_000),
}
# Nothing of these counts.
REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "ten thousand slivers with long attributes": lambda: {
        **HEAD,
        "slivers": many(10_000, attributes=[{"tagname": "x", "value": "y" * 300}]),
    },
    "thousands of slivers that are none": lambda: {**HEAD, "slivers": [0] * 240_000},
    "thousands of accounts that are none": lambda: {**HEAD, "accounts": [0] * 240_000},
    "thousands of files that are none": lambda: {**HEAD, "conf_files": [0] * 240_000},
    "thousands of images that are none": lambda: {**HEAD, "images": [{}] * 150_000},
    "a long word for a time": lambda: {**HEAD, "timestamp": "x" * 490_000},
}


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """The seconds and the bytes that it takes."""
    tracemalloc.start()
    before = time.process_time()
    try:
        work()
        return time.process_time() - before, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", ONES_FAULT.values(), ids=ONES_FAULT)
def test_one_slivers_fault_is_cheap_however_large(tmp_path: Path, make: Callable[[], dict[str, Any]]) -> None:
    text = json.dumps(make(), separators=(",", ":"))
    assert len(text) < xmlrpc.MAXIMUM_BYTES
    records = Records(tmp_path / "records.sqlite")
    seconds, memory = cost(lambda: records.store(plain_of(text)))
    assert (seconds < MOST_SECONDS, memory < MOST_MEMORY * len(text) + MIB) == (True, True), (seconds, memory)
    assert (whole := records.load()) is not None
    assert [sliver.name for sliver in whole.slivers] == ["demo_one"]
    assert list(records.refused) == ["sliver bad"]
    assert len(records.refused["sliver bad"]) < 1000


def test_bytes_where_nobody_looks_are_one_slivers_fault(tmp_path: Path) -> None:
    """XML-RPC has them, JSON has not, and what a sliver has beside its known fields is kept as it came."""
    body = xmlrpc.dump_reply(one(unknown={"deep": [b"\0"]}))
    records = Records(tmp_path / "records.sqlite")
    records.store(plain_of(xmlrpc.load_reply(body)))
    assert list(records.refused) == ["sliver bad"]
    assert records.refused["sliver bad"].endswith("in unknown.deep[0]")
    assert (whole := Records(tmp_path / "records.sqlite").load()) is not None
    assert [sliver.name for sliver in whole.slivers] == ["demo_one"]


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_no_node_has_is_refused_as_a_whole(tmp_path: Path, make: Callable[[], dict[str, Any]]) -> None:
    text = json.dumps(make(), separators=(",", ":"))
    assert len(text) < xmlrpc.MAXIMUM_BYTES
    records = Records(tmp_path / "records.sqlite")
    records.store(HEAD)

    def store() -> None:
        with pytest.raises(MalformedMessage) as caught:
            records.store(plain_of(text))
        assert len(caught.value.detail) < 1000

    seconds, memory = cost(store)
    assert (seconds < MOST_SECONDS, memory < MOST_MEMORY * len(text) + MIB) == (True, True), (seconds, memory)
    assert (whole := records.load()) is not None
    assert [sliver.name for sliver in whole.slivers] == ["demo_one"]


def test_as_many_slivers_as_a_node_can_number_are_kept(tmp_path: Path) -> None:
    reply = {**HEAD, "slivers": many(MOST, attributes=[{"tagname": "x", "value": "y" * 900}])}
    records = Records(tmp_path / "records.sqlite")
    seconds, memory = cost(lambda: records.store(reply))
    assert (seconds < 8 * MOST_SECONDS, memory < 96 * MIB) == (True, True), (seconds, memory)
    assert (whole := Records(tmp_path / "records.sqlite").load()) is not None
    assert len(whole.slivers) == MOST


def test_faults_beyond_counting_are_told_in_one(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.sqlite")
    records.store({**HEAD, "slivers": [SLIVER, *many(MOST - 1, image="..")]})
    assert len(records.refused) == 101
    assert records.refused["configuration"] == f"{MOST - 1 - 100} more entries of it are refused"


def test_ten_thousand_lists_in_lists_are_no_reply() -> None:
    text = json.dumps(one(attributes=["here"])).replace('"here"', "[" * 10_000 + "]" * 10_000)
    with pytest.raises(MalformedMessage):
        Records(Path("/nowhere")).store(plain_of(text))


def test_a_hundred_megabytes_are_not_even_read() -> None:
    # Nor fetched: tests/host/test_host_attack_http.py.
    body = b" " * (100 * MIB)

    def load() -> None:
        with pytest.raises(MalformedMessage):
            xmlrpc.load_reply(body)

    seconds, memory = cost(load)
    assert (seconds < 1, memory < MIB) == (True, True), (seconds, memory)
