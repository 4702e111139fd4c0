"""Machines of the field: what is made of them, which disk is chosen and why not, which modules drive them."""

from dataclasses import replace

import pytest

from host.mounts import mounts_of
from hwdetect.disks import choose
from hwdetect.inventory import inventory_of
from hwdetect.media import Media, boot_disks, dongle_of
from hwdetect.recording import Recording
from tests.recorded_machines import NAMES, expected_of, recording_of
from wire.errors import UnsupportedHardware
from wire.messages import DiskPolicy, Minimum, VolumeSizes
from wire.structure import dump_json, structure_json, unstructure


def outcome(name):
    """Return the disks that an installation without named disks would use, or why there is none."""
    recording = recording_of(name)
    media = Media(boot_disks(recording.block, mounts_of(recording.mounts)), (), dongle_of(recording.block))
    try:
        choice = choose(DiskPolicy(), VolumeSizes(), Minimum(), inventory_of(recording), media, "run")
    except UnsupportedHardware as error:
        return {"code": error.code, "detail": error.detail}
    return {
        "system": choice.layout.system.path,
        "data": [disk.path for disk in choice.layout.data],
        "refused": {each.disk.path: each.reason for each in choice.refused},
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_inventory_of(name):
    assert unstructure(inventory_of(recording_of(name))) == expected_of(name)["inventory"]


@pytest.mark.parametrize("name", NAMES)
def test_the_disks_that_are_used_of(name):
    assert outcome(name) == expected_of(name)["disks"]


def test_no_disk_is_used_by_several_paths_at_once():
    found = inventory_of(recording_of("multipath"))
    local = inventory_of(recording_of("blade-4-nics")).disks
    both = replace(found, disks=(*(replace(disk, path="/dev/sdz") for disk in local), *found.disks))
    choice = choose(DiskPolicy(), VolumeSizes(), Minimum(), both, Media(), "run")
    assert [disk.path for disk in choice.layout.disks] == ["/dev/sdz"]
    assert all("one of several paths" in each.reason for each in choice.refused)


def test_nothing_but_whole_disks_and_real_interfaces_is_told_of():
    """Boot partitions of eMMC, a floppy, a disc, volumes, and a card reader without a card are no disks."""
    paths = {name: [disk.path for disk in inventory_of(recording_of(name)).disks] for name in NAMES}
    assert paths["emmc"] == ["/dev/mmcblk0"]
    assert paths["virtio-vm"] == ["/dev/vda"]
    assert sorted(paths["bios-3tb"]) == ["/dev/sda", "/dev/sdb"]
    assert paths["usb-only"] == ["/dev/sda", "/dev/sdb"]
    assert "/dev/dm-0" not in paths["multipath"]
    assert not any(nic.name == "lo" for name in NAMES for nic in inventory_of(recording_of(name)).nics)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_whole_as_data(name):
    recording = recording_of(name)
    assert structure_json(dump_json(recording), Recording) == recording
