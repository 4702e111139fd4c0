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
from typing import Any, ClassVar

from configmanager.backends import network_classes, network_rules
from configmanager.backends.base import Action, Backend, Item, Verb, difference
from configmanager.backends.network_classes import HANDLE, Share
from configmanager.backends.network_rules import TABLE, Member
from configmanager.backends.network_settings import FILE, Link, NetworkSettings, outgoing, read_settings
from configmanager.slots import Slots
from host.files import write_atomic
from host.run import CommandFailed
from wire.errors import ConfigurationError
from wire.slivers import NodeSlivers

RULES = "rules"
RECORD = Path("var/lib/configmanager/network.json")
_RSPEC_FIELDS = ("net_min", "net_max", "net2_min", "net2_max", "net_share")


class BandwidthGiven(ConfigurationError):
    """The guarantees of bandwidth are more than a link has."""

    code = "bandwidth-given-away"
    title = "The node cannot guarantee a sliver its bandwidth"
    hint = "Lower net_min or net2_min of a slice on this node. The sliver runs without, by its net_share."


@dataclass(frozen=True)
class Kernel:
    """What nft and tc show of ours: `table` as plain data, classes of each interface that has our tree."""

    table: list[Any]
    classes: dict[str, list[dict[str, Any]]]

    @property
    def counters(self) -> list[str]:
        """The names of the counters."""
        return [each["counter"]["name"] for each in self.table if "counter" in each]


class Network(Backend):
    """One packet filter for all slivers, and a tree of classes for each link to the outside."""

    name: ClassVar[str] = "network"
    claims: ClassVar[frozenset[str]] = frozenset({f"nft:{TABLE}", f"tc:{HANDLE}"})

    def observe(self) -> tuple[Item, ...]:
        record, kernel = self._record(), self._kernel()
        if not (record or kernel.table or kernel.classes):
            return ()
        in_force = record.get("shown") == self._shown(kernel)
        return (Item(RULES, record.get("digest", "") if in_force else "", True),)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({RULES: desired_digest(desired)} if desired.instantiated else {}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        settings = read_settings(self.node.root / FILE)
        slots = Slots(self.node.root)
        slivers = [(sliver, slots.take(sliver.name)) for sliver in desired.instantiated]
        kernel = self._kernel()
        # Before anything is made, so that it is found again whatever happens.
        self._save(digest="", shown="")
        members = [Member(sliver.name, slot, sliver.rspec, sliver.ports) for sliver, slot in slivers]
        self._filter(members, settings, kernel)
        shares = [Share(sliver.name, sliver.slice_id, slot, sliver.rspec) for sliver, slot in slivers]
        refused = self._share(outgoing(self.node.run, self.node.root), settings.rate, shares, kernel)
        if refused:
            raise BandwidthGiven("; ".join(refused))
        self._save(digest=desired_digest(desired), shown=self._shown(self._kernel()))

    def teardown(self, name: str) -> None:
        if name != RULES:
            return
        self._nft(network_rules.removal())
        for interface in self._kernel().classes:
            self._release(interface)
        (self.node.root / RECORD).unlink(missing_ok=True)

    # --- the packet filter ---

    def _filter(self, members: list[Member], settings: NetworkSettings, kernel: Kernel) -> None:
        try:
            self._nft(network_rules.ruleset(members, settings.exempt, kernel.counters))
        except CommandFailed:
            # Sets of another version of this program cannot be changed, so they go, and with them the counts.
            self._nft(network_rules.removal() + network_rules.ruleset(members, settings.exempt, ()))
            self.node.events.tell("network.reset")

    def _nft(self, transaction: str) -> None:
        self.node.run(["nft", "-f", "-"], input=transaction.encode())

    # --- the links ---

    def _share(self, links: tuple[Link, ...], rate: int, shares: list[Share], kernel: Kernel) -> list[str]:
        """Divide every link; returns whose guarantee cannot be had, and where."""
        refused = []
        for interface in kernel.classes.keys() - {link.interface for link in links}:
            self._release(interface)
        for link in links:
            tree = network_classes.divide(link, rate, shares)
            there = kernel.classes.get(link.interface)
            handles = [each["handle"] for each in there] if there is not None else None
            lines = network_classes.batch(tree, shares, handles)
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

    def _kernel(self) -> Kernel:
        listed = json.loads(self.node.run(["nft", "--json", "list", "ruleset"]).stdout)["nftables"]
        ours = [each for each in listed if _table_of(each) == TABLE]
        qdiscs = json.loads(self.node.run(["tc", "-json", "qdisc", "show"]).stdout or "[]")
        roots = [each["dev"] for each in qdiscs if each["handle"] == HANDLE and each["kind"] == "htb"]
        return Kernel(ours, {interface: self._classes(interface) for interface in roots})

    def _classes(self, interface: str) -> list[dict[str, Any]]:
        shown = self.node.run(["tc", "-json", "-details", "class", "show", "dev", interface]).stdout
        # fq_codel shows its flows as classes too, and other ones each time.
        return [each for each in json.loads(shown or "[]") if each["class"] == "htb"]

    def _shown(self, kernel: Kernel) -> str:
        """Name what the kernel has of ours, and what beside the slivers it was made from."""
        links = [[link.interface, link.rate] for link in outgoing(self.node.run, self.node.root)]
        slots = {name: slot.number for name, slot in Slots(self.node.root).all().items()}
        classes = {name: _sorted(each) for name, each in kernel.classes.items()}
        try:
            settings = (self.node.root / FILE).read_text(errors="replace")
        except FileNotFoundError:
            settings = ""
        return _hash([_sorted([lasting(each) for each in kernel.table]), classes, links, slots, settings])

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


def desired_digest(desired: NodeSlivers) -> str:
    """Name what of the slivers concerns the network."""
    return _hash(
        [
            [
                sliver.name,
                sliver.slice_id,
                [getattr(sliver.rspec, field) for field in _RSPEC_FIELDS],
                [str(port) for port in sliver.ports],
            ]
            for sliver in desired.instantiated
        ]
    )


def _table_of(listed: dict[str, Any]) -> str:
    (kind, what), *_ = listed.items()
    return str(what.get("name") if kind == "table" else what.get("table"))


def lasting(listed: dict[str, Any]) -> dict[str, Any]:
    """Leave out of what nft shows what changes by itself: numbers of objects, and what they have counted."""
    (kind, what), *_ = listed.items()
    kept = {key: value for key, value in what.items() if key not in ("handle", "packets", "bytes")}
    if "elem" in kept:
        kept["elem"] = _sorted(kept["elem"])
    return {kind: kept}


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
