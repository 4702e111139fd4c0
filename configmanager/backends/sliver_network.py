"""How slivers reach the world, and are reached: addresses translated by the node, and forwarded ports.

All of it is one table of nftables, loaded as a whole in one transaction, so that it is always what the
slivers that are there need. Format: nft(8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configmanager.slots import NETWORK, Slot
from host.run import Runner
from wire.slivers import PortForward

TABLE = "sliver_nat"

_HEAD = f"""table ip {TABLE}
delete table ip {TABLE}
"""

# Packets for an address of the node's own, from outside or from itself, but not of its loopback.
_RULES = """table ip {table} {{
	map tcp_ports {{
		type inet_service : ipv4_addr . inet_service
{tcp}	}}
	map udp_ports {{
		type inet_service : ipv4_addr . inet_service
{udp}	}}
	chain forwarded {{
		fib daddr type != local return
		ip daddr 127.0.0.0/8 return
		dnat ip to tcp dport map @tcp_ports
		dnat ip to udp dport map @udp_ports
	}}
	chain prerouting {{
		type nat hook prerouting priority dstnat
		jump forwarded
	}}
	chain output {{
		type nat hook output priority -100
		jump forwarded
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat
		ip saddr {network} oifname != "sliver*" masquerade
	}}
}}
"""


def load(run: Runner, ports: Mapping[Slot, Sequence[str]]) -> None:
    """Have exactly these slivers translated, and these ports forwarded to them. Raises CommandFailed."""
    text = _HEAD
    if ports:
        text += _RULES.format(
            table=TABLE, network=NETWORK, tcp=_elements("tcp", ports), udp=_elements("udp", ports)
        )
    run(["nft", "--file", "-"], input=text.encode())


def is_loaded(run: Runner) -> bool:
    """Whether the table is there."""
    return run(["nft", "list", "chains", "ip"]).stdout.find(f"table ip {TABLE} ") >= 0


def _elements(protocol: str, ports: Mapping[Slot, Sequence[str]]) -> str:
    # A port that moves from one sliver to another may be both's for a moment, which nft would refuse.
    found = {
        port.outside: f"{port.outside} : {slot.address} . {port.inside}"
        for slot, texts in ports.items()
        for port in map(PortForward.parse, texts)
        if port.protocol == protocol
    }
    return f"\t\telements = {{ {', '.join(found.values())} }}\n" if found else ""
