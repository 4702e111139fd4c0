"""A node's /vsys below a folder of the test's: the daemon as a process, slices as users of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from configmanager.slots import Slot, Slots
from host.mounts import mount_table
from wire.slivers import machine_name

ROOT = Path(__file__).parents[2]
_RUN = """
import logging, sys
from pathlib import Path
from configmanager.vsys.daemon import Daemon
from configmanager.vsys.groups import Groups
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
Daemon(Path(sys.argv[1]), Groups(Path(sys.argv[2]))).run()
"""
SECONDS = 20.0


class Site:
    """The daemon and what it serves. `log` is what it says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.vsys = root / "vsys"
        self.log = root / "log"
        (self.vsys / "pvt").mkdir(parents=True)
        (root / "run/vsys").mkdir(parents=True, mode=0o700)
        top = next(mount.target for mount in mount_table() if mount.fstype == "cgroup2")
        self.group = top / f"vsys-test-{os.getpid()}-{root.name}"
        self.group.mkdir()
        self.slots: dict[str, Slot] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _RUN, self.root, self.group], stderr=log, env=environment
            )

    def stop(self) -> None:
        """Tell it to end, and wait."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(SECONDS) == 0

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with suppress(OSError):
            (self.group / "cgroup.kill").write_text("1")
        self.until(
            lambda: "populated 0" in (self.group / "cgroup.events").read_text(), "the groups to be empty"
        )
        for folder in sorted(self.group.rglob("*/"), reverse=True):
            folder.rmdir()
        self.group.rmdir()

    def add_slice(self, name: str) -> Path:
        """Make a slice's folder, as the backend does."""
        self.slots[name] = Slots(self.root).take(name, "vsys")
        folder = self.folder(name)
        folder.mkdir(mode=0o700)
        os.chown(folder, self.slots[name].first_user, self.slots[name].first_user)
        return folder

    def folder(self, name: str) -> Path:
        """The slice's /vsys."""
        return self.root / "run/vsys" / machine_name(name)

    def offer(self, name: str, script: str, acl: str | None = None) -> Path:
        """Offer a service: its ACL first, then the executable, whole."""
        path = self.vsys / name
        if acl is not None:
            path.with_name(f"{path.name}.acl").write_text(acl)
        # As install(1) does.
        new = path.with_name(f".{path.name}.new")
        new.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        return new.rename(path)

    def popen(self, name: str, script: str) -> subprocess.Popen[str]:
        """A program of the slice: its root, in its /vsys."""
        user = self.slots[name].first_user
        return subprocess.Popen(
            ["sh", "-c", script],
            cwd=self.folder(name),
            user=user,
            group=user,
            extra_groups=(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def as_slice(self, name: str, script: str, seconds: float = SECONDS) -> str:
        """What a program of the slice says."""
        process = self.popen(name, script)
        try:
            return process.communicate(timeout=seconds)[0]
        finally:
            process.kill()
            process.wait()

    def as_sliver_root(self, name: str, script: str) -> str:
        """What the sliver's root says, which has its /vsys at /mnt."""
        words = ["-m", "tests.host.sliver_root", self.folder(name), str(self.slots[name].first_user), script]
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=3 * SECONDS,
            cwd=ROOT,
            check=False,
        )
        return done.stdout + done.stderr

    def fifos(self, name: str) -> list[str]:
        """What the slice sees."""
        return sorted(path.name for path in self.folder(name).iterdir())

    def sees(self, name: str, *fifos: str) -> None:
        """Wait until the slice sees exactly that."""
        self.until(lambda: self.fifos(name) == sorted(fifos), lambda: f"{fifos}, not {self.fifos(name)}")

    def said(self) -> str:
        """The log."""
        return self.log.read_text()

    def running(self) -> int:
        """How many processes run for slices."""
        groups = self.group.glob("slice-*/service-*/cgroup.procs")
        return sum(len(_lines(path)) for path in groups)

    def cpu_seconds(self) -> float:
        """What the daemon has used of a processor."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def until(self, look: Callable[[], object], what: str | Callable[[], str]) -> None:
        """Wait until that is true."""
        deadline = time.monotonic() + SECONDS
        while not look():
            missed = what if isinstance(what, str) else what()
            assert time.monotonic() < deadline, f"waited {SECONDS:.0f} s for {missed}\n{self.said()}"
            time.sleep(0.02)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
