"""A node whose slivers run, as files: each backend's records, folders, drop-ins and control groups."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from configmanager import plugins
from configmanager.backends import sliver_start
from configmanager.backends.base import Node
from configmanager.backends.network import Network
from configmanager.backends.resources import CONTROL_GROUPS, Resources
from configmanager.backends.slice_files import ALL
from configmanager.backends.slivers import Slivers
from configmanager.backends.units import sliver_slice
from configmanager.converge import converge
from host.events import Events
from images.plan import OldTree
from tests.unit.configmanager_kernel import FakeKernel
from wire.messages import ImageRef
from wire.slivers import NodeSlivers

# As the kernel shows the default limits.
_GROUP = {
    "cpu.weight": "32\n",
    "io.weight": "default 100\n",
    "pids.max": "4096\n",
    "memory.high": "max\n",
    "memory.max": "max\n",
    "memory.swap.max": "max\n",
}


class MadeSlivers:
    """The backends of such a node, and what stands for its kernel."""

    def __init__(self, root: Path, wanted: NodeSlivers, patch: pytest.MonkeyPatch) -> None:
        """Make them by the backends themselves."""
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(sliver_start, "APART_SECONDS", 0.0)
        self.kernel = FakeKernel(root)
        self.kernel.keep_quotas(patch)
        (root / "etc/systemd/system").mkdir(parents=True)
        node = Node(self.kernel, Events("bench"), _unpack, root)
        self.backends = plugins.ordered((Slivers(node), Resources(node, 2), Network(node)))
        assert not converge(self.backends, wanted, node.events).failed
        for sliver in wanted.slivers:
            group = root / CONTROL_GROUPS / ALL / sliver_slice(sliver.machine)
            group.mkdir(parents=True)
            for name, value in _GROUP.items():
                (group / name).write_text(value)


def _unpack(_ref: ImageRef, target: Path, _trees: Sequence[OldTree]) -> None:
    for name in ("etc", "home"):
        (target / name).mkdir()
    (target / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
