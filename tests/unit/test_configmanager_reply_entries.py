"""Entries of a reply that are malformed: each stops itself only, and says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configmanager.reply import Known, Reading, read
from wire.messages import DiskOrder, ImageRef
from wire.slivers import DELEGATE, Account, NodeService, NodeSlivers, Sliver
from wire.structure import unstructure

A, B = "a" * 64, "b" * 64
ONE, TWO = Sliver("demo_one", 1, 5000), Sliver("demo_two", 2, 5000)
KNOWN = {sliver.name: Known.of(sliver) for sliver in (ONE, TWO)}
BEFORE = NodeSlivers(
    1,
    1,
    "node1",
    services=(NodeService("clock", "[Service]\n"), NodeService("beacon", "[Service]\n")),
    images=(ImageRef("sliver", A), ImageRef("other", A)),
    accounts=(Account("someone", ("ssh-rsa A",), DELEGATE), Account("else", ("ssh-rsa B",), DELEGATE)),
    disk_image=DiskOrder("order1", ImageRef("disk", A)),
)
REPLY = {**unstructure(BEFORE), "timestamp": 2, "slivers": [KNOWN["demo_one"].plain, KNOWN["demo_two"].plain]}


def said(**members: object) -> Reading:
    return read({**REPLY, **members}, KNOWN, BEFORE)


def test_a_sound_reply_refuses_nothing() -> None:
    reading = said()
    assert (reading.refused, set(reading.slivers)) == ({}, {"demo_one", "demo_two"})
    assert reading.head.accounts == BEFORE.accounts


# --- slivers ---


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"attributes": [{"tagname": "cpu_share", "value": 5}]}, "in attributes[0].value"),
        ({"attributes": [{"tagname": "x y", "value": ""}]}, "tagname 'x y' is not a name in attributes[0]"),
        ({"attributes": [{"tagname": "cpu_min", "value": "lots"}]}, "cpu_min is 'lots'"),
        ({"attributes": [{"tagname": "x", "value": "a\0b"}]}, "in attributes[0].value"),
        ({"unknown": [{"to_us": b"a"}]}, "in unknown[0].to_us"),
        ({"keys": [{"key_type": "ssh", "key": "a\nb"}]}, "in keys[0]"),
        ({"slice_id": "2"}, "in slice_id"),
    ],
)
def test_a_slivers_fault_names_the_field_and_stops_it_alone(fault: dict[str, Any], why: str) -> None:
    changed = {**KNOWN["demo_one"].plain, "initscript": "#!/bin/sh\n"}
    new = {"name": "demo_new", "slice_id": 3, "expires": 5000}
    reading = said(slivers=[{**KNOWN["demo_two"].plain, **fault}, changed, new])
    assert list(reading.refused) == ["sliver demo_two"]
    assert why in reading.refused["sliver demo_two"]
    assert reading.slivers["demo_two"].sliver == TWO
    assert reading.slivers["demo_one"].sliver.initscript
    assert set(reading.slivers) == {"demo_one", "demo_two", "demo_new"}


@pytest.mark.parametrize(
    "mangled",
    [
        7,
        None,
        {},
        {"slice_id": 1, "expires": 2},
        *(
            {"name": name, "slice_id": 1, "expires": 2}
            for name in (
                "",
                "a/b",
                "..",
                "a\0b",
                "-a",
                "a" * 33,
                "d\u0435mo_two",
                "demo_two\n",
                "Demo",
                "a.b",
                7,
            )
        ),
    ],
)
def test_where_a_slivers_name_was_mangled_none_is_taken_away_and_the_rest_counts(mangled: object) -> None:
    changed = {**KNOWN["demo_one"].plain, "expires": 6000}
    reading = said(slivers=[changed, mangled])
    assert {name: each.sliver.expires for name, each in reading.slivers.items()} == {
        "demo_one": 6000,
        "demo_two": 5000,
    }
    assert list(reading.refused) == ["sliver number 2"]
    assert set(said(slivers=[changed]).slivers) == {"demo_one"}


def test_of_two_slivers_with_one_name_neither_counts() -> None:
    changed = {**KNOWN["demo_one"].plain, "expires": 6000}
    new = {"name": "demo_new", "slice_id": 3, "expires": 5000}
    reading = said(slivers=[changed, KNOWN["demo_one"].plain, new, new])
    assert {name: each.sliver for name, each in reading.slivers.items()} == {"demo_one": ONE}
    assert set(reading.refused) == {"sliver demo_one", "sliver demo_new"}


@pytest.mark.parametrize("theirs", [{}, {"image": ".."}])
def test_who_would_be_the_same_machine_as_another_is_not_made(theirs: dict[str, Any]) -> None:
    clash = {"name": "demo-one", "slice_id": 3, "expires": 5000}
    reading = said(slivers=[clash, {**KNOWN["demo_one"].plain, **theirs}])
    assert set(reading.slivers) == {"demo_one"}
    assert reading.refused["sliver demo-one"] == "as a machine it has the name of demo_one"
    # When the other one goes, it can be made.
    assert set(said(slivers=[clash]).slivers) == {"demo-one"}


# --- accounts, images, services, the disk image ---


@pytest.mark.parametrize(
    ("faulty", "label"),
    [
        ({"name": "someone", "keys": [5], "type": DELEGATE}, "account someone"),
        ({"name": "someone", "keys": ["a\nb"], "type": DELEGATE}, "account someone"),
        ({"name": "someone", "keys": "ssh-rsa A", "type": 7}, "account someone"),
        ({"name": "/", "keys": [], "type": DELEGATE}, "account number 1"),
        ({"keys": [], "type": DELEGATE}, "account number 1"),
        ("someone", "account number 1"),
    ],
)
def test_an_account_with_a_fault_keeps_its_keys(faulty: object, label: str) -> None:
    other = {"name": "else", "keys": ["ssh-rsa NEW"], "type": DELEGATE}
    reading = said(accounts=[faulty, other])
    assert list(reading.refused) == [label]
    assert {account.name: account.keys for account in reading.head.delegates} == {
        "someone": ("ssh-rsa A",),
        "else": ("ssh-rsa NEW",),
    }
    assert set(reading.slivers) == {"demo_one", "demo_two"}


def test_an_account_that_nobody_makes_may_be_anything() -> None:
    reading = said(accounts=[{"name": "/", "keys": 7, "type": "root"}, {"name": 7}])
    assert (reading.refused, reading.head.accounts) == ({}, ())


@pytest.mark.parametrize(
    ("faulty", "label"),
    [
        ({"name": "sliver", "manifest": "zz"}, "image sliver"),
        ({"name": "sliver", "manifest": 7}, "image sliver"),
        ({"name": "sliver"}, "image sliver"),
        ({"name": "../x", "manifest": A}, "image number 1"),
        (7, "image number 1"),
    ],
)
def test_an_image_with_a_fault_stays_what_it_was(faulty: object, label: str) -> None:
    reading = said(images=[faulty, {"name": "other", "manifest": B}])
    assert list(reading.refused) == [label]
    assert set(reading.head.images) == {ImageRef("sliver", A), ImageRef("other", B)}
    assert set(reading.slivers) == {"demo_one", "demo_two"}


@pytest.mark.parametrize("faulty", [{"name": "/", "unit": "[Service]\n"}, {"name": "clock"}, 7, None])
def test_a_service_with_a_fault_stays_what_it_was(faulty: object) -> None:
    reading = said(services=[faulty, unstructure(BEFORE.services[1])])
    assert len(reading.refused) == 1
    assert set(reading.head.services) == set(BEFORE.services)


@pytest.mark.parametrize(
    "faulty", [7, None, {"id": 5}, {"id": "x", "image": {"name": "..", "manifest": A}}, {"id": "x"}]
)
def test_a_disk_image_with_a_fault_is_not_ordered(faulty: object) -> None:
    reading = said(disk_image=faulty)
    assert list(reading.refused) == ["disk_image"]
    assert reading.head.disk_image == BEFORE.disk_image
    assert read({**REPLY, "disk_image": faulty}, {}, None).head.disk_image.id == ""


# --- anything ---

_VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("demo_one") | st.just(DELEGATE)
)
_ENTRIES = st.lists(
    _VALUES
    | st.dictionaries(
        st.sampled_from(
            ["name", "slice_id", "expires", "keys", "attributes", "type", "manifest", "unit", "id"]
        ),
        _VALUES | st.lists(_VALUES, max_size=2),
    ),
    max_size=4,
)


@given(_ENTRIES, _ENTRIES, _ENTRIES, _ENTRIES, _VALUES)
def test_whatever_an_entry_is_the_rest_counts(
    slivers: list[object],
    accounts: list[object],
    images: list[object],
    services: list[object],
    disk_image: object,
) -> None:
    new = {"name": "demo_new", "slice_id": 3, "expires": 5000}
    reading = said(
        slivers=[new, *slivers], accounts=accounts, images=images, services=services, disk_image=disk_image
    )
    assert "demo_new" in reading.slivers
    assert all(text.isprintable() for text in reading.refused)
