"""The example of a backend in the docs, as a distribution of its own beside the project."""

from __future__ import annotations

import configparser
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import plugins
from configmanager.backends.base import Verb
from configmanager.clock import Clock
from configmanager.manager import Manager
from configmanager.records import Records
from tests.unit.configmanager_fakes import FakeNode
from wire.messages import RunLevel
from wire.slivers import NodeSlivers, Sliver
from wire.structure import unstructure

EXAMPLE = Path(__file__).parents[2] / "docs/examples/motd"
WANTED = NodeSlivers(1000, 1, "node1", (Sliver("demo_one", 1, 5000), Sliver("demo_two", 2, 5000)))


class Server:
    """Has one answer after the other."""

    def __init__(self, *replies: NodeSlivers) -> None:
        self.replies = list(replies)

    def fetch(self) -> object:
        return unstructure(self.replies.pop(0))

    def watch(self, generation: int) -> None:
        """Nothing changes by itself."""

    def report(self, level: RunLevel) -> None:
        """Nobody wants to know."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the example where Python finds distributions, as an installer does."""
    site = tmp_path / "site"
    metadata = site / "motd_backend-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(EXAMPLE / "motd_backend.py", site)
    given = configparser.ConfigParser()
    given.read(EXAMPLE / "setup.cfg")
    (metadata / "METADATA").write_text("Name: motd-backend\nVersion: 1.0\n")
    points = given["options.entry_points"]["configmanager.backends"]
    (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{points.strip()}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "motd_backend", raising=False)


def test_it_is_short() -> None:
    assert sum(len(path.read_text().splitlines()) for path in EXAMPLE.iterdir()) <= 60


@pytest.mark.usefixtures("installed")
def test_it_is_found_beside_the_projects_own_and_made_so(tmp_path: Path) -> None:
    fake = FakeNode(tmp_path / "root")
    backends = plugins.load(fake.node)
    names = [backend.name for backend in backends]
    assert names.index("slivers") < names.index("motd")
    (motd,) = (backend for backend in backends if backend.name == "motd")
    records = Records(tmp_path / "records")
    server = Server(WANTED, WANTED, replace(WANTED, slivers=WANTED.slivers[:1]), replace(WANTED, slivers=()))
    manager = Manager((motd,), records, server, fake.node.events, Clock(0.0, tmp_path / "clock"))
    file = tmp_path / "root/etc/motd.d/slivers"
    found, did = [], []
    for _ in range(4):
        manager.refresh()
        desired = manager.desired()
        assert desired is not None
        did.append([action.verb for action in motd.plan(desired, motd.observe())])
        assert manager.converge(desired).failed == []
        found.append(file.read_text() if file.exists() else "")
    both = "sliver demo_one\nsliver demo_two\n"
    assert found == [both, both, "sliver demo_one\n", ""]
    assert did == [[Verb.CREATE], [], [Verb.CHANGE], [Verb.REMOVE]]
    motd.teardown("slivers")


@pytest.mark.usefixtures("installed")
def test_a_rival_of_it_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    fake = FakeNode(tmp_path / "root")
    (motd,) = (backend for backend in plugins.load(fake.node) if backend.name == "motd")
    rival = type("Rival", (type(motd),), {"name": "rival"})
    with pytest.raises(plugins.ConflictingBackends, match=r"motd.*rival.*file:/etc/motd.d/slivers"):
        plugins.check_claims((motd, rival(fake.node)))
    assert not (tmp_path / "root").exists()
