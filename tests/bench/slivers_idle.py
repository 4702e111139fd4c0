"""A manager that idles beside slivers, in the guest: `python3 -m tests.bench.slivers_idle SECONDS`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import configmanager.cli  # noqa: F401 - the daemon has all of it in memory
from configmanager import plugins
from configmanager.backends.base import Node
from configmanager.clock import Clock
from configmanager.manager import POLL_SECONDS, Manager
from configmanager.records import Records
from host.events import Events
from host.run import Runner
from wire.messages import RunLevel

STATE = Path("/var/tmp/bench")
WORD = STATE / "word.json"


class Word:
    """The server, as a file."""

    def fetch(self) -> object:
        """Return what it says."""
        return json.loads(WORD.read_text())

    def watch(self, generation: int) -> None:
        """It changes when the benchmark says so."""

    def report(self, level: RunLevel) -> None:
        """Nobody wants to know."""


def manager(node: Node) -> Manager:
    """Return a manager with all backends of a node."""
    records = Records(STATE / "records.sqlite")
    clock = Clock(records.newest_time, STATE / "clock.json")
    return Manager(plugins.load(node), records, Word(), Events("bench"), clock)


def one_pass(manager: Manager) -> bool:
    """Make one; whether anything was done."""
    manager.refresh()
    desired = manager.desired()
    assert desired is not None
    made = manager.converge(desired)
    for failure in made.failed:
        print(failure, file=sys.stderr)
    return bool(made.done)


def main() -> None:
    """Say what it costs to wait, and to make a pass each time that the server is asked."""
    seconds = float(sys.argv[1])
    idle = manager(Node(Runner(), Events("bench"), lambda *_: None))
    # The first one reads all, which later ones remember.
    assert not one_pass(idle)
    before = _cpu()
    assert not one_pass(idle)
    each_pass = _cpu() - before
    before = _cpu()
    time.sleep(seconds)
    waiting = (_cpu() - before) / seconds
    percent = 100 * (waiting + each_pass / POLL_SECONDS)
    print(json.dumps({"percent": percent, "pass_seconds": each_pass, **_memory()}))


def _cpu() -> float:
    """Seconds of the processor that this process and its children took."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def _memory() -> dict[str, float]:
    """Return what is resident, and what of it is nobody else's, in MiB."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) / 1024
    return {"mib": found["Rss"], "private_mib": found["Private_Clean"] + found["Private_Dirty"]}


if __name__ == "__main__":
    main()
