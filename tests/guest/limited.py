"""Loads in the place of slivers: processes in a sliver's slice, a network of its own at a sliver's link.

Limits attach to slice unit, interface and folder, so it does not matter to them what runs there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends.base import Action, Backend
from configmanager.backends.units import sliver_slice
from configmanager.slots import Slot
from tests.guest.waiting import eventually
from wire.slivers import Attribute, NodeSlivers, Sliver

BUSY = "while True: pass"


def sliver(name: str, slice_id: int = 1, **attributes: object) -> Sliver:
    """A sliver with these attributes."""
    return Sliver(
        name,
        slice_id,
        2**31,
        attributes=tuple(Attribute(key, str(value)) for key, value in attributes.items()),
    )


def wanted(*slivers: Sliver) -> NodeSlivers:
    """What the server says."""
    return NodeSlivers(1, 1, "guest", slivers)


def converge(backend: Backend, desired: NodeSlivers) -> list[Action]:
    """Do what is planned, and see that nothing is left to do."""
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    assert backend.plan(desired, backend.observe()) == ()
    return list(actions)


def command(*words: object, check: bool = True, **more: object) -> str:
    """Run it; return what it says."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Group:
    """A sliver's control group."""

    name: str

    @property
    def unit(self) -> str:
        return sliver_slice(self.name.replace("_", "-"))

    @property
    def folder(self) -> Path:
        return Path("/sys/fs/cgroup/slivers.slice", self.unit)

    def value(self, file: str, key: str = "") -> str:
        """A value of one of its files."""
        text = (self.folder / file).read_text()
        return dict(line.split(maxsplit=1) for line in text.splitlines())[key] if key else text.strip()

    @property
    def seconds(self) -> float:
        """Processor time used."""
        return int(self.value("cpu.stat", "usage_usec")) / 1e6

    @contextmanager
    def running(
        self, program: str, *arguments: object, count: int = 1
    ) -> Iterator[list[subprocess.Popen[str]]]:
        """Python programs in the group, for the length of the block."""
        words = ["systemd-run", "--quiet", "--pipe", "--collect", f"--slice={self.unit}"]
        words += [sys.executable, "-u", "-c", program, *(str(each) for each in arguments)]
        processes = [
            subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(count)
        ]
        try:
            # A stop that comes before them would not stop them.
            eventually(lambda: len(list(self.folder.glob("run-*"))) >= count, what="all in the group")
            yield processes
        finally:
            command("systemctl", "stop", self.unit)
            for process in processes:
                process.communicate()


def used(groups: Sequence[Group], seconds: float) -> list[float]:
    """Processor time that each group gets in that time."""
    before = [group.seconds for group in groups]
    time.sleep(seconds)
    return [group.seconds - earlier for group, earlier in zip(groups, before, strict=True)]


@dataclass(frozen=True)
class Space:
    """A network namespace."""

    name: str

    def run(self, *words: object, check: bool = True) -> str:
        return command("ip", "netns", "exec", self.name, *words, check=check)

    @contextmanager
    def running(self, program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A Python program in the namespace, for the length of the block."""
        words = ["ip", "netns", "exec", self.name, sys.executable, "-u", "-c", program]
        process = subprocess.Popen(
            [*words, *(str(each) for each in arguments)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def python(self, program: str, *arguments: object, check: bool = True) -> str:
        """Run a Python program there; return what it says."""
        return self.run(sys.executable, "-c", program, *arguments, check=check)


@contextmanager
def linked(slot: Slot) -> Iterator[Space]:
    """A network as a sliver has it."""
    space = Space(f"in-{slot.interface}")
    command("ip", "netns", "add", space.name)
    try:
        command(
            "ip", "link", "add", slot.interface, "type", "veth", "peer", "name", "host0", "netns", space.name
        )
        command("ip", "address", "add", f"{slot.gateway}/30", "dev", slot.interface)
        command("ip", "link", "set", slot.interface, "up")
        space.run("ip", "address", "add", f"{slot.address}/30", "dev", "host0")
        space.run("ip", "link", "set", "host0", "up")
        space.run("ip", "link", "set", "lo", "up")
        space.run("ip", "route", "add", "default", "via", slot.gateway)
        yield space
    finally:
        # Not with the namespace: that would go later.
        command("ip", "link", "delete", slot.interface, check=False)
        command("ip", "netns", "delete", space.name)
