"""The real bootserver as a process of its own, and what an operator does with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.vm.harness.artifacts import ROOT, SHARED, Artifacts
from tests.vm.harness.media import link_tree
from tests.vm.harness.shared import once
from tests.vm.harness.ssh import free_port
from tests.vm.harness.timeline import Event, Timeline

START_SECONDS = 30
# What this host is to a guest on QEMU's user network.
GUESTS_HOST = "10.0.2.2"


class Server:
    """A bootserver with its own folder and ports; it can be stopped and started again at the same address."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Take a server's folder that was initialised before; `log` is what the process says."""
        self.folder = folder
        self.log = log
        self.port = free_port()
        self.operator_port = free_port()
        self.netboot_port = free_port()
        self.listen = "127.0.0.1"
        # What its command line begins with, such as nsenter.
        self.within: tuple[str, ...] = ()
        self._process: subprocess.Popen[str] | None = None

    @classmethod
    def copied(cls, origin: Path, folder: Path, log: Path) -> Server:
        """Return a server with a folder of its own, made from a stopped one's; blobs are linked."""
        for name in ("blobs", "metadata"):
            link_tree(origin / name, folder / name)
        for name in ("master.key", "bootserver.db"):
            (folder / name).write_bytes((origin / name).read_bytes())
            (folder / name).chmod(0o600)
        shutil.copytree(origin / "tls", folder / "tls")
        folder.chmod(0o700)
        return cls(folder, log)

    @property
    def url(self) -> str:
        """Return where a guest on QEMU's user network finds the server."""
        return f"https://{GUESTS_HOST}:{self.port}"

    @property
    def netboot_url(self) -> str:
        """Return where a guest finds what it starts from over the network."""
        return f"http://{GUESTS_HOST}:{self.netboot_port}"

    @property
    def is_up(self) -> bool:
        """Return whether the server runs."""
        return self._process is not None

    @property
    def process(self) -> int | None:
        """Return the process id, None while the server is stopped."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving; returns when the server listens."""
        listen = ["--listen", f"{self.listen}:{self.port}", "--operator", f"127.0.0.1:{self.operator_port}"]
        listen += ["--netboot", f"{self.listen}:{self.netboot_port}"]
        line = [*self.within, *_bootserver(self.folder), "serve", *listen]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        said = self._process.stdout
        if said is None or not all(said.readline() for _ in range(3)):
            raise RuntimeError(f"bootserver did not start, see {self.log}")

    def stop(self) -> None:
        """End the server, as a machine room loses it."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=START_SECONDS)
            self._process = None

    def cli(self, *words: str, stdin: str = "") -> str:
        """Run a command of the operator's and return what it printed."""
        line = [*_bootserver(self.folder), *words]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, input=stdin)
        if done.returncode:
            raise RuntimeError(f"bootserver {' '.join(words)}: {done.stderr}")
        return done.stdout

    def set_state(self, node: str, state: str) -> None:
        """Say what is wanted of a node."""
        self.cli("node", "state", node, state)

    def node(self, name: str) -> dict[str, Any]:
        """Return all that the server knows of a node."""
        shown = json.loads(self.cli("node", "show", name, "--format", "json"))
        assert isinstance(shown, dict)
        return shown

    def events(self, node: str, after: int = 0, wait: float = 0) -> list[Event]:
        """Return events above the id `after`, waiting up to `wait` seconds for the first one."""
        address = f"http://127.0.0.1:{self.operator_port}/api/nodes/{node}/events?after={after}&wait={wait}"
        with urllib.request.urlopen(address, timeout=wait + 30) as reply:
            events: list[Event] = json.load(reply)
        return events


class Follower:
    """Feeds what a node told its server into a timeline, live, until closed."""

    def __init__(self, server: Server, node: str, timeline: Timeline, *, after: int = 0) -> None:
        self._server, self._node, self._timeline, self._after = server, node, timeline, after
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow {node}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the last request in flight ends by itself."""
        self._end.set()
        self._thread.join(5)

    def _follow(self) -> None:
        while not self._end.is_set():
            try:
                rows = self._server.events(self._node, self._after, wait=2)
            except (urllib.error.URLError, OSError, ValueError):
                # The scenario stopped the server: try again until it is back.
                self._end.wait(0.5)
                continue
            for row in rows:
                self._after = max(self._after, int(row["id"]))
                self._timeline.add(row)


def last_event_id(server: Server, node: str) -> int:
    """Return the id of the newest event of a node, 0 without any."""
    newest, page = 0, server.events(node)
    while page:
        newest = int(page[-1]["id"])
        page = server.events(node, newest)
    return newest


def wait_until(what: str, true: Any, timeout: float) -> None:
    """Poll something that has no event of its own, such as a port that answers."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.25)


def _bootserver(folder: Path) -> list[str]:
    return [sys.executable, "-m", "bootserver", "--state", str(folder)]


def published(built: Artifacts) -> Path:
    """Return the folder of a server that has the images: published once for all tests."""

    def publish(folder: Path) -> None:
        server = folder / "server"
        lines: Sequence[Sequence[str | Path]] = (
            ("init", "--name", GUESTS_HOST),
            ("image", "publish", "base", built.base, built.project),
            ("image", "publish", "sliver", built.sliver),
        )
        for line in lines:
            words = [*_bootserver(server), *map(str, line)]
            subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))

    return once(SHARED, f"published-{built.key}", publish) / "server"
