"""What came of the last pass: kept for this boot, for `configmanager status` and `configmanager apply`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from wire.errors import BootError
from wire.structure import MalformedMessage, structure, unstructure

FILE = Path("/run/configmanager/pass.json")


@dataclass(frozen=True)
class Failure:
    """Something that failed: of a backend a thing, or all of it (`name` is ""); "server" for the server."""

    backend: str
    name: str
    code: str
    title: str
    detail: str
    hint: str

    @classmethod
    def of(cls, backend: str, name: str, error: BootError) -> Failure:
        """Return an error as a failure."""
        return cls(backend, name, error.code, error.title, error.detail, error.advice)

    @property
    def key(self) -> str:
        """Names what failed."""
        return f"{self.backend}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """A pass from `began` to `ended` (seconds since the kernel started, also in sleep).

    `answered` says whether the server answered in it; `done` counts actions, `reboot` says why one follows.
    """

    began: float
    ended: float
    answered: bool
    done: int
    failed: tuple[Failure, ...] = ()
    reboot: str = ""


def keep(outcome: Outcome, file: Path = FILE) -> None:
    """Write it for others to read. Raises OSError."""
    write_atomic(file, json.dumps(unstructure(outcome)) + "\n", mode=0o600)


def last(file: Path = FILE) -> Outcome | None:
    """Return the last outcome of this boot, None if there is none."""
    try:
        return structure(json.loads(file.read_text()), Outcome)
    except (OSError, ValueError, MalformedMessage):
        return None
