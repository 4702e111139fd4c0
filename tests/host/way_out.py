"""Looks for the way out of its network namespace, as a node does: python -m tests.host.way_out HOST PORT."""

import json
import sys
from dataclasses import asdict

from host import network, ways
from host.events import Events
from host.run import Runner
from wire.nodenet import NetworkSettings


def main():
    host, port = sys.argv[1:]
    run, heard, goal = Runner(), [], ways.Goal(host, int(port))
    choice = ways.has_choice(run, NetworkSettings())
    events = Events("test", (lambda event: heard.append([event.event, event.data]),))
    ways.lead_out(run, events, goal, seconds=0)
    known = [asdict(way) for way in network.ways(run, goal.version)]
    print(json.dumps({"choice": choice, "heard": heard, "ways": known, "own": ways.reached_from(goal)}))


if __name__ == "__main__":
    main()
