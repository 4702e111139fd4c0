"""The network of slivers, kept apart and shared: nftables and HTB, generated whole from all slivers.

There is one item, the rules. Its record says for which slivers they were made and what the kernel showed
then: where it shows anything else, or link, settings or slots are others, they are made again. Slivers get
their rules before they exist, so none is ever there without.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from configmanager.backends import network_classes, network_kernel, network_rules
from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.backends.network_classes import HANDLE, Share
from configmanager.backends.network_kernel import FORWARDING, Kernel
from configmanager.backends.network_rules import TABLE, Member
from configmanager.backends.network_settings import FILE, Link, NetworkSettings, outgoing, read_settings
from configmanager.kept import OfSlivers
from configmanager.slots import Slots
from host.files import write_atomic
from host.run import CommandFailed
from wire.errors import ConfigurationError
from wire.slivers import NodeSlivers, Sliver

RULES = "rules"
RECORD = Path("var/lib/configmanager/network.json")
LINKS = Path("sys/class/net")
_RSPEC_FIELDS = ("net_min", "net_max", "net2_min", "net2_max", "net_share")


class BandwidthGiven(ConfigurationError):
    """The guarantees of bandwidth are more than a link has."""

    code = "bandwidth-given-away"
    title = "The node cannot guarantee a sliver its bandwidth"
    hint = (
        "The sliver runs by its net_share alone. Lower net_min or net2_min of a slice on this node: "
        "bootserver slice set."
    )


@dataclass(frozen=True)
class Seen:
    """What the kernel has of ours, and the links to the outside."""

    kernel: Kernel
    links: tuple[Link, ...]


class Network(Backend):
    """One packet filter for all slivers, and a tree of classes for each link to the outside."""

    name: ClassVar[str] = "network"
    claims: ClassVar[frozenset[str]] = frozenset({f"nft:{TABLE}", f"tc:{HANDLE}", f"file:/{FORWARDING}"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._slots = Slots(node.root)
        self._concerns = OfSlivers(concern)
        # By the pass that is on: to look is the most of what the rules of one more sliver cost.
        self._seen: Seen | None = None

    def observe(self) -> tuple[Item, ...]:
        record = self._record()
        self._seen = seen = self._look()
        if not (record or seen.kernel.tables or seen.kernel.classes):
            return ()
        in_force = record.get("shown") == self._shown(seen)
        return (Item(RULES, record.get("digest", "") if in_force else "", True),)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({RULES: self._digest(desired)} if desired.instantiated else {}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        settings = read_settings(self.node.root / FILE)
        seen, self._seen = self._seen or self._look(), None
        # Before anything is made, so that it is found again whatever happens.
        self._save(digest="", shown="")
        taken = self._slots.take_all([sliver.name for sliver in desired.instantiated], self.name)
        slivers = [(sliver, taken[sliver.name]) for sliver in desired.instantiated]
        members = [Member(sliver.name, slot, sliver.rspec, sliver.ports) for sliver, slot in slivers]
        self._filter(members, settings, seen.kernel)
        # Not before: without the rules the node would be a router between its networks.
        self._forward(on=True)
        shares = [Share(sliver.name, sliver.slice_id, slot, sliver.rspec) for sliver, slot in slivers]
        refused = self._share(seen, settings.rate, shares)
        self._slots.release_others(taken, self.name)
        if refused:
            raise BandwidthGiven("; ".join(refused))
        # Of the links that were divided: others are news to the next pass.
        made = Seen(network_kernel.look(self.node.run), seen.links)
        self._save(digest=self._digest(desired), shown=self._shown(made))

    def teardown(self, name: str) -> None:
        if name != RULES:
            return
        if any((self.node.root / LINKS).glob("sliver*")):
            # Its sliver could not be stopped, and would be free to do anything.
            self._save(digest="", shown="")
            self._nft(network_rules.ruleset((), (), network_kernel.look(self.node.run).counters))
            return
        self._forward(on=False)
        self._nft(network_rules.removal())
        for interface in network_kernel.look(self.node.run).classes:
            self._release(interface)
        self._slots.release_others((), self.name)
        (self.node.root / RECORD).unlink(missing_ok=True)

    def _digest(self, desired: NodeSlivers) -> str:
        return _hash([self._concerns.get(sliver) for sliver in desired.instantiated])

    # --- the packet filter ---

    def _filter(self, members: list[Member], settings: NetworkSettings, kernel: Kernel) -> None:
        try:
            self._nft(network_rules.ruleset(members, settings.exempt, kernel.counters))
        except CommandFailed:
            # Sets of another version of this program cannot be changed, so they go, and with them the counts.
            self._nft(network_rules.removal() + network_rules.ruleset(members, settings.exempt, ()))
            self.node.events.tell("network.reset")

    def _forward(self, *, on: bool) -> None:
        (self.node.root / FORWARDING).write_text("1\n" if on else "0\n")

    def _nft(self, transaction: str) -> None:
        self.node.run(["nft", "-f", "-"], input=transaction.encode())

    # --- the links ---

    def _share(self, seen: Seen, rate: int, shares: list[Share]) -> list[str]:
        """Divide every link; returns whose guarantee cannot be had, and where."""
        refused = []
        kernel = seen.kernel
        for interface in kernel.classes.keys() - {link.interface for link in seen.links}:
            self._release(interface)
        for link in seen.links:
            tree = network_classes.divide(link, rate, shares)
            queued = kernel.queued.get(link.interface, frozenset())
            lines = network_classes.batch(tree, shares, kernel.handles(link.interface), queued)
            self.node.run(["tc", "-batch", "-"], input=lines.encode())
            refused += [
                f"{name} does not get its net_min or net2_min of the {link.rate} bit/s of {link.interface}"
                for name in sorted(tree.refused)
            ]
        return refused

    def _release(self, interface: str) -> None:
        # It may have gone with the interface.
        self.node.run(["tc", "qdisc", "delete", "dev", interface, "root", "handle", HANDLE], ok=(0, 1, 2))

    # --- what there is ---

    def _look(self) -> Seen:
        return Seen(network_kernel.look(self.node.run), outgoing(self.node.run, self.node.root))

    def _shown(self, seen: Seen) -> str:
        """Name what the kernel has of ours, and what beside the slivers it was made from."""
        links = [[link.interface, link.rate] for link in seen.links]
        slots = {name: slot.number for name, slot in self._slots.held(self.name).items()}
        try:
            settings = (self.node.root / FILE).read_text(errors="replace")
        except FileNotFoundError:
            settings = ""
        forwarding = (self.node.root / FORWARDING).read_text()
        return _hash([seen.kernel.tables, seen.kernel.classes, links, slots, settings, forwarding])

    # --- the record ---

    def _record(self) -> dict[str, str]:
        try:
            known = json.loads((self.node.root / RECORD).read_text())
            return {"digest": str(known["digest"]), "shown": str(known["shown"])}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            return {"digest": "", "shown": ""}

    def _save(self, *, digest: str, shown: str) -> None:
        write_atomic(self.node.root / RECORD, json.dumps({"digest": digest, "shown": shown}) + "\n")


def concern(sliver: Sliver) -> str:
    """Return what of a sliver concerns the network."""
    rates = [getattr(sliver.rspec, field) for field in _RSPEC_FIELDS]
    return json.dumps([sliver.name, sliver.slice_id, rates, [str(port) for port in sliver.ports]])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
