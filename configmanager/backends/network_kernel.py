"""What the kernel has of the slivers' network, as nft(8) and tc(8) list it.

It is compared as text, at every pass and for all slivers at once, so it is read as little as that needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from configmanager.backends.network_classes import HANDLE
from configmanager.backends.network_rules import FAMILIES, TABLE
from configmanager.slots import Slot
from host.run import Runner

# Whether the node passes on packets of IPv4 that are not its own.
FORWARDING = Path("proc/sys/net/ipv4/ip_forward")
_COUNTER = re.compile(r"^\s*counter (\S+) \{", re.MULTILINE)
_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")
# Of a set that rules fill, by what comes by.
_COUNTED = re.compile(r"(flags dynamic)\s*elements = \{[^}]*\}")


@dataclass(frozen=True)
class Kernel:
    """`tables`: ours, as text without what was counted; `classes`: of each interface that has our tree.

    `queued`: of each of these interfaces, the classes that have a queue of ours.
    """

    tables: str
    classes: dict[str, tuple[str, ...]]
    queued: dict[str, frozenset[str]]

    @property
    def counters(self) -> list[str]:
        """The names of the counters."""
        return _COUNTER.findall(self.tables)

    def handles(self, interface: str) -> list[str] | None:
        """The classes of an interface, None where our tree is not."""
        lines = self.classes.get(interface)
        return [line.split()[2] for line in lines] if lines is not None else None


def look(run: Runner) -> Kernel:
    """Ask nft and tc. Raises CommandFailed."""
    tables = "".join(_listed(run, "table", family, TABLE) for family in FAMILIES)
    qdiscs = [line.split() for line in run(["tc", "qdisc", "show"]).stdout.splitlines()]
    roots = [words[4] for words in qdiscs if words[1:3] == ["htb", HANDLE]]
    classes = {interface: _classes(run, interface) for interface in roots}
    queues = [(words[4], words[6]) for words in qdiscs if words[1] == "fq_codel" and words[5] == "parent"]
    queued = {
        interface: frozenset(parent for link, parent in queues if link == interface) for interface in roots
    }
    return Kernel(_in_order(_COUNTED.sub(r"\1", tables)), classes, queued)


def knows(run: Runner, slot: Slot) -> bool:
    """Say whether the packet filter knows a sliver: its address, and what came in one transaction with it."""
    listed = _listed(run, "set", FAMILIES[0], TABLE, "addresses")
    return re.search(rf'\b{slot.interface}"? \. {slot.address}\b', listed) is not None


def _listed(run: Runner, *what: str) -> str:
    # What is not there is an error to nft.
    return run(["nft", "--stateless", "list", *what], ok=(0, 1)).stdout


# Mostly it is what it was in the pass before.
@lru_cache(1)
def _in_order(tables: str) -> str:
    # Elements come as they lie in the kernel's hash tables, which grow and shrink.
    return _ELEMENTS.sub(
        lambda found: "\n".join(sorted(" ".join(each.split()) for each in found[1].split(","))), tables
    )


def _classes(run: Runner, interface: str) -> tuple[str, ...]:
    lines = run(["tc", "-details", "class", "show", "dev", interface]).stdout.splitlines()
    # fq_codel shows its flows as classes too, and other ones each time.
    return tuple(sorted(line for line in lines if line.startswith("class htb ")))
