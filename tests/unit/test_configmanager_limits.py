"""Drop-ins of slices, quota reports, and what the backends plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import slice_files
from configmanager.backends.base import Item, Verb
from configmanager.backends.network import RULES, Network
from configmanager.backends.quota import Room, read_report
from configmanager.backends.resources import ProcessorsGiven, Resources
from configmanager.backends.slice_files import ALL, Limits
from configmanager.backends.units import sliver_slice
from configmanager.slots import Slots
from host.run import Completed
from tests.unit.configmanager_fakes import FakeNode, FakeRunner
from wire.rspec import RSpec
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver

UNITS = Path("etc/systemd/system")


def sliver(name: str, slice_id: int = 1, **attributes: int) -> Sliver:
    given = tuple(Attribute(key, str(value)) for key, value in attributes.items())
    return Sliver(name, slice_id, 2, attributes=given)


def wanted(*slivers: Sliver) -> NodeSlivers:
    return NodeSlivers(1, 1, "node", slivers)


class FakeSystemd(FakeRunner):
    """systemctl as far as properties go: set-property writes files of its own, as the real one does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def __call__(self, argv: Sequence[Any], **more: Any) -> Completed:
        words = [str(word) for word in argv]
        if words[:3] == ["systemctl", "set-property", "--runtime"]:
            folder = self.root / f"run/systemd/system.control/{words[4]}.d"
            folder.mkdir(parents=True)
            for pair in words[5:]:
                name = pair.partition("=")[0]
                (folder / f"50-{name}.conf").write_text(f"[Slice]\n{pair}\n")
        return super().__call__(argv, **more)

    def settings(self) -> list[list[str]]:
        """What was set, by unit."""
        return [words[4:] for words in self.argvs if words[1] == "set-property"]


@pytest.fixture
def systemd(tmp_path: Path) -> FakeSystemd:
    return FakeSystemd(tmp_path)


@pytest.fixture
def resources(tmp_path: Path, systemd: FakeSystemd) -> Resources:
    return Resources(replace(FakeNode(tmp_path).node, run=systemd), 2)


def converge(backend: Resources, desired: NodeSlivers) -> list[tuple[Verb, str]]:
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    assert backend.plan(desired, backend.observe()) == ()
    return [(action.verb, action.name) for action in actions]


def test_a_drop_in_is_read_as_it_was_written() -> None:
    rspec = RSpec(memory_max=65_536, memory_high=32_768, pids_max=100, io_weight=50, disk_max=20_000)
    limits = Limits.of("demo_one", rspec, 77)
    text = slice_files.text(limits, 5)
    assert "MemoryMax=67108864\nMemorySwapMax=0\n" in text
    written = slice_files.read(text)
    assert (written.limits, written.project) == (limits, 5)
    assert written.properties["TasksMax"] == "100"
    unlimited = slice_files.text(Limits.of("demo_one", RSpec(), 32), 5)
    assert "MemoryHigh=infinity\nMemoryMax=infinity\nMemorySwapMax=infinity\n" in unlimited


@pytest.mark.parametrize("text", ["", "[Slice]\nCPUWeight=1\n", "junk", "[X-Sliver]\nName=a\n[Slice]\n"])
def test_a_damaged_drop_in_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        slice_files.read(text)


def test_slices_have_escaped_names() -> None:
    assert sliver_slice("demo-one") == "slivers-demo\\x2done.slice"


def test_limits_are_written_changed_and_removed(tmp_path: Path, resources: Resources) -> None:
    folder = tmp_path / UNITS / f"{sliver_slice('demo-one')}.d"
    desired = wanted(sliver("demo_one", cpu_share=96))
    assert converge(resources, desired) == [(Verb.CREATE, ALL), (Verb.CREATE, "demo_one")]
    assert "CPUWeight=96\n" in (folder / slice_files.FILE_NAME).read_text()
    assert converge(resources, wanted(sliver("demo_one", cpu_share=64))) == [(Verb.CHANGE, "demo_one")]
    assert converge(resources, wanted()) == [(Verb.REMOVE, ALL), (Verb.REMOVE, "demo_one")]
    assert not list((tmp_path / UNITS).iterdir())
    assert not list((tmp_path / "run/systemd/system.control").iterdir())
    assert Slots(tmp_path).all() == {}


def test_each_sliver_is_set_alone_and_its_drop_in_stays_the_only_word(
    tmp_path: Path, systemd: FakeSystemd, resources: Resources
) -> None:
    converge(resources, wanted(sliver("a")))
    systemd.argvs.clear()
    converge(resources, wanted(sliver("a"), sliver("b", 2)))
    ((unit, *properties),) = systemd.settings()
    assert unit == sliver_slice("b")
    assert {"CPUWeight=32", "TasksMax=4096", "MemoryMax=infinity"} <= set(properties)
    assert not list((tmp_path / "run/systemd/system.control").iterdir())


