"""Which disks are used: a table of machines and what comes of each."""

from dataclasses import replace

import pytest

from host.storage import DiskRole, claim_guid
from hwdetect.content import MIB, DiskState
from hwdetect.disks import (
    DiskHoldsData,
    DiskNotFound,
    DiskRefused,
    DisksAmbiguous,
    DiskTooSmall,
    NoDisk,
    choose,
    needs_confirmation,
)
from hwdetect.dongle import Dongle
from hwdetect.inventory import Firmware, Inventory, Machine
from hwdetect.media import Candidate, Media
from tests.unit.made_disks import BLANK, GIB
from wire.messages import DiskPolicy, Minimum, VolumeSizes

RUN, OLD_RUN = "aa" * 16, "bb" * 16


def blank(name, **more):
    serial = more.pop("serial", f"S-{name}")
    return replace(BLANK, path=f"/dev/{name}", serial=serial, **more)


def ours(name, role, run=OLD_RUN, **more):
    guid = claim_guid(run, role, f"S-{name}")
    return blank(name, state=DiskState.OURS, table_type="gpt", table_guid=guid, **more)


def foreign(name, **more):
    return blank(name, state=DiskState.FOREIGN, content=("ext4 precious",), **more)


def inventory(*disks):
    return Inventory(Machine("", "", ""), Firmware.BIOS, 2, GIB, tuple(disks), (), ())


def pick(*disks, policy=None, media=None, sizes=None):
    policy, media, sizes = policy or DiskPolicy(), media or Media(), sizes or VolumeSizes()
    return choose(policy, sizes, Minimum(), inventory(*disks), media, RUN)


def used(choice):
    return choice.layout.system.path, [disk.path for disk in choice.layout.data]


SYSTEM, DATA = DiskRole.SYSTEM, DiskRole.DATA
NAMED = DiskPolicy(system="S-vda")

