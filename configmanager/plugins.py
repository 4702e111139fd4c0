"""Finding backends: installed distributions name theirs in the entry-point group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import EntryPoint, entry_points

from configmanager.backends.base import Backend, Node
from wire.errors import ConfigurationError

log = logging.getLogger(__name__)

GROUP = "configmanager.backends"


class ConflictingBackends(ConfigurationError):
    """Two backends claim one resource, or have one name."""

    code = "conflicting-backends"
    title = "Two backends claim the same resource"
    hint = "Uninstall one of them; nothing was touched."


class BrokenBackend(ConfigurationError):
    """A backend that is installed cannot be used."""

    code = "broken-backend"
    title = "A backend cannot be loaded"
    hint = "Uninstall the distribution that brings it, or install what it needs."


def load(node: Node, found: Iterable[EntryPoint] | None = None) -> tuple[Backend, ...]:
    """Return every installed backend in the order of their passes.

    Raises BrokenBackend, ConflictingBackends.
    """
    points = entry_points(group=GROUP) if found is None else found
    # A distribution that is installed twice, as a tree and as a wheel, names the same thing twice.
    distinct = {(point.name, point.value): point for point in points}
    backends = tuple(_make(distinct[key], node) for key in sorted(distinct))
    if not backends:
        raise BrokenBackend(f"no distribution is installed with entry points in {GROUP}")
    check_claims(backends)
    return ordered(backends)


def ordered(backends: Sequence[Backend]) -> tuple[Backend, ...]:
    """Return them by name, but each behind those that it names in `after`. Raises BrokenBackend."""
    known = {backend.name: backend for backend in backends}
    sorter = TopologicalSorter({name: known[name].after & known.keys() for name in sorted(known)})
    try:
        sorter.prepare()
    except CycleError as error:
        raise BrokenBackend(f"each wants to be after the next: {', '.join(error.args[1])}") from None
    found: list[Backend] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found += (known[name] for name in ready)
        sorter.done(*ready)
    return tuple(found)


def check_claims(backends: Iterable[Backend]) -> None:
    """Raise ConflictingBackends where two share a claim or a name."""
    owners: dict[str, str] = {}
    for backend in backends:
        for claim in sorted({f"name:{backend.name}", *backend.claims}):
            if claim in owners:
                raise ConflictingBackends(f"{owners[claim]} and {_place(backend)} both claim {claim}")
            owners[claim] = _place(backend)


def _make(point: EntryPoint, node: Node) -> Backend:
    try:
        kind = point.load()
    except Exception as error:
        # What a module that is anybody's does when it is read.
        log.exception("%s", point)
        raise BrokenBackend(f"{point.name} ({point.value}): {type(error).__name__}: {error}") from None
    if not isinstance(kind, type) or not issubclass(kind, Backend):
        raise BrokenBackend(f"{point.name} ({point.value}): is no subclass of Backend")
    return kind(node)


def _place(backend: Backend) -> str:
    return f"{backend.name} ({type(backend).__module__})"
