"""A manager that ends at any point of a sliver's making, changing or removal: the next one finishes it.

Here at some points, in tests/host at each. The same with real kills and a running sliver is in tests/guest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager import slots
from configmanager.backends import (
    network,
    resources,
    sliver_accounts,
    sliver_files,
    sliver_record,
    sliver_start,
)
from configmanager.backends.base import Node
from configmanager.backends.slivers import Slivers
from configmanager.slots import Slots
from host import files
from host.run import Completed
from tests.unit.configmanager_fakes import FakeNode, FakeRunner
from tests.unit.test_configmanager_slivers import DESIRED, NEW, NOTHING, OLD, SLIVER, UNIT
from wire.messages import ImageRef
from wire.slivers import NodeSlivers, SliverKey

NEWER = replace(DESIRED, images=(ImageRef("sliver", NEW),))
CHANGED = replace(DESIRED, slivers=(replace(SLIVER, initscript="echo other", keys=()),))


class Killed(BaseException):
    """Stands for a process that is not there any more: nothing catches it."""


class Points(FakeRunner):
    """Ends at a point; points are before and after each command and each durable write."""

    def __init__(self, inner: FakeRunner) -> None:
        super().__init__(inner._root)
        self.inner = inner
        self.left = 0

    def passed(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
        self.passed()
        done = self.inner(argv, **options)
        self.passed()
        return done


@pytest.fixture
def every() -> int:
    """Of so many points one is tried."""
    return 7


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(sliver_start, "APART_SECONDS", 0.0)
    return FakeNode(tmp_path)


def points_of(runner: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> Points:
    """Points in all that backends do by way of this runner and durable writes."""
    points = Points(runner)

    def write_atomic(*arguments: Any, **options: Any) -> None:
        points.passed()
        files.write_atomic(*arguments, **options)
        points.passed()

    for module in (sliver_accounts, sliver_files, sliver_record, slots, network, resources):
        monkeypatch.setattr(module, "write_atomic", write_atomic)
    return points


@pytest.fixture
def points(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Points:
    return points_of(fake.runner, monkeypatch)


Work = Callable[[Slivers], object]


def passes(desired: NodeSlivers) -> Work:
    def work(backend: Slivers) -> None:
        for action in backend.plan(desired, backend.observe()):
            backend.apply(desired, action)

    return work


def cut_short(fake: FakeNode, points: Points, every: int, before: Work, work: Work) -> Iterator[int]:
    """For points of `work`: have it done after `before`, up to that point, and yield."""
    node = Node(points, fake.node.events, fake.node.unpack, fake.root)
    for number in range(0, 500, every):
        points.left = 10**6
        before(Slivers(fake.node))
        points.left = number
        try:
            work(Slivers(node))
        except Killed:
            points.left = 10**6
            yield number
        else:
            return
    raise AssertionError("it never ends")


def is_settled(fake: FakeNode, desired: NodeSlivers) -> bool:
    backend = Slivers(fake.node)
    return backend.plan(desired, backend.observe()) == ()


def has_nothing(fake: FakeNode) -> bool:
    left = {path.name for path in fake.root.rglob("*") if path.is_file()}
    return Slots(fake.root).all() == {} and left <= {"passwd", "shadow", "slots.json"}


def images(fake: FakeNode) -> set[str]:
    return {path.name for path in (fake.root / "var/lib/slivers/.images").iterdir()}


@pytest.mark.parametrize("then", [DESIRED, NOTHING], ids=["wanted", "unwanted"])
def test_making(fake: FakeNode, points: Points, every: int, then: NodeSlivers) -> None:
    for _ in cut_short(fake, points, every, passes(NOTHING), passes(DESIRED)):
        passes(then)(Slivers(fake.node))
        assert is_settled(fake, then)
        assert (fake.runner.active[UNIT] == "active") if then == DESIRED else has_nothing(fake)


def test_changing(fake: FakeNode, points: Points, every: int) -> None:
    script = fake.root / "var/lib/slivers/demo-one/given/initscript"
    for _ in cut_short(fake, points, every, passes(DESIRED), passes(CHANGED)):
        passes(CHANGED)(Slivers(fake.node))
        assert is_settled(fake, CHANGED)
        assert "echo other" in script.read_text()


def test_removing(fake: FakeNode, points: Points, every: int) -> None:
    for _ in cut_short(fake, points, every, passes(DESIRED), passes(NOTHING)):
        passes(NOTHING)(Slivers(fake.node))
        assert has_nothing(fake)


def test_making_anew_never_lays_what_was_written_over_another_image(
    fake: FakeNode, points: Points, every: int
) -> None:
    data = fake.root / "var/lib/slivers/demo-one/upper/data"
    settings = data.parents[1] / "settings"

    def old(backend: Slivers) -> None:
        passes(NOTHING)(backend)
        passes(DESIRED)(backend)
        data.write_text("old")

    for _ in cut_short(fake, points, every, old, lambda backend: backend.recreate(NEWER, "demo_one")):
        assert not data.exists() or OLD in settings.read_text()
        passes(NEWER)(Slivers(fake.node))
        assert is_settled(fake, NEWER)
        assert data.exists() == (OLD in settings.read_text())
        assert images(fake) == {OLD if data.exists() else NEW}


def test_handing_over_to_another_slice_of_the_name(fake: FakeNode, points: Points, every: int) -> None:
    data = fake.root / "var/lib/slivers/demo-one/upper/data"
    keys = fake.root / "etc/ssh/slivers/demo_one"
    theirs = replace(SLIVER, slice_id=2, keys=(SliverKey("ssh", "ssh-ed25519 BBBB other"),))
    other = replace(DESIRED, slivers=(theirs,))

    def old(backend: Slivers) -> None:
        passes(NOTHING)(backend)
        passes(DESIRED)(backend)
        data.write_text("the former owner's")

    for _ in cut_short(fake, points, every, old, passes(other)):
        assert not (data.exists() and keys.exists() and "BBBB" in keys.read_text())
        passes(other)(Slivers(fake.node))
        assert is_settled(fake, other)
        assert not data.exists()


def test_a_folder_that_vanished_leaves_no_image_behind(fake: FakeNode, points: Points, every: int) -> None:
    def lost(backend: Slivers) -> None:
        passes(NOTHING)(backend)
        passes(DESIRED)(backend)
        shutil.rmtree(fake.root / "var/lib/slivers/demo-one")

    for _ in cut_short(fake, points, every, lost, passes(NEWER)):
        passes(NEWER)(Slivers(fake.node))
        assert is_settled(fake, NEWER)
        assert images(fake) == {NEW}
