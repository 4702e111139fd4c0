"""Runs in the guest: `python3 -m tests.bench.slivers_guest many SLIVERS SECONDS | start ROUNDS`; prints JSON.

The passes are those of the manager with all backends of a node; what the server says is in a file.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

from configmanager.slots import Slot, Slots
from images.manifest import parse
from images.store import BlobStore
from tests.bench import slivers_idle
from tests.bench.slivers_idle import STATE, WORD, one_pass
from tests.guest.conftest import STORE, make_guest
from tests.guest.node_system import lay_over, run
from tests.guest.sliver_guest import FOLDER, SliverGuest
from wire.slivers import Sliver
from wire.structure import unstructure

SCRIPT = Path(__file__).with_name("sliver_by_hand.sh")
SERVE = "mkdir -p /srv/web\necho 'it answers' > /srv/web/index.html\nbusybox httpd -p 80 -h /srv/web\n"
ANSWER_SECONDS = 600.0
BY_HAND = IPv4Address("198.51.100.2")


class Bench:
    """A node, and its manager."""

    def __init__(self) -> None:
        STATE.mkdir(exist_ok=True)
        key = STATE / "slice"
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        image = parse(BlobStore(STORE).get((STORE / "sliver.digest").read_text()))
        self.node = SliverGuest(make_guest(image), key)
        self.manager = slivers_idle.manager(self.node.guest.node)

    def say(self, *slivers: Sliver) -> None:
        """What the server says from now on."""
        WORD.write_text(json.dumps(unstructure(self.node.wanted(*slivers))))

    def make(self, *slivers: Sliver) -> None:
        """Let passes be made until there is nothing left to do."""
        self.say(*slivers)
        while one_pass(self.manager):
            pass


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
    words = [sys.executable, "-m", "tests.bench.slivers_idle", str(seconds)]
    idle = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return {"answered": answered, "seconds": took, "disk_mb": max(disks), "image_mb": _disk(image), **idle}


def start(rounds: int) -> dict[str, list[float]]:
    """Make a sliver and remove it again, by turns with one by hand; the image is there already."""
    bench = Bench()
    # Takes the first number, and keeps the image.
    keeper = bench.node.sliver("keeper", enabled="0")
    bench.make(keeper)
    (image,) = (FOLDER / ".images").iterdir()
    ours, by_hand = [], []
    for _ in range(rounds):
        bench.say(keeper, bench.node.sliver("fresh", script=SERVE))
        with _Stopwatch(Slot(2).address) as watch:
            one_pass(bench.manager)
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
                if b" 200 OK" in connection.recv(4096):
                    return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


def _disk(folder: Path) -> float:
    """Megabytes that a folder takes."""
    said = run("du", "--summarize", "--block-size=1", "--one-file-system", str(folder)).stdout
    return int(said.split()[0]) / 1e6


def main() -> None:
    """Do what is asked."""
    what, arguments = sys.argv[1], [int(word) for word in sys.argv[2:]]
    lay_over()
    print(json.dumps({"many": many, "start": start}[what](*arguments)))


if __name__ == "__main__":
    main()
