"""The steps that make the disk start by itself, and look after that: what is written when, what is mended."""

from contextlib import contextmanager

import pytest

from host.console import Console
from host.events import Events
from host.mark import Mark
from host.network_files import INSTALLED_FOLDER, write
from host.options import Options
from host.ports import Host
from host.run import Completed
from host.storage import Layout, LayoutDisk, filesystem_uuid
from hwdetect.inventory import Firmware, Inventory
from hwdetect.inventory import Machine as Model
from steps import bootloader, repair
from steps.base import Context, Facts
from steps.bootloader import MARKER, Bootloader
from steps.repair import Repair
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

BOOT = filesystem_uuid("run", "bm-boot")
CONFIGURATION = NodeConfiguration(1, NodeKey(b"k" * 32), "http://server", NetworkSettings())


class Machine:
    """An installed tree in a folder; `whole` is its EFI system partition, `did` what was done."""

    def __init__(self, folder, monkeypatch):
        self.root, self.did, self.whole = folder, [], False
        (folder / "boot/grub").mkdir(parents=True)
        for name in ("vmlinuz-6.1", "initrd.img-6.1"):
            (folder / "boot" / name).touch()
        for step in (bootloader, repair):
            monkeypatch.setattr(step, "target", self.mounted)
            monkeypatch.setattr(step, "make_esp", self.make_esp)
        monkeypatch.setattr(bootloader, "read_installed", lambda run, path: self.read(path))
        monkeypatch.setattr(bootloader, "make_initramfs", lambda *_: None)
        monkeypatch.setattr(repair, "read_all_installed", lambda run, paths: {p: self.read(p) for p in paths})
        monkeypatch.setattr(repair, "target_read_only", self.mounted)
        monkeypatch.setattr(repair, "esp_of_root", lambda run: "/dev/vda2")
        monkeypatch.setattr(repair, "is_whole", self.is_whole)

    def run(self, argv, **_):
        self.did.append(argv[0])
        return Completed(tuple(map(str, argv)), 0, "", "", 0.0)

    def read(self, path):
        return (self.root / path).read_text() if (self.root / path).exists() else None

    def is_whole(self, run, device, root, boot):
        assert (device, root, boot) == ("/dev/vda2", self.root, BOOT)
        return self.whole

    def make_esp(self, run, device, root, boot):
        assert (device, root, boot) == ("/dev/vda2", self.root, BOOT)
        self.did.append("esp")
        self.whole = True

    @contextmanager
    def mounted(self, run, **_):
        yield self.root

    @property
    def context(self):
        facts = (
            CONFIGURATION,
            Mark("run", 1, (), ""),
            NodeDetails(1, "n", TargetState.INST, "run", 1, ImageRef("b", "0")),
            Layout("run", LayoutDisk("/dev/vda", "S", 0, ""), (), 32, 32, 96),
            Inventory(Model("", "", ""), Firmware.EFI, 1, 1, (), (), ()),
        )
        return Context(Host(self.run, None, Events("test"), Console([]), Options()), Facts(facts))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_the_disk_is_made_to_start_by_both_firmwares_whatever_this_machine_has(machine):
    seen = Bootloader().observe(machine.context)
    assert [change.target for change in seen.changes] == ["/dev/vda", "/dev/vda2"]
    Bootloader().run(machine.context)
    assert machine.did == ["grub-install", "esp", "grub-editenv"]
    assert f"search --no-floppy --fs-uuid {BOOT} " in machine.read("boot/grub/grub.cfg")
    assert Bootloader().observe(machine.context).holds


@pytest.mark.parametrize("cut", ["esp", "grub-install", "grub-editenv"])
def test_cut_off_before_the_end_it_is_done_again(machine, monkeypatch, cut):
    def end(*words, **_):
        if cut == "esp" or words[0][0] == cut:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((bootloader, "make_esp") if cut == "esp" else (machine, "run")), end)
        with pytest.raises(KeyboardInterrupt):
            Bootloader().run(machine.context)
    assert machine.read(MARKER) is None
    assert not Bootloader().observe(machine.context).holds


def test_repair_makes_anew_what_uefi_firmware_could_not_start(machine):
    write(CONFIGURATION.network, machine.root / INSTALLED_FOLDER)
    seen = Repair().observe(machine.context)
    assert [change.target for change in seen.changes] == ["/dev/vda2"]
    Repair().run(machine.context)
    assert machine.did == ["esp"]
    assert Repair().observe(machine.context).holds


def test_repair_of_the_network_leaves_loaders_alone_that_are_whole(machine):
    machine.whole = True
    seen = Repair().observe(machine.context)
    assert [change.text for change in seen.changes] == ["network of the key medium"]
    Repair().run(machine.context)
    assert machine.did == []
    assert Repair().observe(machine.context).holds
