"""A manager that idles, as a process: python -m tests.bench.manager_idle FOLDER SERVER SECONDS.

In the time that is measured it makes one pass, ten times as often as on a node, and waits for changes.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import configmanager.cli  # noqa: F401 - the daemon has all of it in memory
from configmanager import upstream
from configmanager.backends.services import Services
from configmanager.clock import Clock
from configmanager.manager import Manager
from configmanager.node_images import Images
from configmanager.passes import Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records
from configmanager.takeover import Link
from configmanager.watch import Watch
from host.classic_client import client_for
from host.events import Events
from host.journal import Journal
from host.refusals import Refusals
from host.report import ServerSink
from host.run import Runner
from tests.host.server_process import key_file
from tests.unit.configmanager_fakes import FakeNode
from wire.handoff import Handoff
from wire.nodeconf import parse


def main() -> None:
    """Idle, and say what it cost."""
    folder, address, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    configuration = replace(parse(key_file(folder / "state"), "plnode.txt"), server=address)
    # The key medium and the network of this machine are not the node's.
    link = Link(client_for(configuration, "127.0.0.1"), configuration, "127.0.0.1")
    upstream.connect = lambda *_: link  # type: ignore[assignment]
    sink = ServerSink()
    events = Events("configmanager", (sink,))
    outcomes: list[Outcome] = []
    watch = Watch(lambda: manager.poll_now())
    left = Handoff(run_id="r", node_id=configuration.node_id, hostname="node1", server=address)
    server = upstream.Upstream(
        Runner(), events, left, sink, Images(Runner(), events), Refusals(Journal(folder / "journal")), watch
    )
    node = FakeNode(folder / "root")
    (folder / "root/etc/systemd/system").mkdir(parents=True)
    records = Records(folder / "idle.sqlite")
    clock = Clock(records.newest_time, folder / "idle-clock.json")
    manager = Manager((Services(node.node),), records, server, events, clock)
    reboots = Reboots(folder / "reboots.json")
    thread = threading.Thread(target=manager.run, args=(reboots, manager.stop, outcomes.append))
    thread.start()
    while not outcomes:
        if not thread.is_alive():
            raise SystemExit("the manager has ended")
        time.sleep(0.1)
    # What the first pass leaves to do is not idling.
    time.sleep(2)
    before = _cpu()
    time.sleep(seconds / 2)
    manager.poll_now()
    time.sleep(seconds / 2)
    spent = _cpu() - before
    memory = _memory()
    manager.stop()
    thread.join()
    print(json.dumps({"percent": 100 * spent / seconds, "passes": len(outcomes) - 1, **memory}))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> dict[str, float]:
    """Return what is resident, and what of it is nobody else's, in MiB."""
    found: dict[str, int] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0])
    private = found["Private_Clean"] + found["Private_Dirty"]
    return {"mib": found["Rss"] / 1024, "private_mib": private / 1024}


if __name__ == "__main__":
    main()
