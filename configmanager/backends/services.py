"""Services of the node itself: systemd units that the server gives."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from configmanager.backends import units
from configmanager.backends.base import Action, Backend, Item, Verb, difference
from host.files import sync_folder, write_atomic
from host.run import CommandFailed
from wire.errors import CommandError
from wire.slivers import NodeService, NodeSlivers

PREFIX = "bm-"
FOLDER = Path("etc/systemd/system")


class ServiceFailed(CommandError):
    """A service of the node does not start."""

    code = "service-failed"
    title = "A service does not start"
    hint = "Correct its unit at the server; `systemctl status bm-NAME` on the node says more."


class Services(Backend):
    """Unit files `bm-<name>.service`, enabled and running."""

    name: ClassVar[str] = "services"
    claims: ClassVar[frozenset[str]] = frozenset({f"units:{PREFIX}"})

    def observe(self) -> tuple[Item, ...]:
        folder = self.node.root / FOLDER
        files = {path.name: path for path in sorted(folder.glob(f"{PREFIX}*.service"))}
        states = units.states(self.node.run, list(files))
        return tuple(
            Item(_service_name(unit), _digest(path.read_text(errors="replace")), states[unit].up)
            for unit, path in files.items()
        )

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({item.name: _digest(item.unit) for item in desired.services}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        service = next(item for item in desired.services if item.name == action.name)
        if action.verb is not Verb.START:
            self._write(service)
        self._start(service)

    def teardown(self, name: str) -> None:
        unit = _unit(name)
        file = self.node.root / FOLDER / unit
        units.stop(self.node.run, unit)
        if file.exists():
            self.node.run(["systemctl", "--quiet", "--no-reload", "disable", "--", unit])
            file.unlink()
            sync_folder(file.parent)
        self.node.run(["systemctl", "daemon-reload"])
        units.forget_failure(self.node.run, unit)
        self.node.events.tell("service.removed", name=name)

    def unit(self, name: str) -> str:
        return _unit(name) if (self.node.root / FOLDER / _unit(name)).exists() else ""

    def _write(self, service: NodeService) -> None:
        unit = _unit(service.name)
        # What the old text says about stopping must still be known when it is stopped.
        units.stop(self.node.run, unit)
        write_atomic(self.node.root / FOLDER / unit, service.unit)
        self.node.run(["systemctl", "--quiet", "--no-reload", "enable", "--", unit])
        self.node.run(["systemctl", "daemon-reload"])

    def _start(self, service: NodeService) -> None:
        unit = _unit(service.name)
        try:
            units.start(self.node.run, unit)
        except CommandFailed:
            said = units.last_words(self.node.run, unit) or "it said nothing"
            raise ServiceFailed(f"{service.name}: {said}") from None
        self.node.events.tell("service.started", name=service.name)


def _unit(name: str) -> str:
    return f"{PREFIX}{name}.service"


def _service_name(unit: str) -> str:
    return unit.removeprefix(PREFIX).removesuffix(".service")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
