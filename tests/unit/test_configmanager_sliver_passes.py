"""A sliver's network, limits and container together, as the manager's passes make and remove them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager import plugins
from configmanager.backends import quota, sliver_start, sliver_tree
from configmanager.backends.base import Backend, Node
from configmanager.backends.network import Network
from configmanager.backends.network_kernel import FORWARDING
from configmanager.backends.resources import Resources
from configmanager.backends.sliver_start import Starter
from configmanager.backends.slivers import Slivers
from configmanager.converge import converge
from configmanager.slots import Slot, Slots
from host.run import Runner
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.configmanager_kernel import FakeKernel
from tests.unit.test_configmanager_sliver_kills import Killed, points_of
from tests.unit.test_configmanager_slivers import DESIRED, NOTHING, SLIVER, UNIT
from wire.slivers import NodeSlivers, Sliver

SECOND = replace(SLIVER, name="demo_two", slice_id=2, attributes=())
BOTH = replace(DESIRED, slivers=(SLIVER, SECOND))


@pytest.fixture
def every() -> int:
    """Of so many points at which a pass is cut short one is tried; in tests/host it is each."""
    return 7


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(sliver_start, "APART_SECONDS", 0.0)
    kernel = FakeKernel(tmp_path)
    kernel.keep_quotas(monkeypatch)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    return kernel


def node_with(runner: Runner, root: Path) -> Node:
    return replace(FakeNode(root).node, run=runner)


def backends(node: Node) -> tuple[Backend, ...]:
    return plugins.ordered((Slivers(node), Resources(node, 2), Network(node)))


def make_so(node: Node, desired: NodeSlivers) -> list[str]:
    """One pass; what failed in it."""
    return [failure.code for failure in converge(backends(node), desired, node.events).failed]


def bound(kernel: FakeKernel, slot: Slot) -> set[str]:
    """What goes by a sliver's number and is there."""
    root, number = kernel.root, slot.number
    there = {
        "rules": f'"{slot.interface}"' in kernel.table,
        "classes": any(f"51fe:{0x1000 + number:x}" in each for each in kernel.classes.values()),
        "quota": kernel.rooms.get(number, (0, 0)) != (0, 0),
        "account": f":{slot.account}:" in (root / "etc/passwd").read_text(),
        "folder": any(
            f"FIRST_USER={slot.first_user}\n" in file.read_text()
            for file in (root / "var/lib/slivers").glob("*/settings")
        ),
    }
    return {what for what, is_there in there.items() if is_there}


def is_empty(kernel: FakeKernel) -> bool:
    left = {path.name for path in kernel.root.rglob("*") if path.is_file()}
    rooms = set(kernel.rooms.values()) - {(0, 0)}
    return not (kernel.table or kernel.classes or rooms or kernel.forwards) and left - {"ip_forward"} <= {
        "passwd",
        "shadow",
        "slots.json",
    }


def test_all_of_it_is_made_and_removed_in_one_pass_each(kernel: FakeKernel, tmp_path: Path) -> None:
    node = node_with(kernel, tmp_path)
    assert make_so(node, BOTH) == []
    slots = Slots(tmp_path).all()
    assert all(len(bound(kernel, slot)) == 5 for slot in slots.values())
    assert kernel.active[UNIT] == "active"
    assert make_so(node, replace(BOTH, slivers=(SECOND,))) == []
    assert bound(kernel, slots["demo_one"]) == set()
    assert Slots(tmp_path).all() == {"demo_two": slots["demo_two"]}
    assert make_so(node, NOTHING) == []
    assert is_empty(kernel)
    assert Slots(tmp_path).all() == {}


def test_few_commands_come_before_a_new_sliver_starts(kernel: FakeKernel, tmp_path: Path) -> None:
    """Each is a process that the owner waits for."""
    node = node_with(kernel, tmp_path)
    every = backends(node)
    converge(every, replace(BOTH, slivers=(SECOND,)), node.events)
    before = len(kernel.argvs)
    converge(every, BOTH, node.events)
    words = kernel.argvs[before:]
    started = next(number for number, argv in enumerate(words) if argv[:2] == ["systemctl", "start"])
    assert started <= 24, words
    looks = [argv for argv in words[:started] if argv[0] == "nft" and argv[-2:] == ["inet", "slivers"]]
    # What there is before, and what the kernel shows of what was made.
    assert len(looks) == 2


def test_a_pass_that_changes_nothing_plans_nothing(kernel: FakeKernel, tmp_path: Path) -> None:
    node = node_with(kernel, tmp_path)
    for desired in (BOTH, replace(BOTH, slivers=(SECOND,)), BOTH):
        make_so(node, desired)
        assert converge(backends(node), desired, node.events).done == 0


