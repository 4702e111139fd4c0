"""The node's API: who may call what, what calls do, what is refused and how."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.api import answer as module
from configmanager.api.answer import MOST_ACTS
from configmanager.api.callers import ANYONE, OPERATOR, Caller, Who, caller_of
from configmanager.api.calls import CALLS, SLIVER, Code
from configmanager.api.waking import Waker
from configmanager.loans import Loan
from configmanager.slots import MOST, Slot, Slots
from host.run import CommandFailed
from tests.unit.node_api import CALLERS, KEY, LEFT, MINE, OTHER, FakeNode
from wire.slivers import Attribute, Instantiation
from wire.structure import unstructure
from wire.tickets import Ticket, TicketKey
from wire.xmlrpc import Fault, dump_call, load_reply

PAGE = (Path(__file__).parents[2] / "docs/node-api.md").read_text()
MY = Caller(Who.SLICE, "mine")
DELEGATE = CALLERS["delegate"]
GOOD = {SLIVER: "left", "loans": [], "ticket": KEY.sign(Ticket(7, 1200, 3000, LEFT))}


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    node = FakeNode(tmp_path)
    node.there.add("left")
    return node


def refused(node: FakeNode, code: Code, caller: Caller, method: str, *arguments: object) -> str:
    with pytest.raises(Fault) as fault:
        node.call(caller, method, *arguments)
    assert fault.value.faultCode == code
    assert node.done == []
    return str(fault.value.faultString)


# --- who may ---

# What each caller may do to the delegated sliver `left`, written down apart from the code.
MAY = {
    "anyone": {"Help"},
    "slice": {*CALLS} - {"GetSSHKeys", "Ticket", "AdminTicket"},
    "another slice": {"Help", "GetXIDs"},
    "delegate": {*CALLS} - {"AdminTicket"},
    "another delegate": {"Help", "GetXIDs", "GetSSHKeys"},
    "operator": {*CALLS},
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("caller", CALLERS)
def test_who_may_call_what(node, caller, method):
    arguments = [GOOD[name] for name in CALLS[method].parameters]
    if method in MAY[caller]:
        node.call(CALLERS[caller], method, *arguments)
        return
    text = refused(node, Code.PERMISSION, CALLERS[caller], method, *arguments)
    assert text.startswith("Permission denied")
    assert not node.decisions.of(LEFT).made
    # Whose ticket it is shows only when it is read, and that somebody tries is told.
    assert bool(node.told) == (method == "Ticket" and caller == "another delegate")


def test_the_table_in_the_docs_is_the_codes():
    rows = [
        f"| `{call.name}({', '.join(call.parameters)})` | {call.about} | "
        + " | ".join("yes" if who in call.who else "" for who in Who)
        + " |"
        for call in CALLS.values()
    ]
    assert "\n".join(rows) in PAGE


def test_the_kernels_word_says_who_calls():
    slots, delegates = {"mine": Slot(1), "other": Slot(MOST)}, {Slot(0).first_user + 0x8000: "someone"}
    known = {
        0: OPERATOR,
        Slot(1).account: MY,
        Slot(1).first_user: MY,
        Slot(1).first_user + 0xFFFF: MY,
        Slot(1).first_user - 1: ANYONE,
        Slot(2).first_user: ANYONE,
        Slot(MOST).first_user: Caller(Who.SLICE, "other"),
        Slot(0).first_user: ANYONE,
        Slot(0).first_user + 0x8000: CALLERS["delegate"],
        Slot(0).first_user + 0x8001: ANYONE,
        1000: ANYONE,
        65534: ANYONE,
        2**32 - 1: ANYONE,
        -1: ANYONE,
    }
    assert {user: caller_of(user, slots, delegates) for user in known} == known


def test_few_bodies_are_read_at_a_time(node, monkeypatch):
    """One of 3 MiB takes 72 MiB meanwhile, and there are 32 connections."""
    lock, busy, most, load = threading.Lock(), [0], [0], module.load_call

    def slow(body):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.01)
        with lock:
            busy[0] -= 1
        return load(body)

    monkeypatch.setattr(module, "load_call", slow)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: node.answers.answer(MY, dump_call("Help", [])), range(16)))
    assert len(answers) == 16
    assert most[0] == module.READ_AT_A_TIME


def test_a_sliver_that_is_not_there_looks_like_somebody_elses(node):
    texts = {refused(node, Code.PERMISSION, MY, "Start", name) for name in ("other", "gone")}
    assert len(texts) == 1
    assert "no sliver" in refused(node, Code.ARGUMENT, OPERATOR, "Start", "gone")


# --- what calls are ---


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("Nothing", [], Code.METHOD),
        ("__init__", [], Code.METHOD),
        ("help", [], Code.METHOD),
        ("Start", [], Code.COUNT),
        ("Start", ["mine", "mine"], Code.COUNT),
        ("Start", [1], Code.ARGUMENT),
        ("Start", [["mine"]], Code.ARGUMENT),
        ("Start", [None], Code.ARGUMENT),
        ("SetLoans", ["mine", "x"], Code.ARGUMENT),
        ("SetLoans", ["mine", [["other", "disk_max", 1]]], Code.ARGUMENT),
        ("SetLoans", ["mine", [["other", "cpu_share", -1]]], Code.ARGUMENT),
    ],
)
def test_a_wrong_call_has_the_originals_code(node, method, arguments, code):
    refused(node, code, OPERATOR, method, *arguments)


def test_bodies_are_answered_with_bodies(node):
    assert "SetLoans(sliver_name, loans)" in load_reply(node.answers.answer(ANYONE, dump_call("Help", [])))
    for body in (b"", b"<x/>", dump_call("Start", ["mine"]), b"<!DOCTYPE x><methodCall/>", b"\xff"):
        with pytest.raises(Fault):
            load_reply(node.answers.answer(ANYONE, body))


def test_a_slice_handles_its_own_sliver(node):
    for method in ("Start", "Stop", "ReCreate"):
        assert node.call(MY, method, "mine") == 1
    assert node.done == ["start mine", "stop mine", "recreate mine"]
    assert [event.data["call"] for event in node.told] == ["Start", "Stop", "ReCreate"]
    assert node.told[0].data == {"call": "Start", "name": "mine", "caller": "slice mine"}


def test_a_delegated_sliver_is_created_by_a_pass_and_destroyed_at_once(node):
    node.call(DELEGATE, "Create", "left")
    assert node.done == ["wake"]
    assert node.decisions.of(LEFT).made
    node.call(DELEGATE, "Destroy", "left")
    assert node.done == ["wake", "destroy left", "wake"]
    assert not node.decisions.of(LEFT).made


@pytest.mark.parametrize("method", ["Create", "Destroy"])
def test_what_the_server_instantiates_is_its_own_to_make_and_destroy(node, method):
    assert "plc-instantiated" in refused(node, Code.PERMISSION, OPERATOR, method, "mine")


def test_a_failed_removal_is_still_decided(node, monkeypatch):
    node.call(DELEGATE, "Create", "left")

    def stuck(_: str) -> None:
        raise CommandFailed(["umount"], 32, "busy")

    monkeypatch.setattr(node, "destroy", stuck)
    with pytest.raises(Fault):
        node.call(DELEGATE, "Destroy", "left")
    assert not node.decisions.of(LEFT).made


def test_resources_and_loans(node):
    node.call(MY, "SetLoans", "mine", [["other", "cpu_share", 50], ["gone", "cpu_share", 1]])
    assert node.call(MY, "GetLoans", "mine") == [["other", "cpu_share", 50], ["gone", "cpu_share", 1]]
    assert node.call(MY, "GetRSpec", "mine")["cpu_share"] == 100
    assert node.call(MY, "GetEffectiveRSpec", "mine")["cpu_share"] == 50
    other = Caller(Who.SLICE, "other")
    assert node.call(other, "GetEffectiveRSpec", "other")["cpu_share"] == 82
    assert node.done == ["wake"]
    record = node.call(MY, "GetRecord", "mine")
    assert (record["name"], record["timestamp"], record["_rspec"]["cpu_share"]) == ("mine", 1000, 50)
    assert record["_loans"][0] == ["other", "cpu_share", 50]
    # All of it can be carried.
    load_reply(node.answers.answer(MY, dump_call("GetRecord", ["mine"])))
    assert node.decisions.of(MINE).loans == (Loan("other", "cpu_share", 50), Loan("gone", "cpu_share", 1))


def test_resources_of_a_sliver_that_was_not_made_are_its_own(node):
    assert node.call(DELEGATE, "GetEffectiveRSpec", "left") == unstructure(LEFT.rspec)


def test_slots_and_keys_of_the_slices(node, tmp_path):
    Slots(tmp_path).take_all(["gone", "mine"], "test")
    assert node.call(MY, "GetXIDs") == {"mine": 2}
    assert node.call(DELEGATE, "GetSSHKeys") == {"mine": "ssh-ed25519 AAAA me", "other": "", "left": ""}


def test_before_the_first_word_there_is_nothing(tmp_path):
    node = FakeNode(tmp_path, None)
    assert "does not know" in refused(node, Code.ARGUMENT, MY, "GetXIDs")
    refused(node, Code.PERMISSION, MY, "Start", "mine")
    refused(node, Code.ARGUMENT, OPERATOR, "AdminTicket", GOOD["ticket"])


# --- tickets ---


def test_a_ticket_brings_a_slice_that_the_node_has_not_heard_of(node):
    sliver = replace(LEFT, name="fresh", slice_id=9)
    node.call(DELEGATE, "Ticket", KEY.sign(Ticket(7, 1200, 3000, sliver)))
    assert node.word.sliver("fresh") == sliver
    assert node.decisions.of(sliver).made
    assert node.done == ["wake"]


def test_a_ticket_is_no_newer_word_than_the_servers_since(node):
    old = replace(LEFT, attributes=(*LEFT.attributes, Attribute("cpu_share", "99")))
    node.call(DELEGATE, "Ticket", KEY.sign(Ticket(7, 900, 3000, old)))
    assert node.word.sliver("left") == LEFT
    assert node.decisions.of(LEFT).made


def test_what_the_server_took_back_since_is_not_made(node):
    gone = replace(LEFT, name="gone", slice_id=9)
    assert "since" in refused(node, Code.ARGUMENT, DELEGATE, "Ticket", KEY.sign(Ticket(7, 900, 3000, gone)))


def test_a_delegate_that_the_server_took_back_since_is_refused(node):
    wider = replace(LEFT, attributes=(Attribute("delegations", "nobody"),))
    text = KEY.sign(Ticket(7, 900, 3000, wider))
    refused(node, Code.PERMISSION, CALLERS["another delegate"], "Ticket", text)
    assert not node.decisions.of(LEFT).made


def test_a_ticket_is_for_whom_its_slice_names(node):
    refused(node, Code.PERMISSION, CALLERS["another delegate"], "Ticket", GOOD["ticket"])


def test_a_ticket_after_its_time_by_the_nodes_clock_is_refused(node):
    node.time = 3000.0
    assert "expired" in refused(node, Code.ARGUMENT, DELEGATE, "Ticket", GOOD["ticket"])


def test_another_nodes_ticket_is_refused(node):
    other = TicketKey(8, KEY.secret).sign(Ticket(7, 1200, 3000, LEFT))
    assert "not signed for this node" in refused(node, Code.ARGUMENT, OPERATOR, "AdminTicket", other)


def test_slivers_that_are_not_delegated_come_by_the_operators_tickets_only(node):
    sliver = replace(OTHER, name="fresh", slice_id=9, attributes=LEFT.attributes)
    text = KEY.sign(Ticket(7, 1200, 3000, sliver))
    refused(node, Code.PERMISSION, DELEGATE, "Ticket", text)
    refused(node, Code.PERMISSION, OPERATOR, "Ticket", text)
    node.call(OPERATOR, "AdminTicket", text)
    assert node.word.sliver("fresh") == sliver
    assert sliver.instantiation is Instantiation.PLC


# --- what goes wrong ---


def test_what_commands_said_is_the_operators_to_read(node):
    node.fail = CommandFailed(["mount", "/secret/place"], 32, "stderr of it")
    assert "secret" not in refused(node, Code.INTERNAL, MY, "Start", "mine")
    assert "/secret/place" in refused(node, Code.INTERNAL, OPERATOR, "Start", "mine")


def test_a_full_disk_is_a_fault(node, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.decisions, "set_loans", full)
    refused(node, Code.INTERNAL, MY, "SetLoans", "mine", [])


def test_a_slice_changes_things_so_often_and_no_more(node, monkeypatch):
    for _ in range(MOST_ACTS):
        node.call(MY, "Stop", "mine")
    with pytest.raises(Fault, match="are enough"):
        node.call(MY, "Stop", "mine")
    # Looking is free, others are not concerned, and the operator is not counted.
    node.call(MY, "GetRSpec", "mine")
    node.call(Caller(Who.SLICE, "other"), "Stop", "other")
    for _ in range(MOST_ACTS + 1):
        node.call(OPERATOR, "Stop", "mine")
    later = module.time.monotonic() + module.ACTS_SECONDS
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    node.call(MY, "Stop", "mine")


def test_a_pass_is_asked_for_at_once_and_then_once_for_all(monkeypatch):
    waits: list[float] = []
    fired = []

    class Timer:
        def __init__(self, wait: float, work) -> None:
            waits.append(wait)
            fired.append(work)

        def start(self) -> None:
            pass

    monkeypatch.setattr("configmanager.api.waking.threading.Timer", Timer)
    woken: list[int] = []
    wake = Waker(lambda: woken.append(1), apart=60.0)
    wake()
    wake()
    assert waits == [0.0]
    fired[0]()
    wake()
    wake()
    assert waits[1:] == [pytest.approx(60.0, abs=1.0)]
    assert woken == [1]
