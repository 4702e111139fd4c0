"""How slivers share a link to the outside: a tree of HTB, tc's text, from the slivers and the link.

    51fe:1            the link
      51fe:2          the node itself, before all others
      51fe:3          slivers to ordinary destinations, at most the rate that the operator set
        51fe:1nnn     a sliver, nnn the number of its slot in hex: rate net_min, ceil net_max
      51fe:2nnn       a sliver to exempt destinations: rate net2_min, ceil net2_max

What nobody is sure of is lent in proportion to net_share. The packet filter puts a packet's class into its
priority, which HTB takes as it is, so there are no filters here. See tc-htb(8).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from configmanager.backends.network_settings import Link
from configmanager.slots import Slot
from wire.rspec import RSpec

HANDLE = "51fe:"
_NODE_PART = 20
_SLIVER, _EXEMPT = 0x1000, 0x2000
_BITS = 8
# One share is a millisecond of the link, but at least two packets, and at most one that was put together
# for the sender's ease (TSO): HTB does not divide those, and less than a packet counts as one.
_TURNS = 1000
_LEAST_TURN, _MOST_TURN = 3028, 65_536
_LEAST_RATE = 8
# A neighbour's largest packet keeps the link from everybody for a while, and so does the one after it. What
# was not sent then may be sent afterwards: without that, a sliver with a small limit gets a quarter of it.
_MISSED_PACKETS = 2


@dataclass(frozen=True)
class Share:
    """What one sliver has of a link, and by what right: the older slice first."""

    name: str
    slice_id: int
    slot: Slot
    rspec: RSpec


@dataclass(frozen=True)
class Tree:
    """The classes of a link in bit/s; `refused` are slivers whose guarantee the link cannot give."""

    link: Link
    cap: int
    guaranteed: dict[str, tuple[int, int]]
    refused: frozenset[str]


def class_id(slot: Slot) -> str:
    """Return the class of a sliver's traffic to ordinary destinations."""
    return f"{HANDLE}{_SLIVER + slot.number:x}"


def exempt_class_id(slot: Slot) -> str:
    """Return the class of a sliver's traffic to exempt destinations."""
    return f"{HANDLE}{_EXEMPT + slot.number:x}"


def divide(link: Link, rate: int, shares: Iterable[Share]) -> Tree:
    """Say who is sure of what: where guarantees are too many, the oldest slices have theirs.

    `rate` is what slivers together may send to ordinary destinations, in bit/s, 0 for all of the link.
    """
    cap = min(rate or link.rate, link.rate)
    room, capped_room = link.rate - link.rate // _NODE_PART, cap
    guaranteed, refused = {}, set()
    for share in sorted(shares, key=lambda share: (share.slice_id, share.name)):
        plain, exempt = share.rspec.net_min, share.rspec.net2_min
        if plain > capped_room or plain + exempt > room:
            refused.add(share.name)
            plain = exempt = 0
        room -= plain + exempt
        capped_room -= plain
        guaranteed[share.name] = (max(plain, _LEAST_RATE), max(exempt, _LEAST_RATE))
    return Tree(link, cap, guaranteed, frozenset(refused))


def batch(
    tree: Tree, shares: Sequence[Share], there: Collection[str] | None, queued: Collection[str] = ()
) -> str:
    """Return input for `tc -batch`; `there` are the classes of our tree, None where it is not there.

    `queued` are the classes that have their queues.
    """
    interface, rate = tree.link.interface, tree.link.rate
    turn = min(max(rate // _BITS // _TURNS, _LEAST_TURN), _MOST_TURN)
    lines = []
    if there is None:
        lines.append(f"qdisc replace dev {interface} root handle {HANDLE} htb default 2")
    together = max(sum(plain for plain, _ in tree.guaranteed.values()), _LEAST_RATE)
    lines += [
        _class(interface, "1", "", rate, (rate, rate), turn),
        _class(interface, "2", "1", rate, (rate // _NODE_PART, rate), turn, 0),
        _class(interface, "3", "1", rate, (together, tree.cap), turn, 1),
    ]
    leaves = ["2"]
    for share in shares:
        rspec, quantum = share.rspec, turn * share.rspec.net_share
        plain, exempt = tree.guaranteed[share.name]
        ordinary, free = (f"{base + share.slot.number:x}" for base in (_SLIVER, _EXEMPT))
        most, most_free = min(rspec.net_max, tree.cap), min(rspec.net2_max, rate)
        lines.append(_class(interface, ordinary, "3", tree.cap, (plain, most), quantum, 1))
        lines.append(_class(interface, free, "1", rate, (exempt, most_free), quantum, 1))
        leaves += [ordinary, free]
    for leaf in leaves:
        if f"{HANDLE}{leaf}" in queued:
            # The kernel refuses to be told the number of flows again.
            continue
        # No flow of a sliver fills its queue for the others.
        lines.append(f"qdisc replace dev {interface} parent {HANDLE}{leaf} handle {leaf}: fq_codel flows 128")
    wanted = {f"{HANDLE}{minor}" for minor in ("1", "3", *leaves)}
    gone = sorted(set(there or ()) - wanted)
    lines += [f"class delete dev {interface} classid {each}" for each in gone]
    return "\n".join(lines) + "\n"


def _class(
    interface: str,
    minor: str,
    parent: str,
    shared: int,
    rates: tuple[int, int],
    quantum: int,
    priority: int | None = None,
) -> str:
    """Return the line of a class that is sure of the first of `rates` and has the second at most.

    `shared` is what all classes of its parent have together; all three are bit/s.
    """
    rate, ceil = rates[0], max(rates)
    before = "" if priority is None else f" prio {priority}"
    return (
        f"class replace dev {interface} parent {HANDLE}{parent} classid {HANDLE}{minor} htb{before} "
        f"rate {rate}bit burst {_burst(rate, shared)}b ceil {ceil}bit cburst {_burst(ceil, shared)}b "
        f"quantum {quantum}"
    )


def _burst(rate: int, shared: int) -> int:
    """Return the bytes that a class may send at once, and still have `rate` beside its neighbours."""
    return _LEAST_TURN + _MISSED_PACKETS * _MOST_TURN * rate // shared
