"""Network settings that a person gives for one boot, and the interfaces that they may be for."""

from __future__ import annotations

import json
from pathlib import Path

from host.run import Runner
from wire.nodenet import NETWORK_KEYS, NetworkSettings, parse_network

# In RAM: it is gone when the machine is switched off.
FILE = "network.txt"


def for_this_boot(folder: Path) -> NetworkSettings | None:
    """Return what a person gave, None where nobody did. Raises MalformedNodeConfiguration."""
    path = folder / FILE
    return parse_network(path.read_text(), str(path)) if path.exists() else None


def network_lines(text: str) -> str:
    """Return the lines about the network of a node configuration file: no other, since one is the key."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.partition("=")[0] in NETWORK_KEYS)


def interfaces(run: Runner) -> tuple[str, ...]:
    """Return a line for each wired interface: name, MAC address, state, addresses."""
    return tuple(
        " ".join(
            [
                link["ifname"],
                link["address"].upper(),
                link["operstate"].lower(),
                *(
                    f"{found['local']}/{found['prefixlen']}"
                    for found in link["addr_info"]
                    if found["scope"] == "global"
                ),
            ]
        )
        for link in json.loads(run(["ip", "-j", "addr"]).stdout)
        if link["link_type"] == "ether"
    )
