"""Runs in the guest: `python3 -m tests.bench.slivers_guest many SLIVERS SECONDS | start ROUNDS`; prints JSON.

The passes are those of the manager with all backends of a node; what the server says is a variable.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import configmanager.cli  # noqa: F401 - the daemon has all of it in memory
from configmanager import plugins
from configmanager.clock import Clock
from configmanager.manager import POLL_SECONDS, Manager
from configmanager.records import Records
from configmanager.slots import Slot, Slots
from host.events import Events
from images.manifest import parse
from images.store import BlobStore
from tests.guest.conftest import STORE, make_guest
from tests.guest.node_system import lay_over, run
from tests.guest.sliver_guest import FOLDER, SliverGuest
from wire.messages import RunLevel
from wire.slivers import NodeSlivers, Sliver
from wire.structure import unstructure

STATE = Path("/var/tmp/bench")
SCRIPT = Path(__file__).with_name("sliver_by_hand.sh")
SERVE = "mkdir -p /srv/web\necho 'it answers' > /srv/web/index.html\nbusybox httpd -p 80 -h /srv/web\n"
ANSWER_SECONDS = 600.0
BY_HAND = IPv4Address("198.51.100.2")


class Word:
    """The server, as a variable."""

    def __init__(self) -> None:
        self.now: NodeSlivers | None = None

    def fetch(self) -> object:
        """Return what it says."""
        return unstructure(self.now)

    def watch(self, generation: int) -> None:
        """It changes when the benchmark says so."""

    def report(self, level: RunLevel) -> None:
        """Nobody wants to know."""


class Bench:
    """A node, and its manager."""

    def __init__(self) -> None:
        STATE.mkdir(exist_ok=True)
        key = STATE / "slice"
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        image = parse(BlobStore(STORE).get((STORE / "sliver.digest").read_text()))
        self.node = SliverGuest(make_guest(image), key)
        self.word = Word()
        records = Records(STATE / "records.sqlite")
        clock = Clock(records.newest_time, STATE / "clock.json")
        backends = plugins.load(self.node.guest.node)
        self.manager = Manager(backends, records, self.word, Events("bench"), clock)

    def make(self, *slivers: Sliver) -> None:
        """Let passes be made until there is nothing left to do."""
        self.word.now = self.node.wanted(*slivers)
        while self.make_pass():
            pass

    def make_pass(self) -> bool:
        """Make one; whether anything was done."""
        self.manager.refresh()
        desired = self.manager.desired()
        assert desired is not None
        made = self.manager.converge(desired)
        for failure in made.failed:
            print(failure, file=sys.stderr)
        return bool(made.done)


def many(number: int, seconds: float) -> dict[str, float]:
    """Start so many, then idle beside them in a process of its own."""
    bench = Bench()
    slivers = [bench.node.sliver(f"s{each}", script=SERVE) for each in range(number)]
    begun = time.monotonic()
    bench.make(*slivers)
    took = time.monotonic() - begun
    slots = Slots().all()
    answered = sum(_wait_for_answer(slots[sliver.name].address) for sliver in slivers)
    (image,) = (FOLDER / ".images").iterdir()
    disks = [_disk(FOLDER / sliver.machine) for sliver in slivers]
    (STATE / "word.json").write_text(json.dumps([sliver.name for sliver in slivers]))
    words = [sys.executable, "-m", "tests.bench.slivers_guest", "idle", str(seconds)]
    idle = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return {"answered": answered, "seconds": took, "disk_mb": max(disks), "image_mb": _disk(image), **idle}


def idle(seconds: float) -> dict[str, float]:
    """Say what a manager costs that has nothing to do: waiting, and a pass for each time that it asks."""
    bench = Bench()
    names = json.loads((STATE / "word.json").read_text())
    bench.make(*(bench.node.sliver(name, script=SERVE) for name in names))
    before = _cpu()
    assert not bench.make_pass()
    each_pass = _cpu() - before
    before = _cpu()
    time.sleep(seconds)
    waiting = (_cpu() - before) / seconds
    return {"percent": 100 * (waiting + each_pass / POLL_SECONDS), "pass_seconds": each_pass, **_memory()}


def start(rounds: int) -> dict[str, list[float]]:
    """Make a sliver and remove it again, by turns with one by hand; the image is there already."""
    bench = Bench()
    # Takes the first number, and keeps the image.
    keeper = bench.node.sliver("keeper", enabled="0")
    bench.make(keeper)
    (image,) = (FOLDER / ".images").iterdir()
    ours, by_hand = [], []
    for _ in range(rounds):
        bench.word.now = bench.node.wanted(keeper, bench.node.sliver("fresh", script=SERVE))
        with _Stopwatch(Slot(2).address) as watch:
            bench.make_pass()
        ours.append(watch.seconds)
        bench.make(keeper)
        with _Stopwatch(BY_HAND) as watch:
            process = subprocess.Popen([SCRIPT, "up", image], stdout=subprocess.DEVNULL)
        by_hand.append(watch.seconds)
        run(str(SCRIPT), "down")
        process.wait()
    return {"ours": ours, "by_hand": by_hand}


class _Stopwatch:
    """Seconds from the block's beginning to an answer of that address; the block's end waits for it."""

    def __init__(self, address: IPv4Address) -> None:
        self._address = address
        self._thread = threading.Thread(target=self._watch)
        self.seconds = 0.0

    def __enter__(self) -> _Stopwatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _watch(self) -> None:
        begun = time.monotonic()
        if not _wait_for_answer(self._address):
            raise RuntimeError(f"no answer from {self._address}")
        self.seconds = time.monotonic() - begun


def _wait_for_answer(address: IPv4Address) -> bool:
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        try:
            with socket.create_connection((str(address), 80), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if connection.recv(4096).startswith(b"HTTP/1.0 200"):
                    return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


def _disk(folder: Path) -> float:
    """Megabytes that a folder takes."""
    said = run("du", "--summarize", "--block-size=1", "--one-file-system", str(folder)).stdout
    return int(said.split()[0]) / 1e6


def _cpu() -> float:
    """Seconds of the processor that this process and its children took."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def _memory() -> dict[str, float]:
    """Return what is resident, and what of it is nobody else's, in MiB."""
    found = {}
    for line in Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) / 1024
    return {"mib": found["Rss"], "private_mib": found["Private_Clean"] + found["Private_Dirty"]}


def main() -> None:
    """Do what is asked."""
    what, arguments = sys.argv[1], [int(word) for word in sys.argv[2:]]
    if what != "idle":
        lay_over()
    print(json.dumps({"many": many, "idle": idle, "start": start}[what](*arguments)))


if __name__ == "__main__":
    main()
