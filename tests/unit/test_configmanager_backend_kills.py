"""A manager that ends at any point of making, changing or removing delegates, or slivers' folders of FIFOs.

The next one finishes it, and leaves nothing of what is not wanted. Here at some points, in
tests/host at each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Backend, Node
from configmanager.backends.delegates import FIRST, Delegates, delegates_of
from configmanager.backends.vsys import UNIT, Vsys
from configmanager.slots import Slots
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.test_configmanager_sliver_kills import Killed, Points, points_of
from wire.slivers import Account, NodeSlivers, Sliver

NOTHING = NodeSlivers(1000, 1, "node1")
SLIVERS = tuple(Sliver(name, number, 5000) for number, name in enumerate(("demo_one", "two"), 1))
ACCOUNTS = (Account("one", ("ssh-ed25519 A one",), "delegate"), Account("two", ("x y",), "delegate"))
WANTED = replace(NOTHING, slivers=SLIVERS, accounts=ACCOUNTS)
# One goes, the other's keys are others.
CHANGED = replace(NOTHING, slivers=SLIVERS[1:], accounts=(replace(ACCOUNTS[1], keys=("new key",)),))

Kind = Callable[[Node], Backend]


@pytest.fixture
def every() -> int:
    """Of so many points one is tried."""
    return 7


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    owners: dict[int, int] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        found = list(real(path))
        found[4] = owners.get(found[1], found[4])
        return os.stat_result(found)

    def chown(path: Path, user: int, _: int) -> None:
        owners[path.stat().st_ino] = user

    # Only root may give a folder away.
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(Path, "lstat", lstat)
    return FakeNode(tmp_path)


@pytest.fixture
def points(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Points:
    """Points before and after each command, durable write, and change of a folder or an owner."""
    points = points_of(fake.runner, monkeypatch)

    def passing(owner: object, name: str) -> None:
        work = getattr(owner, name)

        def passed(*arguments: object, **options: object) -> object:
            points.passed()
            done = work(*arguments, **options)
            points.passed()
            return done

        monkeypatch.setattr(owner, name, passed)

    for name in ("mkdir", "rename", "unlink"):
        passing(Path, name)
    passing(os, "chown")
    return points


def make_so(kind: Kind, node: Node, desired: NodeSlivers) -> None:
    backend = kind(node)
    for action in backend.plan(desired, backend.observe()):
        backend.apply(desired, action)


def cut_short(
    kind: Kind, fake: FakeNode, points: Points, every: int, before: NodeSlivers, work: NodeSlivers
) -> Iterator[int]:
    """For points of a pass to `work`: have it made after one to `before`, up to that point, and yield."""
    node = Node(points, fake.node.events, fake.node.unpack, fake.root)
    for number in range(0, 200, every):
        points.left = 10**6
        for desired in (NOTHING, before):
            make_so(kind, fake.node, desired)
        points.left = number
        try:
            make_so(kind, node, work)
        except Killed:
            points.left = 10**6
            yield number
        else:
            assert number > 4
            return
    raise AssertionError("it never ends")


def is_right(fake: FakeNode, desired: NodeSlivers) -> bool:
    """Whether there is what is wanted, whole, and nothing else."""
    keys = {path.name: path.read_text() for path in (fake.root / "etc/ssh/delegates").glob("*")}
    folders = {path.name for path in (fake.root / "run/vsys").glob("*")}
    accounts = set(delegates_of(fake.root).values())
    if accounts or keys:
        return accounts == set(keys) and keys == {
            item.name: "".join(f"{key}\n" for key in item.keys) for item in desired.delegates
        }
    names = {sliver.name for sliver in desired.slivers}
    return set(Slots(fake.root).all()) == names and folders == {name.replace("_", "-") for name in names}


@pytest.mark.parametrize("kind", [Vsys, Delegates])
@pytest.mark.parametrize(
    ("before", "work"),
    [(NOTHING, WANTED), (WANTED, CHANGED), (WANTED, NOTHING)],
    ids=["making", "changing", "removing"],
)
@pytest.mark.parametrize("then", [WANTED, CHANGED, NOTHING], ids=["wanted", "changed", "unwanted"])
def test_a_killed_managers_work_is_finished(
    fake: FakeNode,
    points: Points,
    every: int,
    kind: Kind,
    before: NodeSlivers,
    work: NodeSlivers,
    then: NodeSlivers,
) -> None:
    for number in cut_short(kind, fake, points, every, before, work):
        make_so(kind, fake.node, then)
        backend = kind(fake.node)
        assert backend.plan(then, backend.observe()) == (), number
        assert is_right(fake, then), number


def test_nobody_else_becomes_a_delegate_meanwhile(fake: FakeNode, points: Points, every: int) -> None:
    """A number is one delegate's, and keys are his, wherever it ends."""
    for _ in cut_short(Delegates, fake, points, every, WANTED, CHANGED):
        for name in delegates_of(fake.root).values():
            keys = fake.root / "etc/ssh/delegates" / name
            allowed = {f"{item.keys[0]}\n" for item in (*ACCOUNTS, *CHANGED.accounts) if item.name == name}
            assert not keys.exists() or keys.read_text() in allowed


def test_an_account_that_useradd_left_half_is_made_again(fake: FakeNode) -> None:
    make_so(Delegates, fake.node, WANTED)
    (fake.root / "etc/shadow").write_text("")
    make_so(Delegates, fake.node, WANTED)
    assert delegates_of(fake.root) == {FIRST: "one", FIRST + 1: "two"}
    assert "one:" in (fake.root / "etc/shadow").read_text()


def test_what_serves_the_fifos_runs_after_a_kill(fake: FakeNode, points: Points, every: int) -> None:
    for _ in cut_short(Vsys, fake, points, every, NOTHING, WANTED):
        make_so(Vsys, fake.node, WANTED)
        assert fake.runner.active[UNIT] == "active"
        fake.runner.active[UNIT] = "failed"
