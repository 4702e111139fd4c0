"""Services of the node itself: a unit, files and an overlay that the server gives. docs/services.md.

A service is changed as one: all that makes it is a version. A version that does not start, or does not become
healthy in its time, gives way to the one that was healthy last, and is not tried again. What is decided is on
the disk before it is done, so that a power cut or a kill at any point ends in one of the two.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NoReturn

from configmanager.backends import layers, units
from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.backends.commands import NodeCommandFailed, after, before
from configmanager.backends.health import wait_healthy
from configmanager.backends.layers import Layer
from configmanager.backends.node_files import entries_of, entry_of
from configmanager.backends.placing import Entry
from configmanager.backends.service_record import ServiceRecord, ServiceRecords, Version, version_of
from configmanager.backends.sliver_images import SliverImages
from host.run import CommandFailed, Runner
from wire.conf_files import ConfFile
from wire.errors import CommandError, ConfigurationError
from wire.slivers import NodeService, NodeSlivers

log = logging.getLogger(__name__)

PREFIX = "bm-"
FOLDER = Path("etc/systemd/system")
OVERLAYS = Path("var/lib/configmanager/overlays/trees")
# A version under which the node dies never gets to be judged.
MOST_TRIES = 3
_LAYER = "service-"


class ServiceFailed(CommandError):
    """A service of the node does not start."""

    code = "service-failed"
    title = "A service does not start"
    hint = "Correct its unit at the server; `systemctl status bm-NAME` on the node says more."


class ServicePutBack(CommandError):
    """A service's new version was not healthy, and the one before it is back."""

    code = "service-put-back"
    title = "A service's change was taken back"
    hint = "Correct it at the server. This version is not tried again; the one before it stays."


class OverlayUnknown(ConfigurationError):
    """A service names an image that the server does not have."""

    code = "overlay-unknown"
    title = "A service's overlay is not published"
    hint = "Publish it: bootserver image publish NAME PATH."


