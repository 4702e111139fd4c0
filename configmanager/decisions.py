"""What was decided on this node, over the server's word: delegated slivers that were made here, and loans.

One small file, written whole at each change before the change counts. A decision is for the slice of that
number, so that another slice of the same name does not inherit it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path

from configmanager.loans import Loan, effective
from host.files import write_atomic
from wire.errors import JournalError
from wire.rspec import RSpec
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver
from wire.structure import MalformedMessage, structure, unstructure

FILE = Path("var/lib/configmanager/decisions.json")
# Whose slivers are made when somebody on the node says so.
DELEGATED = (Instantiation.DELEGATED, Instantiation.CONTROLLER)
_RESOURCES = frozenset(field.name for field in fields(RSpec))


class DecisionsDamaged(JournalError):
    """The file that says what was decided on this node cannot be read."""

    code = "decisions-damaged"
    title = "The list of what was decided on the node is damaged"
    hint = "Nothing was touched. Put the file back from a copy; without it delegated slivers are removed."


@dataclass(frozen=True)
class Decision:
    """On one slice: whether its delegated sliver was made here, and what it lends."""

    slice_id: int
    made: bool = False
    loans: tuple[Loan, ...] = ()


class Decisions:
    """What was decided on this node. `root` is "/" but in tests. Safe from any thread."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Raises DecisionsDamaged."""
        self._file = root / FILE
        self._lock = threading.Lock()
        self._known = self._read()

    def of(self, sliver: Sliver) -> Decision:
        """Return what was decided on a slice."""
        known = self._known.get(sliver.name)
        return known if known is not None and known.slice_id == sliver.slice_id else Decision(sliver.slice_id)

    def set_made(self, sliver: Sliver, desired: NodeSlivers, *, made: bool) -> None:
        """Have a delegated sliver, or none; on the disk when this returns. Raises OSError."""
        with self._lock:
            self._write(desired, sliver.name, replace(self.of(sliver), made=made))

    def set_loans(self, sliver: Sliver, desired: NodeSlivers, loans: tuple[Loan, ...]) -> None:
        """Replace what a sliver lends; on the disk when this returns. Raises OSError."""
        with self._lock:
            self._write(desired, sliver.name, replace(self.of(sliver), loans=loans))

    def applied(self, desired: NodeSlivers) -> NodeSlivers:
        """Return the server's word as it is with these decisions.

        Delegated slivers that were made here are the node's to bring up; attributes are those with loans.
        """
        if not self._known:
            return desired
        having = self.resources(desired)
        slivers = (self._with(sliver, having.get(sliver.name)) for sliver in desired.slivers)
        return replace(desired, slivers=tuple(slivers))

    def resources(self, desired: NodeSlivers) -> dict[str, RSpec]:
        """Return what each sliver that shall be here has with loans; `desired` is the server's word."""
        here = {sliver.name: sliver for sliver in desired.slivers if self.is_here(sliver)}
        own = {name: unstructure(sliver.rspec) for name, sliver in here.items()}
        lent = {name: self.of(sliver).loans for name, sliver in here.items()}
        return {name: RSpec.nearest(amounts) for name, amounts in effective(own, lent).items()}

    def is_here(self, sliver: Sliver) -> bool:
        """Whether the node brings it up: by the server's word, or because it was made here."""
        if sliver.instantiation in DELEGATED:
            return self.of(sliver).made
        return sliver.instantiation is Instantiation.PLC

    def _with(self, sliver: Sliver, having: RSpec | None) -> Sliver:
        if having is None:
            return sliver
        if having != sliver.rspec:
            others = tuple(item for item in sliver.attributes if item.tagname not in _RESOURCES)
            given = tuple(Attribute(name, str(amount)) for name, amount in unstructure(having).items())
            sliver = replace(sliver, attributes=(*others, *given))
        return replace(sliver, instantiation=Instantiation.PLC)

    def _write(self, desired: NodeSlivers, name: str, decision: Decision) -> None:
        there = {sliver.name: sliver.slice_id for sliver in desired.slivers}
        all_known = {**self._known, name: decision}
        known = {each: old for each, old in all_known.items() if there.get(each) == old.slice_id}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, json.dumps(unstructure(known), indent=1) + "\n", mode=0o600)
        self._known = known

    def _read(self) -> dict[str, Decision]:
        try:
            plain = json.loads(self._file.read_text())
            return {name: structure(item, Decision) for name, item in plain.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, RecursionError, MalformedMessage) as error:
            raise DecisionsDamaged(f"{self._file}: {error}") from None
