"""From what udev said, recorded in a machine with a disk on every bus, to the inventory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from host import disks as host_disks
from host.mounts import Mount
from host.run import CommandMissing
from hwdetect import content
from hwdetect.content import Contents, DiskState
from hwdetect.inventory import (
    Firmware,
    Inventory,
    Machine,
    describe,
    disk_of,
    is_nic,
    nic_of,
    roles_of,
    with_plugins,
)
from hwdetect.lacking import Lacking
from hwdetect.udev import Device, is_disk, modules_of
from wire.structure import structure, unstructure

RECORDED = json.loads(Path(__file__).with_name("recorded").joinpath("qemu_buses.json").read_text())
BLOCK = tuple(Device(**device) for device in RECORDED["block"])
NET = tuple(Device(**device) for device in RECORDED["net"])
BLANK = Contents(DiskState.BLANK)
MOUNTS = (Mount("/dev/sdb1", Path("/mnt"), "ext4", ("rw",)),)
MIB = 1024 * 1024


def disks():
    return {
        device.name: disk_of(device, BLANK, roles_of(device, BLOCK, MOUNTS))
        for device in BLOCK
        if is_disk(device)
    }


# name: bus, model, serial, WWN, size, removable, read-only, rotational
DISKS = {
    "vda": ("virtio", "virtio disk", "TSTROOT", "", 1800, False, False, True),
    "sda": ("scsi", "QEMU HARDDISK", "SCSI0001", "0x5000c500aaaa5678", 300, False, False, True),
    "sdb": ("ata", "Testdisk", "SATA0001", "0x5000c50012345678", 300, False, False, True),
    "nvme0n1": (
        "nvme",
        "QEMU NVMe Ctrl",
        "NVME0001",
        "nvme.1b36-4e564d4530303031-51454d55204e564d65204374726c-00000001",
        300,
        False,
        False,
        False,
    ),
    "sdc": ("usb", "QEMU HARDDISK", "USBSTICK1", "", 64, True, False, True),
    "sdd": ("usb", "QEMU HARDDISK", "KEYSTICK1", "", 64, True, True, True),
}


def test_all_disks_and_nothing_else_are_disks():
    assert set(disks()) == set(DISKS)


@pytest.mark.parametrize("name", DISKS)
def test_a_disk_on_each_bus(name):
    disk = disks()[name]
    assert (
        disk.bus,
        disk.model,
        disk.serial,
        disk.wwn,
        disk.size_bytes // MIB,
        disk.removable,
        disk.read_only,
        disk.rotational,
    ) == DISKS[name]
    assert disk.path == f"/dev/{name}"


def test_what_a_disk_is_in_use_for():
    roles = {name: disk.roles for name, disk in disks().items() if disk.roles}
    assert roles == {
        "sdb": ("mounted at /mnt",),
        "sdc": ("cache dongle",),
        "sdd": ("key medium",),
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sda", True),
        ("sdaa", True),
        ("xvdb", True),
        ("cciss/c0d1", True),
        ("mmcblk0", True),
        ("md127", True),
        ("nvme1n12", True),
        ("mmcblk0boot0", False),
        ("loop0", False),
        ("ram0", False),
        ("zram0", False),
        ("dm-0", False),
        ("sr0", False),
        ("fd0", False),
        ("nbd0", False),
    ],
)
def test_names_of_disks(name, expected):
    device = Device(f"/sys/block/{name}", name, "disk", f"/dev/{name}", {}, {"size": "1000"})
    assert is_disk(device) is expected
    assert not is_disk(replace(device, attributes={"size": "0"})), "a card reader without a card"


def test_a_usb_bridge_that_passes_ata_through_is_on_usb():
    bridge = next(device for device in BLOCK if device.name == "sdc")
    assert disk_of(replace(bridge, properties={"ID_BUS": "ata"}), BLANK).bus == "usb"


def test_a_disk_without_udevs_database_is_named_by_sysfs():
    bare = replace(next(device for device in BLOCK if device.name == "nvme0n1"), properties={})
    disk = disk_of(bare, BLANK)
    assert (disk.model, disk.serial) == ("QEMU NVMe Ctrl", "NVME0001")


def test_network_interfaces():
    nics = [nic_of(device) for device in NET if is_nic(device)]
    assert [(nic.name, nic.driver, nic.mac) for nic in nics] == [
        ("ens3", "virtio_net", "52:54:00:12:34:56"),
        ("ens11", "e1000", "52:54:00:12:34:57"),
    ]


def test_modules_are_those_of_the_device_and_of_all_it_hangs_on(tmp_path):
    def driven(path, module, loadable=True):
        folder = tmp_path / "module" / module
        folder.mkdir(parents=True)
        if loadable:
            (folder / "initstate").touch()
        driver = tmp_path / "drivers" / module
        driver.mkdir(parents=True)
        (driver / "module").symlink_to(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / "driver").symlink_to(driver)

    controller = tmp_path / "devices/pci0/0000:00:07.0"
    target = controller / "host3/3:0:0:0"
    driven(tmp_path / "devices/pci0", "pcieport", loadable=False)
    driven(controller, "ahci")
    driven(target, "sd_mod")
    (target / "block/sda").mkdir(parents=True)
    assert modules_of(target / "block/sda") == ("ahci", "sd_mod")


def inventory():
    nics = tuple(nic_of(device) for device in NET if is_nic(device))
    return Inventory(
        Machine("QEMU", "Standard PC", ""),
        Firmware.BIOS,
        2,
        965 * MIB,
        tuple(disks().values()),
        nics,
        ("ahci",),
        lacking=(Lacking("usb", "1-2:1.0", "46f4:0001", "", "some.fw"),),
    )


def test_plug_ins_add_modules_and_see_the_inventory():
    def detector(found):
        return [f"raid_{disk.serial.lower()}" for disk in found.disks if disk.bus == "ata"]

    assert with_plugins(inventory(), [detector, lambda _: ()]).modules == ("ahci", "raid_sata0001")


def test_the_inventory_crosses_as_plain_data():
    found = inventory()
    assert structure(json.loads(json.dumps(unstructure(found))), Inventory) == found


def test_people_see_what_they_need_to_find_a_disk():
    text = describe(inventory())
    for said in (
        "QEMU Standard PC",
        "serial unknown",
        "965.0 MiB memory",
        "/dev/sdb ata Testdisk serial SATA0001 300.0 MiB [blank, mounted at /mnt]: nothing on it",
        "[blank, removable, read-only, key medium]",
        "network  ens11 52:54:00:12:34:57 e1000",
        "modules  ahci",
    ):
        assert said in text
    assert "disk     none" in describe(replace(inventory(), disks=(), nics=()))
    nic = Lacking("pci", "0000:02:00.0", "8086:1533", "I210")
    signed = replace(inventory(), firmware=Firmware.EFI, secure_boot=True, lacking=(nic,))
    assert "uefi with Secure Boot, 2 CPUs" in describe(signed)
    assert "lacking  pci 0000:02:00.0 [8086:1533] I210: no driver" in describe(signed)


def test_without_sfdisk_the_kernel_knows_what_partitions_there_are(tmp_path, monkeypatch):
    def run(argv, **_):
        raise CommandMissing(argv[0])

    for name, start, size in (("vda1", 2048, 2048), ("vda2", 4096, 1048576)):
        (tmp_path / "vda" / name).mkdir(parents=True)
        for key, value in (("partition", name[-1]), ("start", start), ("size", size)):
            (tmp_path / "vda" / name / key).write_text(f"{value}\n")
    (tmp_path / "vda/queue").mkdir()
    monkeypatch.setattr(host_disks, "SYS_BLOCK", tmp_path)
    assert content.partitions(run, "/dev/vda") == {
        "sectorsize": 512,
        "partitions": [
            {"node": "/dev/vda1", "start": 2048, "size": 2048},
            {"node": "/dev/vda2", "start": 4096, "size": 1048576},
        ],
    }
    assert content.partitions(run, "/dev/vdb")["partitions"] == []
