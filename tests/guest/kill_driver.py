"""A pass of the slivers backend that is killed at a point: `python -m tests.guest.kill_driver FILE`.

FILE is JSON: how many points to let pass, and the slivers wanted. Points are before and after each command
and each durable write; exit status 0 says that the pass came to its end before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from configmanager.backends import sliver_accounts, sliver_files, sliver_record
from configmanager.backends.base import Node
from configmanager.backends.slivers import Slivers
from configmanager.slots import Slots
from host import files
from host.events import Events
from host.run import Completed, Runner
from images.manifest import Manifest, parse
from images.store import BlobStore
from tests.guest.conftest import STORE, make_guest
from wire.slivers import NodeSlivers
from wire.structure import structure


class Points:
    """Counts points and kills this process at one."""

    def __init__(self, left: int) -> None:
        self.left = left

    def passed(self) -> None:
        """Be at a point."""
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


class KilledRunner(Runner):
    """A runner with points before and after each command."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def __call__(self, *arguments: Any, **options: Any) -> Completed:
        self._points.passed()
        done = super().__call__(*arguments, **options)
        self._points.passed()
        return done


def main() -> None:
    """Do one pass, as far as it comes."""
    order = json.loads(Path(sys.argv[1]).read_text())
    points = Points(order["points"])
    write = files.write_atomic

    def write_atomic(*arguments: Any, **options: Any) -> None:
        points.passed()
        write(*arguments, **options)
        points.passed()

    for module in (sliver_accounts, sliver_files, sliver_record, sys.modules[Slots.__module__]):
        module.write_atomic = write_atomic  # type: ignore[attr-defined]
    image: Manifest = parse(BlobStore(STORE).get(order["image"]))
    node = make_guest(image).node
    backend = Slivers(Node(KilledRunner(points), Events("killed"), node.unpack))
    wanted = structure(order["wanted"], NodeSlivers)
    for action in backend.plan(wanted, backend.observe()):
        backend.apply(wanted, action)


if __name__ == "__main__":
    main()