def test_limits_of_the_kernel_are_what_counts(tmp_path: Path, resources: Resources) -> None:
    desired = wanted(sliver("a", memory_max=65_538))
    converge(resources, desired)
    group = tmp_path / "sys/fs/cgroup/slivers.slice" / sliver_slice("a")
    group.mkdir(parents=True)
    for file, value in (("cpu.weight", "32"), ("io.weight", "default 100"), ("memory.max", "67108864")):
        (group / file).write_text(f"{value}\n")
    assert resources.plan(desired, resources.observe()) == ()
    for file, value in (("cpu.weight", "5"), ("memory.max", "max"), ("memory.max", "4096")):
        before = (group / file).read_text()
        (group / file).write_text(f"{value}\n")
        assert [action.name for action in resources.plan(desired, resources.observe())] == ["a"]
        (group / file).write_text(before)


def test_what_was_set_by_hand_does_not_stay(tmp_path: Path, resources: Resources) -> None:
    desired = wanted(sliver("a"))
    converge(resources, desired)
    by_hand = tmp_path / f"run/systemd/system.control/{sliver_slice('a')}.d"
    by_hand.mkdir()
    assert [action.name for action in resources.plan(desired, resources.observe())] == ["a"]


def test_a_guarantee_that_cannot_be_is_said_at_each_pass_and_harms_nobody(resources: Resources) -> None:
    desired = wanted(sliver("young", 9, cpu_min=1000), sliver("old", 3, cpu_min=1000))
    for _ in range(2):
        for action in resources.plan(desired, resources.observe()):
            if action.name == "young":
                with pytest.raises(ProcessorsGiven, match="young wants 1000 ms/s"):
                    resources.apply(desired, action)
            else:
                resources.apply(desired, action)
    assert [action.name for action in resources.plan(desired, resources.observe())] == ["young"]


def test_limits_stay_while_anything_of_the_sliver_is_there(tmp_path: Path, resources: Resources) -> None:
    converge(resources, wanted(sliver("demo_one")))
    group = tmp_path / "sys/fs/cgroup/slivers.slice" / sliver_slice("demo-one")
    group.mkdir(parents=True)
    (group / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    resources.teardown("demo_one")
    assert "demo_one" in [item.name for item in resources.observe()]
    (group / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    folder = tmp_path / "var/lib/slivers/demo-one"
    folder.mkdir(parents=True)
    resources.teardown("demo_one")
    assert "demo_one" in [item.name for item in resources.observe()]
    folder.rmdir()
    resources.teardown("demo_one")
    resources.teardown("demo_one")
    assert "demo_one" not in [item.name for item in resources.observe()]


def test_others_slivers_are_not_ours_to_limit(resources: Resources) -> None:
    other = replace(sliver("demo"), instantiation=Instantiation.DELEGATED)
    assert resources.plan(wanted(other), ()) == ()


def test_a_quota_report_is_read() -> None:
    report = (
        "Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,FileUsed,"
        "FileSoftLimit,FileHardLimit,FileGrace\n"
        "#0,ok,ok,20,0,0,0,2,0,0,0\n"
        "#7,ok,ok,20,0,20000,,2,0,1250,\n"
        "\nStatistics:\nTotal blocks: 6\n"
    )
    assert read_report(report) == {7: Room(20_000, 1250)}


def test_rules_are_one_thing_that_follows_what_concerns_them(tmp_path: Path) -> None:
    network = Network(FakeNode(tmp_path).node)
    (create,) = network.plan(wanted(sliver("a")), ())
    digest = network._digest(wanted(sliver("a")))
    assert (create.verb, create.name) == (Verb.CREATE, RULES)

    def changes(*slivers: Sliver) -> bool:
        before = (Item(RULES, digest, True),)
        return bool(network.plan(wanted(*slivers), before))

    assert not changes(sliver("a"))
    assert not changes(sliver("a", cpu_share=64))
    assert changes(sliver("a", net_max=64))
    assert changes(sliver("a", 2))
    assert changes(sliver("a"), sliver("b"))
    assert changes(replace(sliver("a"), attributes=(Attribute("ports", "tcp:80:80"),)))
    assert [each.verb for each in network.plan(wanted(), (Item(RULES, "", True),))] == [Verb.REMOVE]
    assert network.plan(wanted(), ()) == ()
