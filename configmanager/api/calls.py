"""The calls: their names and arguments are the original node manager's, who may make them is this table.

A call whose first argument is a sliver's name is a slice's for its own sliver, and a delegate's for slices
that name it (attribute `delegations`). docs/node-api.md has the table; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from configmanager.api.callers import Caller, Who
from configmanager.api.node import NodeSide
from configmanager.decisions import DELEGATED
from configmanager.loans import Loan
from configmanager.slots import Slots
from wire.slivers import NodeSlivers, Sliver
from wire.structure import unstructure
from wire.xmlrpc import Fault

SLIVER = "sliver_name"
# What XML-RPC calls them.
KINDS: dict[str, type] = {SLIVER: str, "loans": list, "ticket": str}
DONE = 1


class Code(IntEnum):
    """Fault codes, as the original had them."""

    METHOD = 100
    COUNT = 101
    ARGUMENT = 102
    PERMISSION = 108
    INTERNAL = 111


class Denied(Fault):
    """Who calls may not."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.PERMISSION, f"Permission denied: {text}")


class BadArgument(Fault):
    """An argument is not what is wanted."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.ARGUMENT, f"Invalid argument: {text}")


@dataclass(frozen=True)
class Call:
    """One call. `acts`: it changes something, so it is told of, and bounded in number."""

    name: str
    parameters: tuple[str, ...]
    who: frozenset[Who]
    about: str
    work: Callable[..., Any]
    acts: bool = False


def _said(node: NodeSide) -> NodeSlivers:
    said = node.manager.said()
    if said is None:
        raise BadArgument("the node does not know its slices yet")
    return said


def _help(_: NodeSide, __: Caller) -> str:
    return "".join(f"{call.name}({', '.join(call.parameters)}): {call.about}\n" for call in CALLS.values())


def _get_xids(node: NodeSide, _: Caller) -> dict[str, int]:
    slots = Slots(node.root).all()
    return {sliver.name: slots[sliver.name].number for sliver in _said(node).slivers if sliver.name in slots}


def _get_ssh_keys(node: NodeSide, _: Caller) -> dict[str, str]:
    return {sliver.name: "\n".join(key.key for key in sliver.keys) for sliver in _said(node).slivers}


def _create(node: NodeSide, _: Caller, sliver: Sliver) -> int:
    _only_delegated(sliver)
    node.decisions.set_made(sliver, _said(node), made=True)
    # A pass makes it, so that its limits are there before it is.
    node.wake()
    return DONE


def _destroy(node: NodeSide, _: Caller, sliver: Sliver) -> int:
    _only_delegated(sliver)
    # First, so that whatever is left by a power cut is removed by the next pass.
    node.decisions.set_made(sliver, _said(node), made=False)
    node.slivers.destroy(sliver.name)
    # Limits and network go after it.
    node.wake()
    return DONE


def _start(node: NodeSide, _: Caller, sliver: Sliver) -> int:
    return _done(node, node.slivers.start(node.decisions.applied(_said(node)), sliver.name))


def _stop(node: NodeSide, _: Caller, sliver: Sliver) -> int:
    return _done(node, node.slivers.stop(sliver.name))


def _recreate(node: NodeSide, _: Caller, sliver: Sliver) -> int:
    return _done(node, node.slivers.recreate(node.decisions.applied(_said(node)), sliver.name))


def _done(node: NodeSide, done: bool) -> int:
    if not done:
        # It is decided; a call does not wait for a pass that may take long.
        node.wake()
    return DONE


def _get_rspec(_: NodeSide, __: Caller, sliver: Sliver) -> dict[str, int]:
    return dict(unstructure(sliver.rspec))


def _get_effective_rspec(node: NodeSide, _: Caller, sliver: Sliver) -> dict[str, int]:
    having = node.decisions.resources(_said(node)).get(sliver.name, sliver.rspec)
    return dict(unstructure(having))


def _get_loans(node: NodeSide, _: Caller, sliver: Sliver) -> list[object]:
    return [loan.to_plain() for loan in node.decisions.of(sliver).loans]


def _set_loans(node: NodeSide, _: Caller, sliver: Sliver, data: list[Any]) -> int:
    try:
        loans = Loan.read(data)
    except ValueError as error:
        raise BadArgument(str(error)) from None
    node.decisions.set_loans(sliver, _said(node), loans)
    node.wake()
    return DONE


def _get_record(node: NodeSide, caller: Caller, sliver: Sliver) -> dict[str, Any]:
    return {
        **unstructure(sliver),
        "timestamp": _said(node).timestamp,
        "rspec": _get_rspec(node, caller, sliver),
        "_rspec": _get_effective_rspec(node, caller, sliver),
        "_loans": _get_loans(node, caller, sliver),
    }


def _ticket(node: NodeSide, caller: Caller, text: str) -> int:
    return _redeem(node, caller, text, delegated_only=True)


def _admin_ticket(node: NodeSide, caller: Caller, text: str) -> int:
    return _redeem(node, caller, text, delegated_only=False)


def _redeem(node: NodeSide, caller: Caller, text: str, *, delegated_only: bool) -> int:
    ticket = node.ticket_key().verify(text)
    ticket.judge(node.manager.now())
    may_act(caller, ticket.sliver)
    if delegated_only:
        _only_delegated(ticket.sliver)
    node.words.deliver(unstructure(ticket.sliver), ticket.issued, ticket.images)
    said = _said(node)
    sliver = said.sliver(ticket.sliver.name)
    if sliver is None:
        raise BadArgument("the server has said since that the slice is not on this node")
    may_act(caller, sliver)
    if sliver.instantiation in DELEGATED:
        node.decisions.set_made(sliver, said, made=True)
    node.wake()
    return DONE


def _only_delegated(sliver: Sliver) -> None:
    if sliver.instantiation not in DELEGATED:
        raise Denied(f"{sliver.name} is {sliver.instantiation}: the server makes and destroys it")


def may_act(caller: Caller, sliver: Sliver) -> None:
    """Raise Denied unless the caller acts for the sliver's slice."""
    match caller.who:
        case Who.OPERATOR:
            return
        case Who.SLICE if caller.name == sliver.name:
            return
        case Who.DELEGATE if caller.name in sliver.delegations:
            return
    raise Denied(f"{caller} does not act for this slice")