GOOD = {
    "the only disk, blank": ([blank("vda")], DiskPolicy(), ("/dev/vda", [])),
    "the only disk, ours": ([ours("vda", SYSTEM)], DiskPolicy(), ("/dev/vda", [])),
    "named, a blank one joins": ([blank("vda"), blank("vdb")], NAMED, ("/dev/vda", ["/dev/vdb"])),
    "named in other case": ([blank("vda"), blank("vdb")], DiskPolicy("s-VDB"), ("/dev/vdb", ["/dev/vda"])),
    "named by WWN": (
        [blank("vda"), blank("vdb", wwn="0x5000c500aaaa5678")],
        DiskPolicy("0x5000C500AAAA5678"),
        ("/dev/vdb", ["/dev/vda"]),
    ),
    "no data disks wanted": (
        [blank("vda"), blank("vdb")],
        DiskPolicy("S-vda", "none"),
        ("/dev/vda", []),
    ),
    "data disks named": (
        [blank("vda"), blank("vdb"), foreign("vdc"), blank("vdd")],
        DiskPolicy("S-vda", "S-vdc, S-vdd"),
        ("/dev/vda", ["/dev/vdc", "/dev/vdd"]),
    ),
    "data disk named, system not": (
        [blank("vda"), blank("vdb")],
        DiskPolicy("", "S-vda"),
        ("/dev/vdb", ["/dev/vda"]),
    ),
    "the former system disk before a blank one": (
        [blank("vda"), ours("vdb", SYSTEM)],
        DiskPolicy(),
        ("/dev/vdb", ["/dev/vda"]),
    ),
    "the former system disk before the former data disk": (
        [ours("vda", DATA), ours("vdb", SYSTEM)],
        DiskPolicy(),
        ("/dev/vdb", ["/dev/vda"]),
    ),
    "a foreign one beside a blank one": ([blank("vda"), foreign("vdb")], DiskPolicy(), ("/dev/vda", [])),
    "a foreign one, named": ([foreign("vda")], NAMED, ("/dev/vda", [])),
    "on USB, named": ([blank("sda", bus="usb", serial="S-vda")], NAMED, ("/dev/sda", [])),
    "USB and removable ones are no data disks": (
        [blank("vda"), blank("sda", bus="usb"), blank("sdb", removable=True)],
        DiskPolicy(),
        ("/dev/vda", []),
    ),
    "a tiny one is no data disk": ([blank("vda"), blank("vdb", size_bytes=MIB)], NAMED, ("/dev/vda", [])),
    "a write-protected one is none": ([blank("vda"), blank("vdb", read_only=True)], NAMED, ("/dev/vda", [])),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_machines(name):
    disks, policy, expected = GOOD[name]
    assert used(pick(*disks, policy=policy)) == expected


BAD = {
    "none at all": ([], DiskPolicy(), NoDisk, "no disk at all"),
    "only a stick": ([blank("sda", bus="usb")], DiskPolicy(), NoDisk, "does not name it"),
    "only the boot medium": ([blank("vda", roles=("boot medium",))], DiskPolicy(), NoDisk, "boot medium"),
    "unreadable": ([blank("vda", state=DiskState.UNREADABLE)], DiskPolicy(), NoDisk, "cannot be read"),
    "too small": ([blank("vda", size_bytes=GIB)], DiskPolicy(), DiskTooSmall, "4244 MiB"),
    "named, too small": ([blank("vda", size_bytes=GIB)], NAMED, DiskTooSmall, "4244 MiB"),
    "foreign": ([foreign("vda")], DiskPolicy(), DiskHoldsData, "ext4 precious"),
    "two blank ones": ([blank("vda"), blank("vdb")], DiskPolicy(), DisksAmbiguous, "S-vda"),
    "two former system disks": (
        [ours("vda", SYSTEM), ours("vdb", SYSTEM)],
        DiskPolicy(),
        DisksAmbiguous,
        "S-vdb",
    ),
    "one blank, one former data disk": (
        [blank("vda"), ours("vdb", DATA)],
        DiskPolicy(),
        DisksAmbiguous,
        "20.0 GiB",
    ),
    "named, absent": ([blank("vdb")], NAMED, DiskNotFound, "S-vdb"),
    "named, twice there": (
        [blank("vda"), blank("vdb", serial="S-vda")],
        NAMED,
        DisksAmbiguous,
        "2 disks",
    ),
    "named, the boot medium": ([blank("vda", roles=("boot medium",))], NAMED, DiskRefused, "boot medium"),
    "named, mounted": ([blank("vda", roles=("mounted at /x",))], NAMED, DiskRefused, "is mounted at /x"),
    "named, write-protected": ([blank("vda", read_only=True)], NAMED, DiskRefused, "write-protected"),
    "named for both": ([blank("vda")], DiskPolicy("S-vda", "S-vda"), DiskRefused, "both"),
    "data named, absent": ([blank("vda")], DiskPolicy("S-vda", "S-x"), DiskNotFound, "S-x"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_machines(name):
    disks, policy, error, text = BAD[name]
    with pytest.raises(error, match=text):
        pick(*disks, policy=policy)


def test_an_ambiguous_choice_lists_model_serial_size_and_content():
    with pytest.raises(DisksAmbiguous) as caught:
        pick(blank("vda"), ours("vdb", DATA, content=("vdb1: LVM physical volume, 2.0 GiB",)))
    for text in ("Testdisk", "S-vda", "S-vdb", "20.0 GiB", "nothing on it", "LVM physical volume"):
        assert text in caught.value.detail


@pytest.mark.parametrize(
    "media",
    [
        Media(boot=("/dev/vda",)),
        Media(candidates=(Candidate("/dev/vda1", "/dev/vda", "plnode.txt", "secret"),)),
        Media(dongle=Dongle("/dev/vda1", "/dev/vda", "ext4", GIB)),
    ],
)
def test_media_are_never_written(media):
    assert used(pick(blank("vda"), blank("vdb"), media=media)) == ("/dev/vdb", [])
    with pytest.raises(DiskRefused):
        pick(blank("vda"), blank("vdb"), media=media, policy=NAMED)
    with pytest.raises(DiskRefused):
        pick(blank("vda"), blank("vdb"), media=media, policy=DiskPolicy("S-vdb", "S-vda"))


def test_refused_disks_are_told_with_the_reason():
    choice = pick(blank("vda"), foreign("vdb"), blank("vdc", bus="usb"), policy=NAMED)
    assert {refused.disk.path: refused.reason for refused in choice.refused} == {
        "/dev/vdb": "it holds data that is not ours",
        "/dev/vdc": "it is on USB or removable, and the configuration does not name it",
    }


def test_volumes_that_are_larger_than_the_disk():
    with pytest.raises(DiskTooSmall, match="22676 MiB are needed"):
        pick(blank("vda"), sizes=VolumeSizes(root_mib=21 * 1024))


def test_the_role_survives_a_cut_between_two_claims():
    # Both were just claimed, neither has a partition yet: the role stands in the claim.
    disks = [ours("vda", DATA, run=RUN), ours("vdb", SYSTEM, run=RUN)]
    choice = pick(*disks)
    assert used(choice) == ("/dev/vdb", ["/dev/vda"])
    assert all(disk.claimed_by_this_run for disk in choice.layout.disks)


def test_who_is_asked_about():
    disks = [ours("vda", SYSTEM, run=RUN), ours("vdb", DATA), foreign("vdc"), blank("vdd"), foreign("vde")]
    machine = inventory(*disks)
    policy = DiskPolicy("S-vda", "S-vdb,S-vdc,S-vdd")
    layout = pick(*disks, policy=policy).layout
    assert [disk.path for disk in needs_confirmation(layout, machine)] == ["/dev/vdb", "/dev/vdc"]


def test_the_key_stays_out_of_representations():
    assert "secret" not in repr(Candidate("/dev/sda", "/dev/sda", "plnode.txt", "secret"))
