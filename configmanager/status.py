"""How the node is: what it shall run, what runs, and what came of the last pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configmanager import passes, show
from configmanager.backends.base import Backend, Item
from configmanager.converge import Pass, attempt
from configmanager.passes import Failure, Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records
from wire.slivers import NodeSlivers
from wire.structure import unstructure


@dataclass(frozen=True)
class Status:
    """What is known; `things` are what backends observe now."""

    known: NodeSlivers | None
    last: Outcome | None
    reboots_stopped: str
    things: dict[str, tuple[Item, ...]]
    failed: tuple[Failure, ...]

    @classmethod
    def look(
        cls, backends: Sequence[Backend], records: Records, reboots: Reboots, file: Path = passes.FILE
    ) -> Status:
        """Look at everything; a backend that cannot observe is one more failure."""
        things: dict[str, tuple[Item, ...]] = {}
        last, looked = passes.last(file), Pass()
        for backend in backends:
            found = attempt(backend, "", backend.observe, looked)
            if found is not None:
                things[backend.name] = found
        failed = (*(last.failed if last else ()), *looked.failed)
        return cls(records.load(), last, reboots.note().stopped, things, failed)

    def to_plain(self) -> dict[str, Any]:
        """Return it for programs."""
        known = self.known
        told = ("timestamp", "node_id", "hostname", "generation")
        return {
            "configuration": {name: getattr(known, name) for name in told} if known else None,
            "last_pass": unstructure(self.last) if self.last else None,
            "reboots_stopped": self.reboots_stopped,
            "backends": {
                name: [
                    {"name": item.name, "running": item.running, "whole": bool(item.digest)} for item in items
                ]
                for name, items in self.things.items()
            },
            "failed": unstructure(list(self.failed)),
        }

    def to_text(self) -> str:
        """Return it for people."""
        rows = [(name, item.name, show.state(item)) for name, items in self.things.items() for item in items]
        parts = [
            show.facts(self._facts()),
            show.failures(unstructure(list(self.failed))),
            show.table(rows, ("BACKEND", "NAME", "STATE")) if rows else "nothing is there",
        ]
        return "\n\n".join(part for part in parts if part)

    def _facts(self) -> list[tuple[str, str]]:
        known, last = self.known, self.last
        found = [("node", f"{known.hostname} (number {known.node_id})" if known else "not told yet")]
        if known:
            found.append(("configuration", f"of {show.moment(known.timestamp)}"))
        found.append(("last pass", _pass(last) if last else "none since the node booted"))
        if last and last.reboot:
            found.append(("reboot", last.reboot))
        if self.reboots_stopped:
            found.append(("reboots", f"stopped: {self.reboots_stopped}"))
        return found


def _pass(last: Outcome) -> str:
    since = show.ago(time.clock_gettime(time.CLOCK_BOOTTIME) - last.ended)
    server = "the server answered" if last.answered else "no usable answer of the server"
    return f"{since} ago, {last.done} done, {len(last.failed)} failed; {server}"
