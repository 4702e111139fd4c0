"""The node's packet filter for slivers: nft's text, from the slivers alone.

One transaction replaces all rules, sets and maps; counters are named objects, which it leaves as they are.
An interface of a sliver that is not known passes nothing. See nft(8).

    prerouting (raw)   from a sliver: its own address or nothing; counted; marked with the slot's number
    prerouting, output (nat)   a published port leads to its owner
    input              from a sliver to the node itself: answers and ping
    forward            to a sliver: answers, and what came by a published port; from one: its class of traffic
                       between others: nothing, for a node is no router
    postrouting        to a sliver: counted; from one to the outside: with the node's address and another port
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import pairwise

from configmanager.backends.network_classes import class_id, exempt_class_id
from configmanager.slots import Slot
from wire.rspec import RSpec
from wire.slivers import PortForward

TABLE = "slivers"
FAMILIES = ("inet", "arp")
# Counters of what was dropped.
SPOOFED, OTHER_VERSION = "dropped_spoofed", "dropped_not_ipv4"
ISOLATED, TO_NODE = "dropped_isolated", "dropped_to_node"
TOO_MANY, ROUTED = "dropped_too_many", "dropped_routed"
_DROPPED = (SPOOFED, OTHER_VERSION, ISOLATED, TO_NODE, TOO_MANY, ROUTED)
# Of one sliver's connections: at a time, in a second, and at once. The kernel has one table for the node and
# all slivers, of 65,536 with up to 4 GiB of memory. Counting goes through a sliver's own, and gets rid of
# those that came to nothing more slowly than they can come; hence bounds for both.
MOST_CONNECTIONS = 8192
_A_SECOND, _AT_ONCE = 500, 2000
# Where slivers are seen outside that have not published the port that they send from. One of their own choice
# could be the node's, or another's, and what comes to it from there would come to them.
_PORTS_OUT = (32768, 65535)
_LEAST_PORTS = 4096
_ANY = 'iifname "sliver*"'
# The name "dstnat" is for prerouting alone to an older nft.
_DSTNAT = -100

_SETS = {
    "set addresses": "type ifname . ipv4_addr;",
    "set exempt": "type ipv4_addr; flags interval;",
    "map marks": "type ifname : mark;",
    "map classes": "type ifname : classid;",
    "map exempt_classes": "type ifname : classid;",
    "map sent": "type ifname : counter;",
    "map received": "type ifname : counter;",
    "map ports": "type inet_proto . inet_service : ipv4_addr . inet_service;",
    "map leaving": "type ifname . inet_proto . inet_service : inet_service;",
}
# Filled by the rules themselves, so they are left as they are.
COUNTED = ("beginning", "open")

_CHAINS = f"""table inet {TABLE} {{
    chain from_outside_and_slivers {{
        type filter hook prerouting priority raw; policy accept;
        {_ANY} jump source
    }}
    chain source {{
        meta nfproto != ipv4 counter name "{OTHER_VERSION}" drop
        iifname . ip saddr != @addresses counter name "{SPOOFED}" drop
        counter name iifname map @sent
        meta mark set iifname map @marks
    }}
    chain published_to_others {{
        type nat hook prerouting priority dstnat; policy accept;
        jump published
    }}
    chain published_to_node {{
        type nat hook output priority {_DSTNAT}; policy accept;
        jump published
    }}
    chain published {{
        meta nfproto != ipv4 return
        ip daddr 127.0.0.0/8 return
        fib daddr type local dnat ip to meta l4proto . th dport map @ports
    }}
    chain to_node {{
        type filter hook input priority filter; policy accept;
        {_ANY} jump node
    }}
    chain node {{
        ct state established,related accept
        icmp type echo-request accept
        counter name "{TO_NODE}" drop
    }}
    chain through {{
        type filter hook forward priority filter; policy accept;
        iifname != "sliver*" oifname != "sliver*" meta nfproto ipv4 counter name "{ROUTED}" drop
        {_ANY} jump leave
        oifname "sliver*" jump enter
    }}
    chain begin {{
        add @beginning {{ iifname limit rate over {_A_SECOND}/second burst {_AT_ONCE} packets }} \
            counter name "{TOO_MANY}" drop
        add @open {{ iifname ct count over {MOST_CONNECTIONS} }} counter name "{TOO_MANY}" drop
        ct mark set iifname map @marks
    }}
    chain leave {{
        ct mark 0 jump begin
        meta priority set iifname map @classes
        ip daddr @exempt meta priority set iifname map @exempt_classes
    }}
    chain enter {{
        ct mark 0 ct mark set oifname map @marks
        ct state established,related accept
        ct status dnat accept
        counter name "{ISOLATED}" drop
    }}
    chain delivered {{
        type filter hook postrouting priority filter; policy accept;
        oifname "sliver*" counter name oifname map @received
    }}
    chain translated {{
        type nat hook postrouting priority srcnat; policy accept;
        {_ANY} oifname != "sliver*" jump out
    }}
}}
table arp {TABLE} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        {_ANY} iifname . arp saddr ip != @addresses drop
    }}
}}
"""


@dataclass(frozen=True)
class Member:
    """A sliver as the network knows it."""

    name: str
    slot: Slot
    rspec: RSpec
    ports: tuple[PortForward, ...]

    @property
    def counters(self) -> tuple[str, str]:
        """Names of the counters of what it has sent and received; no sliver's name has a dot."""
        plain = self.name.replace("-", ".")
        return f"sent_{plain}", f"received_{plain}"


