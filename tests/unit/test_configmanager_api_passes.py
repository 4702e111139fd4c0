"""Calls of the node's API while a pass is at work: who looks is answered, who decides does not wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager.api.answer import Answers
from configmanager.api.callers import OPERATOR
from configmanager.api.node import NodeSide
from configmanager.backends import sliver_start, slivers
from configmanager.backends.slivers import Slivers
from configmanager.converge import converge
from configmanager.decisions import Decisions
from configmanager.records import Records
from images.plan import OldTree
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.node_api import KEY
from tests.unit.test_configmanager_slivers import DESIRED, NEW, SLIVER, UNIT
from wire.messages import ImageRef
from wire.slivers import Instantiation, NodeSlivers

SECONDS = 10.0
DELEGATED = replace(
    SLIVER, name="left", slice_id=3, attributes=(), instantiation=Instantiation.DELEGATED, image="sliver"
)
LATER = replace(SLIVER, name="later", slice_id=4, attributes=(), image="large")
LAST = replace(LATER, name="most_late", slice_id=5)
LAST_UNIT = r"sliver@most\x2dlate.service"
KNOWN = replace(DESIRED, slivers=(SLIVER, DELEGATED))
SAID = replace(
    DESIRED, slivers=(SLIVER, DELEGATED, LATER, LAST), images=(*DESIRED.images, ImageRef("large", NEW))
)


class Site:
    """A node with slivers that run; a pass unpacks an image for another one until `unpacked` is set."""

    def __init__(self, root: Path) -> None:
        self.fake = FakeNode(root)
        self.unpacking, self.unpacked = threading.Event(), threading.Event()
        self.woken: list[int] = []
        node = replace(self.fake.node, unpack=self._unpack)
        self.backend, self.decisions = Slivers(node), Decisions(root)
        self.decisions.set_made(DELEGATED, SAID, made=True)
        converge((self.backend,), self.decisions.applied(KNOWN), node.events)
        side = NodeSide(
            self,
            Records(root / "records"),
            self.decisions,
            self.backend,
            lambda: KEY,
            lambda: self.woken.append(1),
            node.events,
            root,
        )
        self.answers = Answers(side)
        self.threads = ThreadPoolExecutor(2)

    def said(self) -> NodeSlivers:
        return SAID

    def now(self) -> float:
        return 1500.0

    def _unpack(self, ref: ImageRef, target: Path, trees: Sequence[OldTree]) -> None:
        if ref.name == "large":
            self.unpacking.set()
            assert self.unpacked.wait(SECONDS)
        self.fake.node.unpack(ref, target, trees)

    def call(self, method: str, *arguments: Any) -> Any:
        """What the call returns, in time."""
        return self.threads.submit(self.answers.call, OPERATOR, method, list(arguments)).result(SECONDS / 2)

    def make_so(self) -> list[str]:
        """One pass; what failed in it."""
        made = converge((self.backend,), self.decisions.applied(SAID), self.fake.node.events)
        return [failure.detail for failure in made.failed]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(sliver_start, "APART_SECONDS", 0.0)
    site = Site(tmp_path)
    yield site
    site.unpacked.set()
    site.threads.shutdown()


def test_who_looks_is_answered_and_who_decides_does_not_wait(site: Site) -> None:
    data = site.fake.root / "var/lib/slivers/demo-one/upper/data"
    data.write_text("old")
    running = site.threads.submit(site.make_so)
    assert site.unpacking.wait(SECONDS)
    assert "GetXIDs()" in site.call("Help")
    assert site.call("GetXIDs") == {"demo_one": 1, "left": 2, "later": 3}
    assert site.call("GetSSHKeys")["demo_one"] == "ssh-ed25519 AAAA one"
    for method in ("GetRSpec", "GetEffectiveRSpec", "GetLoans", "GetRecord"):
        site.call(method, "demo_one")
    for method, name in (("ReCreate", "demo_one"), ("Destroy", "left"), ("SetLoans", "later")):
        arguments = [[["demo_one", "cpu_share", 1]]] if method == "SetLoans" else []
        assert site.call(method, name, *arguments) == 1
    assert len(site.woken) == 3
    assert data.read_text() == "old"
    # A kill here loses nothing of it.
    again = Slivers(site.fake.node)
    planned = {
        action.name: action.reason for action in again.plan(site.decisions.applied(SAID), again.observe())
    }
    assert (planned["demo_one"], planned["left"]) == ("was not finished", "is no longer wanted")
    site.unpacked.set()
    assert running.result(SECONDS) == []
    # It was done before the pass came to its next sliver.
    assert not data.exists()
    assert site.make_so() == []
    assert [item.name for item in site.backend.observe()] == ["demo_one", "later", "most_late"]


def test_a_stop_counts_though_the_pass_is_at_work_on_that_sliver(site: Site) -> None:
    running = site.threads.submit(site.make_so)
    assert site.unpacking.wait(SECONDS)
    assert site.call("Stop", "later") == site.call("Stop", "demo_one") == 1
    site.unpacked.set()
    assert running.result(SECONDS) == []
    assert site.fake.runner.active[UNIT] == "inactive"
    assert site.fake.runner.active.get("sliver@later.service", "inactive") == "inactive"
    assert site.make_so() == []
    assert site.call("Start", "later") == 1
    assert site.fake.runner.active["sliver@later.service"] == "active"


def test_a_failed_start_that_was_put_off_is_tried_afresh(site: Site) -> None:
    running = site.threads.submit(site.make_so)
    assert site.unpacking.wait(SECONDS)
    site.fake.runner.active[UNIT] = "failed"
    assert site.call("Start", "demo_one") == 1
    site.unpacked.set()
    assert running.result(SECONDS) == []
    assert site.fake.runner.active[UNIT] == "active"


def test_who_decides_without_end_has_one_turn_a_pass(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl, starts, working = site.fake.runner._systemctl, 0, []
    monkeypatch.setattr(slivers, "still_working", lambda: working.append(1))

    def hostile(words: list[str]) -> str:
        nonlocal starts
        if UNIT in words and "start" in words:
            starts += 1
            # The test's own end, where the pass has none.
            if starts < 20:
                assert site.call("ReCreate", "demo_one") == 1
        return systemctl(words)

    running = site.threads.submit(site.make_so)
    assert site.unpacking.wait(SECONDS)
    assert site.call("ReCreate", "demo_one") == 1
    monkeypatch.setattr(site.fake.runner, "_systemctl", hostile)
    site.unpacked.set()
    assert running.result(SECONDS) == []
    assert (starts, len(working)) == (1, 1)
    assert [item.name for item in site.backend.observe()] == ["demo_one", "later", "left", "most_late"]
    # The last call is not lost: it has asked for a pass, which does it.
    assert len(site.woken) == 2
    monkeypatch.setattr(site.fake.runner, "_systemctl", systemctl)
    data = site.fake.root / "var/lib/slivers/demo-one/upper/data"
    data.write_text("old")
    assert site.make_so() == []
    assert not data.exists()
    assert site.fake.runner.active[UNIT] == "active"


def test_the_next_pass_has_a_turn_for_it_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl, data = site.fake.runner._systemctl, site.fake.root / "var/lib/slivers/demo-one/upper/data"
    site.unpacked.set()
    assert site.make_so() == []

    def calling(words: list[str]) -> str:
        if "start" in words and "sliver@later.service" in words:
            assert site.call("ReCreate", "demo_one") == 1
        return systemctl(words)

    monkeypatch.setattr(site.fake.runner, "_systemctl", calling)
    for _ in range(2):
        # It is called during the first one's start, and done before the second one's.
        site.fake.runner.active |= dict.fromkeys(("sliver@later.service", LAST_UNIT), "failed")
        data.write_text("old")
        assert site.make_so() == []
        assert not data.exists()
