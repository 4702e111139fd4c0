"""Files of the node itself, as the server gives them. docs/services.md.

As the original node managers do: one whose content is there already is left alone, unless `always_update`;
preinstall_cmd comes before the change, and keeps it from being made if it fails; error_cmd comes after either
command that fails.
"""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar

from configmanager.backends import layers
from configmanager.backends.base import Action, Backend, Item, Verb, difference
from configmanager.backends.commands import NodeCommandFailed, after, before, key
from configmanager.backends.layers import Layer
from configmanager.backends.node_files import entry_of
from wire.conf_files import ConfFile
from wire.slivers import NodeSlivers
from wire.structure import unstructure

_PREFIX = "file-"


class ConfFiles(Backend):
    """Files that stand for themselves; those of a service are the services backend's."""

    name: ClassVar[str] = "conf-files"
    claims: ClassVar[frozenset[str]] = frozenset({f"layers:{_PREFIX}"})

    def observe(self) -> tuple[Item, ...]:
        items = []
        for name in layers.names(self.node.root):
            if name.startswith(_PREFIX):
                layer = Layer(self.node.run, self.node.root, name)
                index = layer.index
                if index is not None:
                    items.append(Item(index.subject, layer.digest, running=True))
        return tuple(items)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        wanted = {file.dest: _digest(file, desired.timestamp) for file in desired.own_files}
        return difference(wanted, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        file = next(each for each in desired.own_files if each.dest == action.name)
        layer = self._layer(file.dest)
        entries = [entry_of(file, self.node.root)]
        layer.prepare(file.dest, entries, always=file.always_update)
        changing = bool(layer.pending) or layer.began
        failed = False
        if changing:
            try:
                failed = before(self.node.run, file)
            except NodeCommandFailed:
                layer.abandon()
                raise
        layer.switch(entries)
        if changing:
            failed = after(self.node.run, file) or failed
            self.node.events.tell("conffile.written", name=file.dest, failed=failed)
        layer.finish(_digest(file, desired.timestamp))

    def teardown(self, name: str) -> None:
        self._layer(name).clear()
        self.node.events.tell("conffile.removed", name=name)

    def _layer(self, dest: str) -> Layer:
        return Layer(self.node.run, self.node.root, f"{_PREFIX}{key(dest)}")


def _digest(file: ConfFile, time: int) -> str:
    """Name all that the file is; one that is always written is another with each reply of the server."""
    plain = unstructure(file)
    return hashlib.sha256(json.dumps([plain, time if file.always_update else 0]).encode()).hexdigest()
