"""The diskimage backend: what it says would be lost, what it refuses before a reboot, what it brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import diskimage as module
from configmanager.backends.base import Reboot, Verb
from configmanager.backends.diskimage import DiskImage
from host.storage import DiskRole, claim_guid
from hwdetect.content import DiskState
from hwdetect.disks import DiskNotFound, DiskTooSmall
from hwdetect.inventory import Disk, Firmware, Inventory, Machine
from images.disk_record import NoDongle
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.made_disks import BLANK, GIB
from wire.messages import DiskOrder, ImageRef
from wire.slivers import NodeSlivers

IMAGE = ImageRef("appliance", "0" * 64)
ORDER = DiskOrder("o1", IMAGE)
SYSTEM = replace(
    BLANK,
    path="/dev/vda",
    serial="S-1",
    state=DiskState.OURS,
    table_guid=claim_guid("run", DiskRole.SYSTEM, "S-1"),
    content=('vda2: ext4 "bm-boot", 512.0 MiB',),
    roles=("mounted at /boot",),
)
DATA = replace(BLANK, path="/dev/vdb", serial="S-2", size_bytes=GIB, wwn="0x5000")
KEY = replace(BLANK, path="/dev/sda", serial="KEY", roles=("key medium",))
DONGLE = replace(BLANK, path="/dev/sdb", serial="CACHE", roles=("cache dongle",))


class Bench:
    """An installed node whose disks are what the test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *disks: Disk) -> None:
        self.fake = FakeNode(folder)
        self.brought: list[ImageRef] = []
        self.size: int | Exception = 4 * GIB
        self.backend = DiskImage(replace(self.fake.node, bring=self._bring))
        found = Inventory(Machine("", "", ""), Firmware.BIOS, 1, GIB, disks, (), ())
        monkeypatch.setattr(module, "detect", lambda run: found)

    def _bring(self, ref: ImageRef) -> int:
        self.brought.append(ref)
        if isinstance(self.size, Exception):
            raise self.size
        return self.size

    def converge(self, **order: Any) -> tuple[list[str], list[Reboot]]:
        desired = NodeSlivers(1, 1, "node1", disk_image=replace(ORDER, **order))
        actions = self.backend.plan(desired, self.backend.observe())
        return [str(action) for action in actions], [self.backend.apply(desired, each) for each in actions]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch, KEY, SYSTEM, DATA, DONGLE)


def test_without_an_order_there_is_nothing_to_do(bench: Bench) -> None:
    assert bench.converge(id="") == ([], [])
    assert bench.brought == []


def test_the_plan_says_what_is_destroyed(bench: Bench) -> None:
    (said,), reboots = bench.converge()
    assert said.startswith(f"{Verb.CREATE} appliance: is wanted: the next boot writes it over this disk")
    for part in ("DESTROYS", "/dev/vda", "Testdisk", "serial S-1", "20.0 GiB", "bm-boot"):
        assert part in said
    assert bench.brought == [IMAGE]
    assert "serial S-1" in reboots[0].reason


def test_the_image_is_brought_before_the_reboot_and_asked_for_as_long_as_it_is_wanted(bench: Bench) -> None:
    for _ in range(2):
        _, reboots = bench.converge()
        assert len(reboots) == 1
    assert bench.fake.runner.argvs == []


@pytest.mark.parametrize("name", ["S-2", "s-2", "0x5000", "5000"])
def test_another_disk_may_be_named(bench: Bench, name: str) -> None:
    bench.size = GIB
    _, reboots = bench.converge(disk=name)
    assert "/dev/vdb" in reboots[0].reason


@pytest.mark.parametrize("name", ["KEY", "CACHE", "S-9"])
def test_media_and_strange_disks_cost_no_reboot(bench: Bench, name: str) -> None:
    with pytest.raises(DiskNotFound, match=name):
        bench.converge(disk=name)
    assert bench.brought == []


def test_a_disk_that_is_too_small_costs_no_reboot(bench: Bench) -> None:
    with pytest.raises(DiskTooSmall, match="4096 MiB"):
        bench.converge(disk="S-2")


def test_without_a_dongle_there_is_no_reboot(bench: Bench) -> None:
    bench.size = NoDongle("there is none")
    with pytest.raises(NoDongle):
        bench.converge()


def test_a_node_whose_system_disk_is_not_known_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch, replace(SYSTEM, state=DiskState.FOREIGN, table_guid=""))
    with pytest.raises(DiskNotFound, match="claimed"):
        bench.converge()
