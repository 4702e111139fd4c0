"""Run hardware tests one after another, and tell each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bootmanager.asking import WAITING
from bootmanager.hwtest import clock, disk, memory, network, smart
from bootmanager.hwtest.result import Outcome, Progress, Result, not_possible
from bootmanager.machine import State
from bootmanager.plan import steps_for
from host.alone import alone
from host.events import Events
from host.http import http_of
from host.ports import Host
from host.server import ServerClient
from host.texts import Text, _, error_text, shown
from hwdetect.inventory import Inventory, detect
from steps.base import Context, Facts, Step
from wire.errors import BootError, CommandError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import unstructure

TESTS = ("memory", "disk", "network", "clock")
# For all disks together, so that the quick tests of all things keep to two minutes.
QUICK_DISK_SECONDS = 30.0
_LONG_CLOCK_SECONDS = 60.0


def run_tests(
    host: Host,
    names: Sequence[str],
    *,
    long: bool,
    progress: Progress,
    connect: Callable[[ServerClient], None],
    drive_test: bool = False,
) -> tuple[Result, ...]:
    """Run the tests of these names; `connect` is told of the server, if it is there, before the first result.

    Each result is an event. With `drive_test` the drives' own long tests are started. What `progress` raises
    ends it.
    """
    progress(_("looking at the hardware and for the server ..."))
    with alone(host.state_dir, waiting=lambda: progress(WAITING)):
        facts, why = _known(host, steps_for(State.AUTO))
    if ServerClient in facts:
        connect(facts[ServerClient])
    host.events.tell("hwtest.started", tests=list(names), long=long)
    results = []
    for result in _Tests(host, facts, why, names, long, drive_test, progress).results():
        host.events.tell("hwtest.result", **unstructure(result))
        progress(f"{result.test} {shown(result.target)}: {shown(result.outcome)}")
        results.append(result)
    return tuple(results)


def failed(results: Sequence[Result]) -> bool:
    """Say whether any test failed."""
    return any(result.outcome is Outcome.FAILED for result in results)


def _known(host: Host, steps: Sequence[Step]) -> tuple[Facts, str]:
    """Return what steps see without changing anything, and what stopped them. Asks nothing twice."""
    silent, facts = replace(host, events=Events("bootmanager")), Facts()
    for step in steps:
        try:
            found = step.observe(Context(silent, facts))
        except BootError as error:
            return facts, error_text(error)
        if not found.holds:
            return facts, _("{step}: not done in this boot", step=Text(step.title))
        facts = facts.plus(*found.facts)
    return facts, ""


class _Tests:
    """The tests of one run; those of network and clock begin before the others, and end after them."""

    def __init__(
        self,
        host: Host,
        facts: Facts,
        why: str,
        names: Sequence[str],
        long: bool,
        drive_test: bool,
        progress: Progress,
    ) -> None:
        self._host, self._facts, self._why, self._names = host, facts, why, names
        self._long, self._drive_test, self._progress = long, drive_test, progress
        self._inventory = facts.get(Inventory) or detect(host.run)

    def results(self) -> Iterator[Result]:
        """Yield each result as soon as it is known."""
        links = {nic.name: network.link_of(nic.name) for nic in self._inventory.nics}
        first = clock.tick() if "clock" in self._names else None
        if "memory" in self._names:
            yield self._guarded(
                memory.TEST,
                "RAM",
                lambda: memory.check(self._host.run, long=self._long, progress=self._progress),
            )
        if "disk" in self._names:
            yield from self._disks()
        if "network" in self._names:
            yield self._server()
            for nic in self._inventory.nics:
                yield network.check_link(nic, links[nic.name], network.link_of(nic.name))
        if "clock" in self._names:
            yield clock.check_system(self._facts.get(ServerClient), self._why)
            yield clock.check_battery(first, self._later(first))

    def _guarded(self, test: str, target: str, check: Callable[[], Result]) -> Result:
        """A tool that is missing or hangs makes one test impossible, and no other."""
        try:
            return check()
        except CommandError as error:
            return not_possible(test, target, error_text(error))

    def _disks(self) -> Iterator[Result]:
        disks = self._inventory.disks
        for found in disks:
            yield self._guarded(
                smart.TEST,
                found.path,
                lambda path=found.path: smart.check(  # type: ignore[misc]
                    self._host.run, path, drive_test=self._drive_test
                ),
            )
            seconds = 0.0 if self._long else QUICK_DISK_SECONDS / len(disks)
            yield disk.check(found, seconds=seconds, progress=self._progress)

    def _server(self) -> Result:
        configuration, details = self._facts.get(NodeConfiguration), self._facts.get(NodeDetails)
        if configuration is None or details is None:
            return not_possible(network.TEST, _("server"), self._why)
        seconds = network.LONG_SECONDS if self._long else network.QUICK_SECONDS
        http = http_of(configuration)
        return network.check_server(
            http, details.base_image.manifest, seconds=seconds, progress=self._progress
        )

    def _later(self, first: clock.Tick | None) -> clock.Tick | None:
        """Wait until there is something to measure, and look at the battery clock again."""
        if first is None:
            return None
        until = first.at + (_LONG_CLOCK_SECONDS if self._long else clock.LEAST_SECONDS)
        while (left := until - time.monotonic()) > 0:
            self._progress(_("clock: {seconds:.0f} s left", seconds=left))
            time.sleep(min(left, 5.0))
        return clock.tick()
