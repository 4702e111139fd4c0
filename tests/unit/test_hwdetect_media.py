"""Which devices are looked into for a key, and which are the boot medium and the dongle."""

from dataclasses import replace
from pathlib import Path

import pytest

from host.mounts import Mount
from hwdetect import media
from hwdetect.dongle import Dongle
from hwdetect.marked_stick import may_become_dongle
from hwdetect.media import Candidate, Media, boot_disks, dongle_of, may_hold_key, own_medium
from hwdetect.udev import Device
from wire.medium import Medium

MIB = 1024 * 1024
PCI = "/sys/devices/pci0000:00/0000:00:04.0"
USB = "/sys/devices/pci0000:00/0000:00:05.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0"


def device(path, *, size=64 * MIB, fstype="", label="", table="", removable="0", parent=""):
    said = {"ID_FS_TYPE": fstype, "ID_FS_LABEL": label, "ID_PART_TABLE_UUID": table}
    name = path.rsplit("/", 1)[1]
    return Device(
        path=path,
        name=name,
        kind="partition" if parent else "disk",
        node=f"/dev/{name}",
        properties={key: value for key, value in said.items() if value},
        attributes={"size": str(size // 512), "removable": removable, "ro": "0"},
        parent=parent,
    )


BIG = 500 * 1024 * MIB
OURS = "b007b007-0a65-80bc-8c9b-6a237f92cfbb"
STICK = device(f"{USB}/block/sda", size=BIG, removable="1")
DISK = device(f"{PCI}/virtio1/block/vda", size=BIG)
OUR_DISK = device(f"{PCI}/virtio1/block/vda", size=BIG, table=OURS)
CASES = {
    "small vfat disk": (device(f"{PCI}/virtio1/block/vda", fstype="vfat"), True),
    "big vfat disk": (device(f"{PCI}/virtio1/block/vda", size=BIG, fstype="vfat"), False),
    "big removable disk": (device(f"{PCI}/block/sdb", size=BIG, fstype="ext4", removable="1"), True),
    "big USB disk": (device(f"{USB}/block/sda", size=BIG, fstype="vfat"), True),
    "CD": (device(f"{PCI}/ata1/block/sr0", size=BIG, fstype="iso9660", removable="1"), True),
    "big partition of a stick": (
        device(f"{STICK.path}/sda1", size=BIG, fstype="vfat", parent=STICK.path),
        True,
    ),
    "small partition of a disk": (device(f"{DISK.path}/vda1", fstype="vfat", parent=DISK.path), True),
    "our own boot partition": (device(f"{OUR_DISK.path}/vda2", fstype="ext4", parent=OUR_DISK.path), False),
    "memory card": (device(f"{PCI}/mmc0/block/mmcblk0", size=BIG, fstype="vfat"), True),
    "volume of LVM": (device("/sys/devices/virtual/block/dm-0", fstype="ext4"), False),
    "loop device": (device("/sys/devices/virtual/block/loop0", fstype="vfat"), False),
    "a type that is not mounted without a trace": (
        device(f"{PCI}/virtio1/block/vda", fstype="xfs"),
        False,
    ),
    "no file system": (device(f"{PCI}/virtio1/block/vda"), False),
    "drive without a disc": (device(f"{PCI}/ata1/block/sr0", size=0, fstype="iso9660"), False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_looked_into(name):
    asked, expected = CASES[name]
    whole = OUR_DISK if asked.parent == OUR_DISK.path and "our" in name else DISK
    assert may_hold_key(asked, (STICK, whole, asked), ()) is expected


def test_of_the_boot_mediums_partitions_only_the_identity_is_looked_into():
    parts = {
        label: device(f"{STICK.path}/sda{number}", fstype="vfat", label=label, parent=STICK.path)
        for number, label in ((2, "BMEFI"), (3, "BMKEY"))
    }
    block = (STICK, *parts.values())
    assert [label for label, part in parts.items() if may_hold_key(part, block, ("/dev/sda",))] == ["BMKEY"]
    assert all(may_hold_key(part, block, ()) for part in parts.values())


def test_the_boot_medium_is_known_by_its_mount_and_by_its_name():
    part = device(f"{STICK.path}/sda1", fstype="iso9660", parent=STICK.path)
    disc = device(f"{PCI}/ata1/block/sr0", fstype="iso9660", label="BMBOOT")
    mounts = (Mount("/dev/sda1", Path("/run/live/medium"), "iso9660", ("ro",)),)
    assert boot_disks((STICK, part, disc), mounts) == ("/dev/sda", "/dev/sr0")
    assert boot_disks((STICK, part), ()) == ()


def test_a_medium_that_another_one_started_leaves_the_plugged_in_one_its_role():
    """Then the layers are in memory, and the stick is mounted nowhere: its name alone says what it is."""
    stick = replace(STICK, properties={"ID_FS_TYPE": "iso9660", "ID_FS_LABEL": "BMBOOT"})
    identity = device(f"{STICK.path}/sda3", fstype="vfat", label="BMKEY", parent=STICK.path)
    block = (stick, identity)
    mounts = (Mount("tmpfs", Path("/run/live/medium"), "tmpfs", ("rw",)),)
    assert boot_disks(block, mounts) == ("/dev/sda",)
    assert may_hold_key(identity, block, ("/dev/sda",))
    # Pulled out, it is no more than gone.
    assert boot_disks((), mounts) == ()


def test_which_medium_this_is(tmp_path):
    assert own_medium(tmp_path) is None
    (tmp_path / "live").mkdir()
    for raw, found in ((b"{", None), (b'{"made": 5, "of": "abc"}', Medium(5, "abc"))):
        (tmp_path / "live/medium.json").write_bytes(raw)
        assert own_medium(tmp_path) == found


def test_the_dongle_is_known_by_its_label_and_usb_comes_first():
    inside = device(f"{PCI}/virtio1/block/vda", fstype="ext4", label="BMCACHE")
    stick = device(f"{USB}/block/sda", fstype="vfat", label="BMCACHE")
    assert dongle_of((inside, stick)) == Dongle("/dev/sda", "/dev/sda", "vfat", 64 * MIB)
    assert dongle_of((inside,)) == Dongle("/dev/vda", "/dev/vda", "ext4", 64 * MIB)
    on_ours = device(f"{OUR_DISK.path}/vda2", fstype="ext4", label="BMCACHE", parent=OUR_DISK.path)
    assert dongle_of((OUR_DISK, on_ours)) is None
    assert dongle_of(()) is None


def test_a_dongle_that_is_still_being_made_is_none():
    stick = device(f"{USB}/block/sda")
    part = device(f"{USB}/block/sda/sda1", fstype="ext4", label="BMCACHE", parent=stick.path)
    assert dongle_of((stick, part)) is not None
    begun = replace(part, properties={**part.properties, "ID_PART_ENTRY_TYPE": "0xda"})
    assert dongle_of((stick, begun)) is None


PLUGGED = device(f"{USB}/block/sda", removable="1")
ON_PLUGGED = device(f"{PLUGGED.path}/sda1", parent=PLUGGED.path)
MARKED_CASES = {
    "a stick": (PLUGGED, True),
    "a disk on USB": (device(f"{USB}/block/sda"), False),
    "a removable disk elsewhere": (device(f"{PCI}/block/sdb", removable="1"), False),
    "a write-protected stick": (replace(PLUGGED, attributes={**PLUGGED.attributes, "ro": "1"}), False),
    "a drive without a stick": (device(f"{USB}/block/sda", size=0, removable="1"), False),
    "a stick of no more than the mark": (device(f"{USB}/block/sda", size=4 * MIB, removable="1"), False),
    "a partition": (ON_PLUGGED, False),
}


@pytest.mark.parametrize("name", MARKED_CASES)
def test_where_a_mark_counts(name):
    asked, expected = MARKED_CASES[name]
    assert may_become_dongle(asked, (PLUGGED, ON_PLUGGED, asked), ()) is expected


def test_a_mark_on_a_stick_in_use_does_not_count():
    for node in ("/dev/sda", "/dev/sda1"):
        mounts = (Mount(node, Path("/mnt"), "vfat", ("rw",)),)
        assert not may_become_dongle(PLUGGED, (PLUGGED, ON_PLUGGED), mounts)


def test_a_marked_stick_is_not_installed_to():
    assert Media(marked=("/dev/sda",)).role("/dev/sda") == "stick marked for the cache"


def test_every_candidate_is_listed_and_a_hybrid_image_tells_its_files_once():
    found = [
        Candidate("/dev/sda", "/dev/sda", "plnode.txt", "A"),
        Candidate("/dev/sda1", "/dev/sda", "plnode.txt", "A"),
        Candidate("/dev/sdb", "/dev/sdb", "plnode.txt", "A"),
        Candidate("/dev/sdb", "/dev/sdb", "planet.cnf", "B"),
    ]
    assert list(media._different(found)) == [found[0], found[2], found[3]]