def test_what_a_new_sliver_has_counts_from_its_first_byte(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[list[Path], tuple[int, int]]] = []
    attach = quota.attach

    def watched(run: Runner, folder: Path, project: int) -> None:
        found.append((list(folder.iterdir()), kernel.rooms[project]))
        attach(run, folder, project)

    monkeypatch.setattr(sliver_tree, "attach", watched)
    make_so(node_with(kernel, tmp_path), DESIRED)
    limit = (SLIVER.rspec.disk_max, SLIVER.rspec.inodes)
    assert found == [([], limit)]
    assert quota.project_of(tmp_path / "var/lib/slivers/demo-one") == 1


def cut_short(
    kernel: FakeKernel, root: Path, monkeypatch: pytest.MonkeyPatch, every, before, then
) -> Iterator[int]:  # type: ignore[no-untyped-def]
    """For points of a pass to `then`: have it made after one to `before`, up to that point, and yield."""
    points = points_of(kernel, monkeypatch)
    for number in range(0, 500, every):
        points.left = 10**6
        assert make_so(node_with(kernel, root), before) == []
        points.left = number
        try:
            make_so(node_with(points, root), then)
        except Killed:
            points.left = 10**6
            yield number
        else:
            assert number > 20
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("left", [(), (SECOND,)], ids=["the last one", "one of two"])
def test_a_number_is_free_only_when_nothing_goes_by_it(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, left: tuple[Sliver, ...]
) -> None:
    before, then = replace(DESIRED, slivers=(SLIVER, *left)), replace(DESIRED, slivers=left)
    for _ in cut_short(kernel, tmp_path, monkeypatch, every, before, then):
        held = set(Slots(tmp_path).all().values())
        assert Slot(1) in held or bound(kernel, Slot(1)) == set()
        assert make_so(node_with(kernel, tmp_path), then) == []
        assert bound(kernel, Slot(1)) == set()
        assert left or is_empty(kernel)
        assert [*Slots(tmp_path).all()] == [sliver.name for sliver in left]


def test_one_that_was_never_whole_leaves_nothing(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    for _ in cut_short(kernel, tmp_path, monkeypatch, every, NOTHING, DESIRED):
        assert make_so(node_with(kernel, tmp_path), NOTHING) == []
        assert is_empty(kernel)
        assert Slots(tmp_path).all() == {}


def test_no_sliver_starts_before_it_has_its_rules(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, rules = node_with(kernel, tmp_path), []
    start = Starter.start

    def watched(*arguments: Any, **options: Any) -> None:
        rules.append(kernel.table)
        start(*arguments, **options)

    monkeypatch.setattr(Starter, "start", watched)
    make_so(node, DESIRED)
    (text,) = rules
    for part in ('"sliver1" . 100.64.0.6', "tcp . 8080 : 100.64.0.6 . 80", "masquerade"):
        assert part in text
    # The node has booted, and the operator's file cannot be read.
    kernel.table, kernel.active[UNIT] = "", "inactive"
    file = tmp_path / "etc/configmanager.conf"
    file.write_text("rate = 1")
    assert make_so(node, DESIRED) == ["bad-network-settings", "network-missing"]
    file.unlink()
    assert make_so(node, DESIRED) == []
    assert kernel.active[UNIT] == "active"


def test_rules_that_are_gone_come_back_and_ports_move_with_one_transaction(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    node = node_with(kernel, tmp_path)
    make_so(node, BOTH)
    kernel.table = ""
    make_so(node, BOTH)
    assert "tcp . 8080 : 100.64.0.6 . 80 }" in kernel.table
    swapped = (replace(SLIVER, attributes=()), replace(SECOND, attributes=SLIVER.attributes))
    kernel.argvs.clear()
    assert make_so(node, replace(BOTH, slivers=swapped)) == []
    assert "tcp . 8080 : 100.64.0.10 . 80 }" in kernel.table
    assert kernel.argvs.count(["nft", "-f", "-"]) == 1
    assert kernel.verbs() == []


def test_what_cannot_be_stopped_is_shut_off_from_the_network(kernel: FakeKernel, tmp_path: Path) -> None:
    node = node_with(kernel, tmp_path)
    make_so(node, DESIRED)
    link = tmp_path / "sys/class/net/sliver1"
    link.mkdir(parents=True)
    kernel.stuck.add(UNIT)
    assert make_so(node, NOTHING) == ["sliver-failed"]
    assert "chain source" in kernel.table
    assert '"sliver1"' not in kernel.table
    kernel.stuck.clear()
    link.rmdir()
    assert make_so(node, NOTHING) == []
    assert is_empty(kernel)


def test_the_node_forwards_while_the_rules_are_there(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, states = node_with(kernel, tmp_path), []
    filtered = kernel._kernels_nft

    def watched(words: list[str], text: str) -> str:
        listed = filtered(words, text)
        if text:
            states.append((bool(kernel.table), kernel.forwards))
        return listed

    monkeypatch.setattr(kernel, "_kernels_nft", watched)
    make_so(node, DESIRED)
    assert (states, kernel.forwards) == ([(True, False)], True)
    # Somebody, or a reboot.
    (tmp_path / FORWARDING).write_text("0\n")
    make_so(node, DESIRED)
    assert kernel.forwards
    states.clear()
    make_so(node, NOTHING)
    assert states == [(False, False)]
