"""Starting another system's disk: what GRUB finds on the dongle, and what a machine does that finds none."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from host import start_disk
from host.boot import Chain, ChainHow
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from hwdetect.content import MIB, DiskState
from hwdetect.inventory import Firmware, Inventory, Machine
from images.cache import Cache
from images.disk_record import NoDongle
from steps.base import Context, Facts
from steps.start_disk import DiskNotStarted, OtherSystemMissing, StartDisk
from tests.disk_images import sparse
from tests.unit.made_disks import BLANK
from tests.unit.signed_site import KEY
from wire.messages import DiskOrder, DiskRecord, ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings

ORDER = DiskOrder("o1", ImageRef("appliance", "0" * 64))
RECORD = DiskRecord("o1", ORDER.image, "S-1", "", 5, "0badcafe", "", whole=True)
EVENTS = Events("test")


class Machines:
    """A machine with the disk and a dongle, through several boots."""

    def __init__(self, folder, monkeypatch):
        self.disk = sparse(folder / "vda", 5 * MIB, {0: b"boot code", 20000: b"more of it"})
        self.dongle = folder / "dongle"
        self.dongle.mkdir()
        self.step = StartDisk()
        self._monkeypatch = monkeypatch
        self.reboot(1)

    def reboot(self, number):
        boot = f"00000000-0000-4000-8000-{number:012}"
        self._monkeypatch.setattr(start_disk, "this_boot", lambda: boot)

    def context(self, serial="S-1", records=(RECORD,), **cache):
        disk = replace(BLANK, path=str(self.disk), serial=serial, size_bytes=5 * MIB, state=DiskState.FOREIGN)
        facts = (
            NodeConfiguration(1, KEY, "http://server", NetworkSettings()),
            NodeDetails(
                1,
                "n",
                TargetState.BOOT,
                "r",
                1,
                ImageRef("base", ""),
                disk_image=ORDER,
                disk_records=records,
            ),
            Cache(cache.pop("folder", self.dongle), EVENTS, **cache),
            Inventory(Machine("", "", ""), Firmware.BIOS, 1, 1, (disk,), (), ()),
        )
        return Context(Host(None, None, EVENTS, Console([]), Options()), Facts(facts))

    @property
    def block(self):
        return (self.dongle / start_disk.ENVIRONMENT).read_bytes()

    def clear(self):
        """Do as GRUB does when it follows the wish."""
        cleared = self.block.replace(b"bm_disk_once=1", b"bm_disk_once=0")
        (self.dongle / start_disk.ENVIRONMENT).write_bytes(cleared)


@pytest.fixture
def machines(tmp_path, monkeypatch):
    return Machines(tmp_path, monkeypatch)


def start(machines):
    seen = machines.step.observe(machines.context())
    assert not seen.holds
    machines.step.run(machines.context())
    assert machines.step.observe(machines.context()).facts == (Chain(ChainHow.DISK),)


def test_grub_finds_a_flag_and_which_disk_is_meant(machines):
    start(machines)
    assert len(machines.block) == 1024
    assert machines.block.startswith(b"# GRUB Environment Block\n")
    assert b"\nbm_disk_once=1\n#" in machines.block
    expected = hashlib.sha256(machines.disk.read_bytes()[: 64 * 512]).hexdigest()
    assert (machines.dongle / "grub/bmdisk.sum").read_text() == f"{expected}  0+64\n"


def test_the_menu_has_the_same_names():
    menu = (Path(__file__).parents[2] / "build/iso/grub.cfg").read_text()
    for name in (start_disk.ENVIRONMENT, start_disk.CHECKSUM, "bm_disk_once", "BMCACHE"):
        assert str(name) in menu


def test_each_power_on_asks_anew(machines):
    for boot in range(1, 4):
        machines.reboot(boot)
        start(machines)
        machines.clear()


def test_a_wish_that_was_not_followed_is_an_error_and_no_loop(machines):
    start(machines)
    machines.reboot(2)
    assert not machines.step.observe(machines.context()).holds
    with pytest.raises(DiskNotStarted, match="S-1"):
        machines.step.run(machines.context())
    # Somebody looked into it: the next try is a new one.
    start(machines)


@pytest.mark.parametrize("cache", [{"folder": None}, {"writable": False}], ids=["none", "write-protected"])
def test_without_a_dongle_it_says_what_is_missing(machines, cache):
    with pytest.raises(NoDongle):
        machines.step.run(machines.context(**cache))


@pytest.mark.parametrize("how", [{"serial": "S-2"}, {"records": ()}], ids=["another disk", "nothing known"])
def test_a_disk_that_is_not_there_is_not_started(machines, how):
    for act in (machines.step.observe, machines.step.run):
        with pytest.raises(OtherSystemMissing):
            act(machines.context(**how))
    assert list(machines.dongle.iterdir()) == []


@pytest.mark.parametrize("block", [None, b"", b"\xff" * 1024, b"# GRUB Environment Block\nbm_disk_once=1\n"])
def test_what_is_no_wish_of_ours_is_none(block):
    assert start_disk.wish_of(block) is None
