"""Reboots that backends ask for: noted before they happen, counted, and stopped where they lead nowhere.

The note is about one configuration. Another one begins anew, and so does a person (`configmanager release`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from host.files import write_atomic
from wire.errors import ConfigurationError
from wire.slivers import NodeSlivers
from wire.structure import MalformedMessage, structure, unstructure

log = logging.getLogger(__name__)

FILE = Path("/var/lib/configmanager/reboots.json")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Reboots for one and the same action that asks again after each, and for one configuration.
SAME_ACTION = 3
ONE_CONFIGURATION = 10


class RebootLoop(ConfigurationError):
    """Reboots do not bring what they are asked for."""

    code = "reboot-loop"
    title = "A backend asks for reboots without end"
    hint = "Change the configuration at the server, or mend the node and say `configmanager release` on it."


@dataclass(frozen=True)
class Wish:
    """An action of a backend that counts after a reboot, and why."""

    backend: str
    action: str
    reason: str

    @property
    def key(self) -> str:
        """The same for the same action of the same backend."""
        return f"{self.backend}: {self.action}"


@dataclass(frozen=True)
class Note:
    """What is known of reboots for one configuration; `boot` is the last that was to be left by one."""

    configuration: str = ""
    boot: str = ""
    total: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    stopped: str = ""


class Reboots:
    """Says whether a reboot may follow."""

    def __init__(self, file: Path = FILE, boot_id: Path = BOOT_ID) -> None:
        self._file = file
        self._boot = boot_id.read_text().strip()

    def note(self) -> Note:
        """Return what is noted."""
        try:
            return structure(json.loads(self._file.read_text()), Note)
        except FileNotFoundError:
            return Note()
        except (ValueError, MalformedMessage) as error:
            log.error("%s cannot be read: %s", self._file, error)
            return Note()

    def ask(self, desired: NodeSlivers, wishes: Iterable[Wish]) -> None:
        """Note durably that a reboot follows now. Raises RebootLoop where it must not, OSError."""
        configuration = _digest(desired)
        note = self.note()
        if note.configuration != configuration:
            note = Note(configuration)
        if not note.stopped and note.boot != self._boot:
            # Who did not ask again has what the last reboot was for.
            asked = {wish.key: note.asked.get(wish.key, 0) + 1 for wish in wishes}
            note = replace(note, boot=self._boot, total=note.total + 1, asked=asked, stopped="")
            note = replace(note, stopped=_loop(note))
            write_atomic(self._file, json.dumps(unstructure(note)) + "\n")
        if note.stopped:
            raise RebootLoop(note.stopped)

    def release(self) -> bool:
        """Forget what was counted; returns whether reboots had been stopped. Raises OSError."""
        stopped = bool(self.note().stopped)
        self._file.unlink(missing_ok=True)
        return stopped


def _loop(note: Note) -> str:
    for key, count in note.asked.items():
        if count > SAME_ACTION:
            return f"{key}: asks again after each of {SAME_ACTION} reboots"
    if note.total > ONE_CONFIGURATION:
        return f"{', '.join(note.asked)}: {ONE_CONFIGURATION} reboots were made for this configuration"
    return ""


def _digest(desired: NodeSlivers) -> str:
    """Name a configuration by what it wants; every reply has another time."""
    plain = unstructure(replace(desired, timestamp=0, generation=0))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
