"""What was decided on this node, over the server's word: delegated slivers that were made here, and loans.

One small file, written whole at each change before the change counts. A decision is for the slice of that
number, so that another slice of the same name does not inherit it. Where the file is damaged, whatever sliver
is there counts as made: else it would be destroyed with its disk.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path

from configmanager.backends.sliver_record import SliverRecords
from configmanager.loans import Loan, effective
from host.files import write_atomic
from wire.errors import JournalError
from wire.rspec import RSpec
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver
from wire.structure import MalformedMessage, structure, unstructure

log = logging.getLogger(__name__)

FILE = Path("var/lib/configmanager/decisions.json")
# In the place of a slice's number, where only the name is known.
_ANY_SLICE = 0
# Whose slivers are made when somebody on the node says so.
DELEGATED = (Instantiation.DELEGATED, Instantiation.CONTROLLER)
_RESOURCES = frozenset(field.name for field in fields(RSpec))


class DecisionsDamaged(JournalError):
    """The file that says what was decided on this node cannot be read."""

    code = "decisions-damaged"
    title = "The list of what was decided on the node is damaged"
    hint = "It is kept as decisions.damaged. Slivers that are there stay; loans have to be set again."


@dataclass(frozen=True)
class Decision:
    """On one slice: whether its delegated sliver was made here, and what it lends."""

    slice_id: int
    made: bool = False
    loans: tuple[Loan, ...] = ()


class Decisions:
    """What was decided on this node. `root` is "/" but in tests. Safe from any thread."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / FILE
        self._records = SliverRecords(root)
        self._lock = threading.Lock()
        self._damage: DecisionsDamaged | None = None
        self._known = self._read()

    def mend(self) -> DecisionsDamaged | None:
        """Put a damaged file aside, for whoever writes here; returns what was wrong with it."""
        with self._lock:
            damage = self._damage
            if damage is not None:
                try:
                    self._save(self._known)
                except OSError as error:
                    # With the next decision, then.
                    log.error("%s cannot be put aside: %s", self._file, error)
            return damage

    def of(self, sliver: Sliver) -> Decision:
        """Return what was decided on a slice."""
        known = self._known.get(sliver.name)
        if known is None or known.slice_id not in (sliver.slice_id, _ANY_SLICE):
            return Decision(sliver.slice_id)
        return replace(known, slice_id=sliver.slice_id)

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
        own = {name: vars(sliver.rspec) for name, sliver in here.items()}
        lent = {name: self.of(sliver).loans for name, sliver in here.items()}
        return {
            name: here[name].rspec if amounts == own[name] else RSpec.nearest(amounts)
            for name, amounts in effective(own, lent).items()
        }

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
        # One that is as the server said stays the same object, which spares the backends work.
        if sliver.instantiation is Instantiation.PLC:
            return sliver
        return replace(sliver, instantiation=Instantiation.PLC)

    def _write(self, desired: NodeSlivers, name: str, decision: Decision) -> None:
        here = {sliver.name: sliver for sliver in desired.slivers}
        kept = {each: self.of(here[each]) for each in self._known if each in here}
        self._save(
            {each: one for each, one in kept.items() if one != Decision(one.slice_id)} | {name: decision}
        )

    def _save(self, known: dict[str, Decision]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._damage is not None:
            # A copy: there is never no file, which would say that nothing was decided.
            write_atomic(self._file.with_suffix(".damaged"), self._file.read_bytes(), mode=0o600)
        write_atomic(self._file, json.dumps(unstructure(known), indent=1) + "\n", mode=0o600)
        self._known, self._damage = known, None

    def _read(self) -> dict[str, Decision]:
        try:
            plain = json.loads(self._file.read_text())
            return {name: structure(item, Decision) for name, item in plain.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, RecursionError, MalformedMessage) as error:
            # Whoever only reads must not take it away from a daemon that writes.
            log.error("%s is damaged: %s", self._file, error)
            self._damage = DecisionsDamaged(f"{self._file}: {error}")
            return {made.name: Decision(_ANY_SLICE, made=True) for made in self._records.all()}
