"""A LAN of network namespaces: a bootserver behind a line of its own, and nodes that install an image.

Everything is a process of its own with the real parts: signed calls, HTTP, unpacking. Namespaces, bridge and
pairs of interfaces are made for the length of a with block; one bridge namespace holds it all together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bootserver import nodes
from bootserver.catalogue import publish
from bootserver.state import State, initialise
from images.manifest import Manifest
from images.store import BlobStore
from wire.messages import TargetState

ROOT = Path(__file__).parents[2]
SERVER = "10.77.0.1"
URL = f"http://{SERVER}:8080"
END_SECONDS = 120


@dataclass
class Node:
    """A node's process, waiting for the word to begin."""

    process: subprocess.Popen[str]
    namespace: str
    target: Path
    address: str

    def tell(self, word: str) -> None:
        """Write a line to it."""
        pipe(self.process.stdin).write(word + "\n")
        pipe(self.process.stdin).flush()

    def hear(self) -> Any:
        """Return the next line that it says, from JSON."""
        line = pipe(self.process.stdout).readline()
        if not line:
            raise RuntimeError(f"the node at {self.address} ended with status {self.process.wait()}")
        return json.loads(line)


def pipe(end: IO[str] | None) -> IO[str]:
    """Return one end of a process that has such."""
    if end is None:
        raise RuntimeError("the process has no pipe")
    return end


class Lan:
    """A server with images, and its nodes."""

    def __init__(self, folder: Path, state: State, name: str, stack: ExitStack) -> None:
        self.store = BlobStore(folder / "server" / "blobs")
        self._folder = folder
        self._state = state
        self._name = name
        self._stack = stack
        self._count = 0

    def publish(self, manifest: Manifest) -> None:
        """Let the server have an image whose blobs are in its store."""
        with self._state.database.write() as session:
            publish(session, manifest.name, manifest.digest)

    def node(self, manifest: Manifest, behaviour: str = "honest", *, neighbours: bool = True) -> Node:
        """Start a node that will install an image; `behaviour` is one of tests.host.lan_node."""
        self._count += 1
        address, target = f"10.77.0.{10 + self._count}", self._folder / f"node{self._count}"
        target.mkdir()
        with self._state.database.write() as session:
            added = nodes.add(
                session, self._state.master, f"node{self._count}", TargetState.INST, manifest.name
            )
            added.neighbours = neighbours
            key = nodes.key_of(self._state.master, added).to_text()
            words = [str(added.id), address, URL, manifest.digest, str(target), behaviour]
        namespace = self._place(f"n{self._count}", address)
        argv = [sys.executable, "-m", "tests.host.lan_node", *words]
        return Node(self._start(namespace, argv, key), namespace, target, address)

    def stranger(self) -> str:
        """Make a machine that is no node of the deployment, and return its namespace."""
        return self._place("x", "10.77.0.200")

    def sent_by_server(self) -> int:
        """Return the bytes that left the server's interface, all headers included."""
        path = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(_run("ip", "netns", "exec", f"{self._name}s", "cat", path))

    def serve(self, rate: str) -> None:
        """Start the server behind a line of this rate, as tc(8) writes it."""
        namespace = self._place("s", SERVER)
        _run(
            "tc",
            "-n",
            namespace,
            "qdisc",
            "add",
            "dev",
            "eth0",
            "root",
            "handle",
            "1:",
            "htb",
            "default",
            "1",
        )
        _run("tc", "-n", namespace, "class", "add", "dev", "eth0", "parent", "1:", "classid", "1:1", "htb",
             "rate", rate)  # fmt: skip
        ports = ["--listen", f"{SERVER}:8080", "--operator", "127.0.0.1:8081"]
        words = [sys.executable, "-m", "bootserver", "--state", str(self._folder / "server"), "serve"]
        process = self._start(namespace, [*words, *ports, "--plain"])
        for _ in range(2):
            pipe(process.stdout).readline()

    def _place(self, short: str, address: str) -> str:
        """Make a namespace with an interface eth0 on the bridge."""
        bridge, namespace = f"{self._name}b", f"{self._name}{short}"
        _run("ip", "netns", "add", namespace)
        self._stack.callback(_run, "ip", "netns", "delete", namespace)
        _run("ip", "-n", bridge, "link", "add", short, "type", "veth", "peer", "name", "eth0", "netns",
             namespace)  # fmt: skip
        _run("ip", "-n", bridge, "link", "set", short, "master", "lan", "up")
        _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", namespace, "link", "set", device, "up")
        return namespace

    def _start(self, namespace: str, argv: Sequence[str], secret: str = "") -> subprocess.Popen[str]:
        log = self._stack.enter_context((self._folder / f"{namespace}.log").open("w"))
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *argv],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # As the units have it.
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},
        )
        self._stack.callback(_end, process)
        if secret:
            pipe(process.stdin).write(secret + "\n")
            pipe(process.stdin).flush()
        return process


@contextmanager
def lan(folder: Path) -> Iterator[Lan]:
    """Make a LAN without machines. Needs root."""
    name = f"lan{os.getpid()}"
    with ExitStack() as stack:
        state = initialise(folder / "server", {"server": URL})
        stack.callback(state.database.close)
        _run("ip", "netns", "add", f"{name}b")
        stack.callback(_run, "ip", "netns", "delete", f"{name}b")
        _run("ip", "-n", f"{name}b", "link", "add", "lan", "type", "bridge")
        _run("ip", "-n", f"{name}b", "link", "set", "lan", "up")
        yield Lan(folder, state, name, stack)


def ask(namespace: str, url: str) -> str:
    """Return what a GET from a namespace is answered, with its head; "" for none."""
    argv = ["ip", "netns", "exec", namespace, "curl", "--silent", "--include", "--max-time", "5", url]
    return subprocess.run(argv, check=False, capture_output=True).stdout.decode(errors="replace")


def _end(process: subprocess.Popen[str]) -> None:
    # Killed, and not asked: one may be stopped.
    process.kill()
    process.communicate(timeout=END_SECONDS)


def _run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout
