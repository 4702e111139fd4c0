"""Each call of the node's API by its name: what it takes, gives and does."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from configmanager.api.calls import CALLS
from configmanager.slots import Slots
from tests.unit.node_api import CALLERS, KEY, LEFT, MINE, OTHER, FakeNode
from wire.rspec import RSpec
from wire.slivers import Sliver
from wire.structure import unstructure
from wire.tickets import Ticket
from wire.xmlrpc import dump_call, load_reply

# What the original node managers had, and how many arguments.
ORIGINAL = {
    "Help": 0,
    "Ticket": 1,
    "AdminTicket": 1,
    "GetXIDs": 0,
    "GetSSHKeys": 0,
    "Create": 1,
    "Destroy": 1,
    "Start": 1,
    "Stop": 1,
    "ReCreate": 1,
    "GetEffectiveRSpec": 1,
    "GetRSpec": 1,
    "GetLoans": 1,
    "SetLoans": 2,
    "GetRecord": 1,
}
LOANS = [["other", "cpu_share", 50]]


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    node = FakeNode(tmp_path)
    node.there.add("left")
    return node


def call(node: FakeNode, method: str, *arguments: object, caller: str = "operator") -> object:
    """What comes of it over the wire."""
    return load_reply(node.answers.answer(CALLERS[caller], dump_call(method, list(arguments))))


def test_no_call_is_missing_and_none_is_without_a_test() -> None:
    assert {name: len(each.parameters) for name, each in CALLS.items()} == ORIGINAL
    assert {f"test_{name}" for name in CALLS} <= set(globals())


def test_Help(node):
    text = call(node, "Help", caller="anyone")
    assert [line.partition("(")[0] for line in text.splitlines()] == list(CALLS)
    assert "GetRecord(sliver_name): all that the node knows of a sliver\n" in text


def test_GetXIDs(node, tmp_path):
    slots = Slots(tmp_path).take_all(["mine", "left"], "test")
    assert call(node, "GetXIDs") == {name: slot.number for name, slot in slots.items()}


def test_GetSSHKeys(node):
    assert call(node, "GetSSHKeys") == {"mine": "ssh-ed25519 AAAA me", "other": "", "left": ""}


def test_Create(node):
    assert call(node, "Create", "left") == 1
    assert (node.decisions.of(LEFT).made, node.done) == (True, ["wake"])


def test_Destroy(node):
    call(node, "Create", "left")
    assert call(node, "Destroy", "left") == 1
    assert (node.decisions.of(LEFT).made, node.done[-2:]) == (False, ["destroy left", "wake"])


def test_Start(node):
    assert (call(node, "Start", "mine"), node.done) == (1, ["start mine"])


def test_Stop(node):
    assert (call(node, "Stop", "mine"), node.done) == (1, ["stop mine"])


def test_ReCreate(node):
    assert (call(node, "ReCreate", "mine"), node.done) == (1, ["recreate mine"])


def test_GetRSpec(node):
    call(node, "SetLoans", "mine", LOANS)
    assert call(node, "GetRSpec", "mine") == unstructure(RSpec(cpu_share=100))


def test_GetEffectiveRSpec(node):
    call(node, "SetLoans", "mine", LOANS)
    assert call(node, "GetEffectiveRSpec", "mine") == unstructure(RSpec(cpu_share=50))
    assert call(node, "GetEffectiveRSpec", "other") == unstructure(RSpec(cpu_share=82))


def test_GetLoans(node):
    assert call(node, "GetLoans", "mine") == []
    call(node, "SetLoans", "mine", LOANS)
    assert call(node, "GetLoans", "mine") == LOANS


def test_SetLoans(node):
    assert (call(node, "SetLoans", "mine", LOANS), node.done) == (1, ["wake"])
    assert call(node, "SetLoans", "mine", []) == 1
    assert node.decisions.of(MINE).loans == ()


def test_GetRecord(node):
    """The slice as the server told it; time, resources and loans besides."""
    call(node, "SetLoans", "mine", LOANS)
    record = call(node, "GetRecord", "mine")
    said = {field.name for field in fields(Sliver)}
    assert {name: record[name] for name in said} == unstructure(MINE)
    besides = {name: value for name, value in record.items() if name not in said}
    assert besides == {
        "timestamp": 1000,
        "rspec": unstructure(RSpec(cpu_share=100)),
        "_rspec": unstructure(RSpec(cpu_share=50)),
        "_loans": LOANS,
    }


def test_Ticket(node):
    fresh = replace(LEFT, name="fresh", slice_id=9)
    assert call(node, "Ticket", KEY.sign(Ticket(7, 1200, 3000, fresh)), caller="delegate") == 1
    assert (node.word.sliver("fresh"), node.decisions.of(fresh).made) == (fresh, True)


def test_AdminTicket(node):
    fresh = replace(OTHER, name="fresh", slice_id=9)
    assert call(node, "AdminTicket", KEY.sign(Ticket(7, 1200, 3000, fresh))) == 1
    assert (node.word.sliver("fresh"), node.done) == (fresh, ["wake"])
