"""A pass of the slivers backend that is killed at a point.

Points are before and after each command and each durable write.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from configmanager.backends import sliver_accounts, sliver_files, sliver_record
from configmanager.backends.base import Node
from configmanager.backends.slivers import Slivers
from configmanager.slots import Slots
from host import files
from host.events import Events
from host.run import Completed, Runner
from wire.slivers import NodeSlivers


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


def one_pass(node: Node, wanted: NodeSlivers, left: int) -> None:
    """Make one pass, in a process of its own: it ends at the point after so many, or with the pass."""
    points = Points(left)
    write = files.write_atomic

    def write_atomic(*arguments: Any, **options: Any) -> None:
        points.passed()
        write(*arguments, **options)
        points.passed()

    for module in (sliver_accounts, sliver_files, sliver_record, sys.modules[Slots.__module__]):
        module.write_atomic = write_atomic  # type: ignore[attr-defined]
    backend = Slivers(Node(KilledRunner(points), Events("killed"), node.unpack))
    for action in backend.plan(wanted, backend.observe()):
        backend.apply(wanted, action)