_ALL = frozenset(Who)
_KNOWN = frozenset({Who.SLICE, Who.DELEGATE, Who.OPERATOR})
_OUTSIDE = frozenset({Who.DELEGATE, Who.OPERATOR})
_OPERATOR = frozenset({Who.OPERATOR})

CALLS = {
    call.name: call
    for call in (
        Call("Help", (), _ALL, "the calls, one a line", _help),
        Call("GetXIDs", (), _KNOWN, "the slots of the slivers here, by name", _get_xids),
        Call("GetSSHKeys", (), _OUTSIDE, "the public keys of the slices here, by name", _get_ssh_keys),
        Call("Create", (SLIVER,), _KNOWN, "have a delegated sliver made", _create, acts=True),
        Call("Destroy", (SLIVER,), _KNOWN, "remove a delegated sliver with its disk", _destroy, acts=True),
        Call("Start", (SLIVER,), _KNOWN, "start a sliver; it stays started", _start, acts=True),
        Call("Stop", (SLIVER,), _KNOWN, "stop a sliver, keep its disk; it stays stopped", _stop, acts=True),
        Call("ReCreate", (SLIVER,), _KNOWN, "make a sliver again, with an empty disk", _recreate, acts=True),
        Call("GetRSpec", (SLIVER,), _KNOWN, "its resources without loans", _get_rspec),
        Call("GetEffectiveRSpec", (SLIVER,), _KNOWN, "its resources with loans", _get_effective_rspec),
        Call("GetLoans", (SLIVER,), _KNOWN, "what it lends: [recipient, resource, amount]", _get_loans),
        Call("SetLoans", (SLIVER, "loans"), _KNOWN, "replace what it lends", _set_loans, acts=True),
        Call("GetRecord", (SLIVER,), _KNOWN, "all that the node knows of a sliver", _get_record),
        Call("Ticket", ("ticket",), _OUTSIDE, "have a delegated sliver by a ticket", _ticket, acts=True),
        Call("AdminTicket", ("ticket",), _OPERATOR, "have any sliver by a ticket", _admin_ticket, acts=True),
    )
}
