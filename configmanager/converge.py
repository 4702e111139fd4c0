"""One pass over the backends: all look and plan, then what is no longer wanted goes, then the rest is made.

Removals are in the reverse order of the backends: what was made for another's thing goes after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from configmanager.backends.base import Action, Backend, Verb
from configmanager.notify import still_working
from configmanager.passes import Failure
from configmanager.reboots import Wish
from configmanager.records import DiskTrouble
from host.events import Events
from wire.errors import BootError, InternalError
from wire.slivers import NodeSlivers

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class Pass:
    """What came of one pass over the backends."""

    done: int = 0
    failed: list[Failure] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)


def converge(
    backends: Sequence[Backend],
    desired: NodeSlivers,
    events: Events,
    stopping: Callable[[], bool] = lambda: False,
) -> Pass:
    """Make it so, as far as possible, until it is `stopping`; failures are returned, none is raised."""
    made = Pass()
    planned = [(backend, planned_by(backend, desired, made)) for backend in backends]
    backwards = [(backend, action) for backend, actions in reversed(planned) for action in actions]
    forwards = [(backend, action) for backend, actions in planned for action in actions]
    for backend, action in (
        *(step for step in backwards if step[1].verb is Verb.REMOVE),
        *(step for step in forwards if step[1].verb is not Verb.REMOVE),
    ):
        if stopping():
            break
        events.tell("action", backend=backend.name, verb=str(action.verb), name=action.name)
        outcome = attempt(backend, action.name, partial(backend.apply, desired, action), made)
        made.done += 1
        if outcome is not None:
            made.wishes.append(Wish(backend.name, f"{action.verb} {action.name}", outcome.reason))
    return made


def planned_by(backend: Backend, desired: NodeSlivers, made: Pass) -> tuple[Action, ...]:
    """Return what a backend would do, nothing after a failure, which is noted."""
    return attempt(backend, "", lambda: tuple(backend.plan(desired, backend.observe())), made) or ()


def attempt(backend: Backend, name: str, work: Callable[[], T], made: Pass) -> T | None:
    """Return what comes of it, None after a failure, which is noted."""
    # A backend may be anybody's: one that never comes back from here ends with a restart of the program.
    still_working()
    try:
        return work()
    except BootError as error:
        made.failed.append(Failure.of(backend.name, name, error))
    except OSError as error:
        made.failed.append(Failure.of(backend.name, name, DiskTrouble(str(error))))
    except Exception as error:
        # A fault in it keeps neither the others nor the manager from their work.
        log.exception("%s %s", backend.name, name)
        made.failed.append(Failure.of(backend.name, name, InternalError(f"{type(error).__name__}: {error}")))
    return None