class Services(Backend):
    """Unit files `bm-<name>.service`, enabled and running, with what belongs to them."""

    name: ClassVar[str] = "services"
    claims: ClassVar[frozenset[str]] = frozenset({f"units:{PREFIX}", f"layers:{_LAYER}"})
    # A file may be what a service reads.
    after: ClassVar[frozenset[str]] = frozenset({"conf-files"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._records = ServiceRecords(node.root)
        self._trees = SliverImages(node, OVERLAYS)

    def observe(self) -> tuple[Item, ...]:
        records = {record.name: record for record in self._records.all()}
        laid = [name.removeprefix(_LAYER) for name in layers.names(self.node.root) if name.startswith(_LAYER)]
        units_of = {name: _unit(name) for name in {*records, *laid} if self.unit(name)}
        states = units.states(self.node.run, list(units_of.values()))
        return tuple(
            Item(
                name,
                self._laid(records.get(name, ServiceRecord(name))),
                name not in units_of or states[units_of[name]].up,
            )
            for name in sorted({*records, *laid})
        )

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference(
            {service.name: version_of(desired, service).digest for service in desired.services}, observed
        )

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        service = next(item for item in desired.services if item.name == action.name)
        try:
            self._converge(desired, service)
        except OSError:
            # The disk is full, for days maybe.
            self._run_what_is_laid(service.name)
            raise

    def _converge(self, desired: NodeSlivers, service: NodeService) -> None:
        wanted, record = version_of(desired, service), self._records.get(service.name)
        if record.bad == wanted.digest and record.good is not None:
            self._put_back(record, record.good)
        if record.bad:
            record = self._records.save(ServiceRecord(record.name, record.good))
        if record.good == wanted and self._laid(record):
            self._see_that_it_runs(wanted)
            return
        self._change(record, wanted)
        self._collect()

    def teardown(self, name: str) -> None:
        self._stop(name)
        self._layer(name).clear()
        self.node.run(["systemctl", "daemon-reload"])
        units.forget_failure(self.node.run, _unit(name))
        self._records.forget(name)
        self._collect()
        self.node.events.tell("service.removed", name=name)

    def unit(self, name: str) -> str:
        return _unit(name) if (self.node.root / FOLDER / _unit(name)).exists() else ""

    def _laid(self, record: ServiceRecord) -> str:
        """Name what is there whole: the version that is good, and the one beside it that is not."""
        if record.good is None or self._layer(record.name).digest != record.good.digest:
            return ""
        return f"{record.good.digest} not {record.bad}" if record.bad else record.good.digest

    def _change(self, record: ServiceRecord, wanted: Version) -> None:
        """Make a version so and judge it. Raises ServicePutBack where the one before it is back."""
        tries = record.tries + 1 if record.tried == wanted.digest else 1
        before_it = record.good if record.good != wanted else None
        if before_it is not None and tries > MOST_TRIES:
            self._reject(record, before_it, f"it was begun {MOST_TRIES} times, and never came to an end")
        entries = self._entries(wanted)
        layer = self._layer(record.name)
        layer.prepare(f"service {record.name}", entries)
        try:
            record = self._records.save(replace(record, tried=wanted.digest, tries=tries))
            self._install(wanted, layer, entries)
            self._start(wanted)
            if wanted.service.health:
                what = f"service {record.name} to be healthy"
                seconds = wanted.service.health_seconds
                self.node.events.tell("wait.started", **{"for": what, "seconds": seconds})
            wait_healthy(self.node.run, wanted.service, self.unit(record.name))
        except (CommandError, OSError) as error:
            layer.abandon()
            if before_it is None or isinstance(error, OSError):
                raise
            self._reject(record, before_it, error.detail)
        self._records.save(ServiceRecord(record.name, wanted))
        layer.finish(wanted.digest)

    def _reject(self, record: ServiceRecord, good: Version, why: str) -> NoReturn:
        """Decide that the version that was tried is bad, and go back."""
        record = self._records.save(replace(record, tried="", tries=0, bad=record.tried, why=why))
        self._put_back(record, good)

    def _put_back(self, record: ServiceRecord, good: Version) -> NoReturn:
        """See that the good version is there and runs, and say so. Raises ServicePutBack."""
        why = f"{record.name}: {record.why.removeprefix(f'{record.name}: ')}"
        layer = self._layer(record.name)
        try:
            if layer.digest != good.digest:
                entries = self._entries(good)
                layer.prepare(f"service {record.name}", entries)
                self._install(good, layer, entries, lenient=True)
                self._start(good)
                layer.finish(good.digest)
                self.node.events.tell("service.restored", name=record.name)
            self._see_that_it_runs(good)
        except CommandError as error:
            why += f"; the version before it fails now too: {error.detail}"
        self._collect()
        raise ServicePutBack(why)

    def _install(
        self, version: Version, layer: Layer, entries: list[Entry], *, lenient: bool = False
    ) -> None:
        """Put what was prepared into place; the service is stopped then. `lenient`: whatever commands say."""
        changed = [file for file in version.files if layer.began or file.place in layer.pending]
        self._run_commands(before, changed, lenient=lenient)
        # What the old text says about stopping must still be known when it is stopped.
        self._stop(version.service.name)
        layer.switch(entries)
        if version.service.unit:
            unit = _unit(version.service.name)
            self.node.run(["systemctl", "--quiet", "--no-reload", "enable", "--", unit])
        self.node.run(["systemctl", "daemon-reload"])
        # How often the other version failed is no matter of this one.
        units.forget_failure(self.node.run, _unit(version.service.name))
        self._run_commands(after, changed, lenient=lenient)

    def _run_commands(
        self, which: Callable[[Runner, ConfFile], bool], files: list[ConfFile], *, lenient: bool
    ) -> None:
        for file in files:
            try:
                which(self.node.run, file)
            except NodeCommandFailed:
                if not lenient:
                    raise

    def _see_that_it_runs(self, version: Version) -> None:
        # One that did its work and ended well does not do it again.
        if version.service.unit and not units.state(self.node.run, _unit(version.service.name)).up:
            self._start(version)

    def _run_what_is_laid(self, name: str) -> None:
        """See that a service runs whose change was given up, the old text or the new one."""
        unit = self.unit(name)
        if not unit:
            return
        try:
            self.node.run(["systemctl", "--quiet", "enable", "--", unit])
            if not units.state(self.node.run, unit).up:
                units.start(self.node.run, unit)
        except CommandError as error:
            log.warning("%s is left to the next pass: %s", name, error)

    def _start(self, version: Version) -> None:
        if not version.service.unit:
            return
        name, unit = version.service.name, _unit(version.service.name)
        try:
            units.start(self.node.run, unit)
        except CommandFailed:
            said = units.last_words(self.node.run, unit) or "it said nothing"
            raise ServiceFailed(f"{name}: {said}") from None
        self.node.events.tell("service.started", name=name)

    def _stop(self, name: str) -> None:
        unit = _unit(name)
        units.stop(self.node.run, unit)
        if self.unit(name):
            self.node.run(["systemctl", "--quiet", "--no-reload", "disable", "--", unit])

    def _entries(self, version: Version) -> list[Entry]:
        """Return all that is laid for a version; a file counts where the overlay has one too."""
        service, entries = version.service, []
        if service.overlay:
            if version.overlay is None:
                raise OverlayUnknown(f"{service.name}: {service.overlay}")
            entries = entries_of(self._trees.obtain(version.overlay))
        if service.unit:
            path = str(FOLDER / _unit(service.name))
            entries.append(Entry(path, stat.S_IFREG | 0o644, data=service.unit.encode()))
        entries += (entry_of(file, self.node.root) for file in version.files)
        return list({entry.path: entry for entry in entries}.values())

    def _collect(self) -> None:
        """Remove the trees of overlays that no good version has."""
        goods = [record.good for record in self._records.all()]
        self._trees.collect({good.overlay.manifest for good in goods if good and good.overlay})

    def _layer(self, name: str) -> Layer:
        return Layer(self.node.run, self.node.root, f"{_LAYER}{name}")


def _unit(name: str) -> str:
    return f"{PREFIX}{name}.service"