def ruleset(members: Sequence[Member], exempt: Iterable[IPv4Network], counters: Collection[str]) -> str:
    """Return a transaction for `nft -f`; `counters` are those that are there."""
    wanted = [*_DROPPED, *(counter for member in members for counter in member.counters)]
    gone = sorted(set(counters) - set(wanted))
    lines = [f"add table {family} {TABLE}" for family in FAMILIES]
    lines += [f"flush table {family} {TABLE}" for family in FAMILIES]
    lines += [f"add counter inet {TABLE} {counter}" for counter in wanted]
    for family, kinds in (("inet", _SETS), ("arp", {"set addresses": _SETS["set addresses"]})):
        for kind_and_name, contents in kinds.items():
            kind, name = kind_and_name.split()
            lines.append(f"add {kind} {family} {TABLE} {name} {{ {contents} }}")
            lines.append(f"flush {kind} {family} {TABLE} {name}")
    lines += [f"add set inet {TABLE} {name} {{ type ifname; flags dynamic; }}" for name in COUNTED]
    lines += [f"delete counter inet {TABLE} {counter}" for counter in gone]
    lines += _elements(members, exempt)
    return "\n".join(lines) + "\n" + _way_out(members) + _CHAINS


def _way_out(members: Sequence[Member]) -> str:
    """Return the chain that gives a connection its port outside: the published one, or one that is free."""
    low, high = _widest(port.outside for member in members for port in member.ports)
    ported = "meta l4proto { tcp, udp } masquerade to"
    return f"""table inet {TABLE} {{
    chain out {{
        {ported} :iifname . meta l4proto . th sport map @leaving
        {ported} :{low}-{high} fully-random
        masquerade
    }}
}}
"""


def _widest(published: Iterable[int]) -> tuple[int, int]:
    """Return the first and last of the longest run of ports out that nobody has published.

    All of them, where that is too short for what slivers want of one place at a time.
    """
    first, last = _PORTS_OUT
    bounds = [first - 1, *sorted({port for port in published if first <= port <= last}), last + 1]
    gaps = [(low + 1, high - 1) for low, high in pairwise(bounds)]
    low, high = max(gaps, key=lambda gap: gap[1] - gap[0])
    return (low, high) if high - low >= _LEAST_PORTS else _PORTS_OUT


def removal() -> str:
    """Return a transaction that leaves nothing."""
    return "".join(f"destroy table {family} {TABLE}\n" for family in FAMILIES)


def _elements(members: Sequence[Member], exempt: Iterable[IPv4Network]) -> list[str]:
    filled: dict[str, list[str]] = {name.split()[1]: [] for name in _SETS}
    filled["exempt"] = [str(network) for network in exempt]
    for member in members:
        interface, address = f'"{member.slot.interface}"', member.slot.address
        sent, received = member.counters
        filled["addresses"].append(f"{interface} . {address}")
        filled["marks"].append(f"{interface} : {member.slot.number}")
        filled["classes"].append(f"{interface} : {class_id(member.slot)}")
        filled["exempt_classes"].append(f"{interface} : {exempt_class_id(member.slot)}")
        filled["sent"].append(f'{interface} : "{sent}"')
        filled["received"].append(f'{interface} : "{received}"')
        filled["ports"] += [
            f"{port.protocol} . {port.outside} : {address} . {port.inside}" for port in member.ports
        ]
        # Of several for one inside the first.
        own = {(port.protocol, port.inside): port.outside for port in reversed(member.ports)}
        filled["leaving"] += [
            f"{interface} . {protocol} . {inside} : {outside}" for (protocol, inside), outside in own.items()
        ]
    lines = [
        f"add element inet {TABLE} {name} {{ {', '.join(each)} }}" for name, each in filled.items() if each
    ]
    if filled["addresses"]:
        lines.append(f"add element arp {TABLE} addresses {{ {', '.join(filled['addresses'])} }}")
    return lines
