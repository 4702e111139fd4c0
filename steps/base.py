"""The contract of a boot step.

A step gets a frozen context: the machine's ports, and the facts that earlier steps found. `observe`
changes nothing and says whether the step's goal already holds, what it found (facts) and what `run`
would change. `run` makes the goal hold. The engine observes, runs where the goal does not hold, and
observes again; so the same code is the installer, the resumer after a power cut, and the dry run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar, cast

from host.ports import Host
from images.progress import Progress, silent

F = TypeVar("F")


class Effect(StrEnum):
    """The worst that a step's `run` can do."""

    READS = "reads"
    CHANGES = "changes"
    DESTROYS = "destroys"


class Keeps(StrEnum):
    """What becomes of the data that a change touches."""

    KEEP = "keep"
    CREATE = "create"
    DESTROY = "destroy"


@dataclass(frozen=True)
class Change:
    """One thing that `run` would do, for the plan: on what, and what for."""

    keeps: Keeps
    target: str
    text: str


@dataclass(frozen=True)
class Observation:
    """What a step saw. `facts` are of value only when `holds`."""

    holds: bool
    facts: tuple[object, ...] = ()
    changes: tuple[Change, ...] = ()


class Facts:
    """What is known so far: at most one instance of each class, found by the classes it extends too."""

    def __init__(self, facts: tuple[object, ...] = ()) -> None:
        self._facts = {kind: fact for fact in facts for kind in type(fact).__mro__[:-1]}

    def __getitem__(self, kind: type[F]) -> F:
        """Return the fact of that class. Raises KeyError, which is a fault of the plan."""
        return cast(F, self._facts[kind])

    def __contains__(self, kind: type) -> bool:
        return kind in self._facts

    def get(self, kind: type[F]) -> F | None:
        """Return the fact of that class, or None."""
        return cast("F | None", self._facts.get(kind))

    def kinds(self) -> tuple[type, ...]:
        """Return the classes of all facts."""
        return tuple(self._facts)

    def plus(self, *facts: object) -> Facts:
        """Return these facts with others added or replaced."""
        return Facts((*self._facts.values(), *facts))


@dataclass(frozen=True)
class Context:
    """What a step may see and use."""

    host: Host
    facts: Facts
    progress: Progress = field(default=silent)


class Step(ABC):
    """One logical step to a target state.

    `needs` are the classes of facts that earlier steps must have given; `gives` those that this one
    adds. The plan is checked against both before anything runs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    effect: ClassVar[Effect]
    needs: ClassVar[tuple[type, ...]] = ()
    gives: ClassVar[tuple[type, ...]] = ()

    @abstractmethod
    def observe(self, context: Context) -> Observation:
        """Say whether the goal holds, without changing anything."""

    def run(self, context: Context) -> None:
        """Make the goal hold. A step that only reads has nothing to run."""
        raise RuntimeError(f"step {self.name} only reads and has nothing to run")


def holds(*facts: Any) -> Observation:
    """Return the observation of a goal that holds."""
    return Observation(True, facts)


def lacks(*changes: Change) -> Observation:
    """Return the observation of a goal that does not hold yet, with what `run` would change."""
    return Observation(False, (), changes)
