"""Slivers on a real node's system: each claim of docs/slivers.md."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from configmanager.backends.base import Verb
from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import FOLDER, SliverGuest, nothing_left, traces, unit
from tests.guest.waiting import eventually

IMAGES = FOLDER / ".images"


@pytest.fixture
def node(guest: Guest, node_system: None, slice_key: Path):
    with nothing_left():
        node = SliverGuest(guest, slice_key)
        yield node
        node.converge()


def test_a_sliver_is_a_system_of_its_own(node):
    script = "echo 'it ran' > /root/ran\n"
    assert [action.verb for action in node.converge(node.sliver(script=script))] == [Verb.CREATE]
    slot = node.slot("demo_one")
    assert node.inside("demo-one", "hostname").strip() == "demo-one"
    assert node.inside("demo-one", "cat /proc/1/comm").strip() == "systemd"
    assert f"{slot.address}/30" in node.inside("demo-one", "ip -o address show dev host0")
    eventually(lambda: node.inside("demo-one", "cat /root/ran || true") == "it ran\n", what="the initscript")
    # Root there is a user of its own here.
    (leader,) = (
        line.partition("=")[2] for line in run("machinectl", "show", "demo-one").stdout.splitlines() if line.startswith("Leader=")
    )
    assert Path(f"/proc/{leader}").stat().st_uid == slot.first_user
    group = Path(f"/proc/{leader}/cgroup").read_text().splitlines()[-1]
    assert group.startswith("0::/slivers.slice/slivers-demo\\x2done.slice/sliver@demo\\x2done.service/")
    assert node.inside("demo-one", "cat /etc/machine-id") != Path("/etc/machine-id").read_text()
    assert [action.verb for action in node.converge(node.sliver(script=script))] == []


def test_removal_leaves_nothing(node):
    before = traces()
    node.converge(node.sliver(ports="tcp:8080:80"))
    during = traces()
    assert during.machines == {"demo-one"}
    assert during.links - before.links == {"sliver1"}
    assert during.accounts - before.accounts == {"demo_one"}
    assert "table ip slivers" in during.tables
    node.converge()
    # Before the fixture looks, so that what is left is shown here.
    assert traces() == before
