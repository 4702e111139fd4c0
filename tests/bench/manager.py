"""What configmanager costs a node: one change among a thousand slivers, and doing nothing.

Manager, records, backends, calls and watch are the real ones, and so is the server that the manager idles at.
Files are real too. What systemd, nft, tc and quotas say is a table (tests/unit/configmanager_kernel.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootserver import nodes, slices
from bootserver.state import open_state
from configmanager.clock import Clock
from configmanager.manager import Manager
from configmanager.records import Records
from configmanager.upstream import plain_of
from host.events import Events
from tests.bench.made_slivers import MadeSlivers
from tests.bench.result import Result
from tests.host.server_process import Process, cli
from wire import xmlrpc
from wire.messages import ImageRef, RunLevel, TargetState
from wire.session import mac
from wire.slivers import Attribute, NodeService, NodeSlivers, Sliver, SliverKey
from wire.structure import unstructure

SLIVERS = 1000
ROUNDS = 7
SERVICES = 50
IDLE_SECONDS = 60.0
_UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n"
_KEY = "ssh-ed25519 " + "A" * 68 + " somebody@somewhere"


def manager_results(scratch: Path | None = None) -> list[Result]:
    """Measure both."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        return [one_change(Path(name), SLIVERS), *_idle(Path(name))]


class Replies:
    """Gives the body of an answer as the server sends it."""

    def __init__(self) -> None:
        self.body = b""
        self.read_seconds = 0.0

    def fetch(self) -> object:
        begun = time.process_time()
        reply = xmlrpc.load_reply(self.body)
        mac(b"k" * 32, "reply", "session", 1, "value", reply["result"], reply["time"])
        answer = plain_of(reply["result"]["value"])
        self.read_seconds = time.process_time() - begun
        return answer

    def watch(self, generation: int) -> None:
        """Nothing changes but by the test."""

    def report(self, level: RunLevel) -> None:
        """Nobody wants to know."""


def one_change(folder: Path, count: int) -> Result:
    """CPU from an answer's bytes to the end of the pass; the median of some changes, each of one sliver.

    Raises AssertionError where another sliver of the `count` is touched.
    """
    wanted = _wanted(count)
    # Where a file is on the disk at once: making these is not what is measured.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, pytest.MonkeyPatch.context() as patch:
        made = MadeSlivers(Path(name), wanted, patch)
        events, replies = Events("bench"), Replies()
        records = Records(folder / "records.sqlite")
        manager = Manager(made.backends, records, replies, events, Clock(0.0, folder / "clock.json"))
        replies.body = _body(json.dumps(unstructure(wanted), separators=(",", ":")))
        _make(manager)
        found = []
        for number in range(ROUNDS):
            slivers = list(wanted.slivers)
            slivers[number] = replace(slivers[number], initscript=f"#!/bin/sh\nsleep {number + 2}\n")
            wanted = replace(wanted, timestamp=wanted.timestamp + 600, slivers=tuple(slivers))
            replies.body = _body(json.dumps(unstructure(wanted), separators=(",", ":")))
            made.kernel.argvs.clear()
            begun = time.process_time()
            _make(manager)
            found.append((1000 * (time.process_time() - begun), 1000 * replies.read_seconds))
            changed = slivers[number].machine.replace("-", "\\x2d")
            verbs = ("stop", "reset-failed", "start")
            assert made.kernel.verbs() == [f"{verb} sliver@{changed}.service" for verb in verbs]
        looking = _looking(made, wanted)
    whole, reading = sorted(found)[ROUNDS // 2]
    parts = {"reading_ms": reading, **looking}
    replies.body = _body(unstructure(wanted))
    replies.fetch()
    parts["reading_as_xml_structs_ms"] = 1000 * replies.read_seconds
    return Result("slivers_1000_cpu_ms", whole, 100, parts)


def _looking(made: MadeSlivers, wanted: NodeSlivers) -> dict[str, float]:
    """What each backend spends on a pass that has nothing to do, the least of some."""
    found: dict[str, float] = {}
    for backend in made.backends * ROUNDS:
        begun = time.process_time()
        assert backend.plan(wanted, backend.observe()) == ()
        spent, name = 1000 * (time.process_time() - begun), f"{backend.name}_ms"
        found[name] = min(spent, found.get(name, spent))
    return found


def _make(manager: Manager) -> None:
    manager.refresh()
    desired = manager.desired()
    assert desired is not None
    assert not manager.converge(desired).failed


def _wanted(count: int) -> NodeSlivers:
    slivers = tuple(
        Sliver(
            f"site_slice{number:04}",
            number,
            2**31 - 1,
            image="sliver",
            keys=(SliverKey("ssh", _KEY), SliverKey("ssh", _KEY + "2")),
            attributes=(
                Attribute("cpu_share", "32"),
                Attribute("net_max", "1000000"),
                Attribute("ports", f"tcp:{10000 + number}:80"),
            ),
            initscript="#!/bin/sh\nsleep 1\n",
        )
        for number in range(count)
    )
    return NodeSlivers(1_800_000_000, 1, "node1", slivers, images=(ImageRef("sliver", "a" * 64),))


def _body(value: Any) -> bytes:
    return xmlrpc.dump_reply({"result": {"value": value}, "time": 1_800_000_000, "value": "0" * 64})


def _idle(folder: Path) -> list[Result]:
    """A manager at a running server, in a process of its own."""
    cli(folder / "state", "init", "--server", "http://127.0.0.1")
    state = open_state(folder / "state")
    with state.database.write() as session:
        node = nodes.add(session, state.master, "node1", TargetState.BOOT, "base")
        for number in range(SERVICES):
            slices.set_service(session, node, NodeService(f"s{number}", _UNIT))
    state.database.close()
    server = Process(state.folder)
    try:
        words = [
            sys.executable,
            "-m",
            "tests.bench.manager_idle",
            str(folder),
            server.nodes,
            str(IDLE_SECONDS),
        ]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    finally:
        server.end()
    found = json.loads(done.stdout)
    return [
        Result("manager_idle_mib", found["mib"], 60, {"private_mib": found["private_mib"]}),
        Result("manager_idle_percent", found["percent"], 0.5, {"passes": found["passes"]}),
    ]
