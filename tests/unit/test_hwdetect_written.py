"""Disks with another system on them: by what they are recognised, and by what not."""

import uuid
from dataclasses import replace

import pytest

from host.storage import CLAIM_MAGIC, DiskRole, claim_guid
from hwdetect.content import MIB, DiskState
from hwdetect.disks import DiskHoldsData, DiskNameless, DiskRefused, choose, image_disk
from hwdetect.inventory import Firmware, Inventory, Machine
from hwdetect.media import Media
from hwdetect.written import recognised, table_id
from tests.disk_images import gpt_head, mbr_head
from tests.unit.made_disks import BLANK, GIB
from wire.messages import DiskPolicy, DiskRecord, ImageRef, Minimum, VolumeSizes

GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
CLAIM = claim_guid("order", DiskRole.SYSTEM, "S-1")
FOREIGN = replace(
    BLANK, path="/dev/vda", serial="S-1", state=DiskState.FOREIGN, table_guid=GUID, content=("ext4",)
)
RECORD = DiskRecord("order", ImageRef("other", "0" * 64), "S-1", "", 20 * 1024, GUID, CLAIM, whole=True)
WRITING = replace(RECORD, whole=False)


def machine(*disks):
    return Inventory(Machine("", "", ""), Firmware.BIOS, 1, GIB, disks, (), ())


def seen(disk, record=RECORD, head=None):
    begin = gpt_head(GUID) if head is None else head
    (found,) = recognised(machine(disk), [record], lambda path: begin).disks
    return found


def test_the_table_is_read_as_blkid_has_it():
    assert table_id(gpt_head(GUID)) == str(uuid.UUID(GUID))
    assert table_id(gpt_head(GUID, sector=4096)) == GUID
    assert table_id(mbr_head(0xDEADBEEF)) == "deadbeef"
    assert table_id(mbr_head(0x00000BAD)) == "00000bad"
    for nothing in (b"", bytes(MIB), mbr_head(0), b"\xeb" * 4096):
        assert table_id(nothing) == ""


def test_a_disk_that_holds_what_was_noted_is_ours():
    found = seen(FOREIGN)
    assert (found.state, found.table_guid) == (DiskState.OURS, CLAIM)
    assert found.content == ("ext4",)


@pytest.mark.parametrize(
    ("disk", "record", "head"),
    [
        (FOREIGN, RECORD, gpt_head(str(uuid.UUID(int=7)))),
        (FOREIGN, RECORD, bytes(MIB)),
        (FOREIGN, RECORD, mbr_head(1)),
        (FOREIGN, replace(RECORD, serial="S-2"), None),
        (FOREIGN, replace(RECORD, wwn="0x1"), None),
        (FOREIGN, replace(RECORD, size_mib=20 * 1024 + 1), None),
        (replace(FOREIGN, serial=""), replace(RECORD, serial=""), None),
        (FOREIGN, WRITING, gpt_head(str(uuid.UUID(int=7)))),
        (FOREIGN, WRITING, bytes(MIB - 1) + b"x"),
    ],
    ids=[
        "another table",
        "a table that is gone",
        "an MBR",
        "another serial number",
        "another WWN",
        "another size",
        "no name at all",
        "another table while it was written",
        "something at the beginning while it was written",
    ],
)
def test_any_other_disk_is_not(disk, record, head):
    assert seen(disk, record, head) == disk


@pytest.mark.parametrize("head", [bytes(MIB), gpt_head(GUID)], ids=["cut in the middle", "cut at the end"])
def test_a_disk_whose_writing_was_cut_off_is_ours(head):
    assert seen(FOREIGN, WRITING, head).state is DiskState.OURS


def test_a_disk_that_cannot_be_read_is_not():
    def broken(path):
        raise OSError(5, "Input/output error")

    assert recognised(machine(FOREIGN), [RECORD], broken).disks == (FOREIGN,)


def test_blank_disks_and_our_own_stay_what_they_are():
    own = replace(FOREIGN, state=DiskState.OURS, table_guid=claim_guid("run", DiskRole.DATA, "S-1"))
    for disk in (own, replace(FOREIGN, state=DiskState.BLANK), replace(FOREIGN, state=DiskState.UNREADABLE)):
        assert seen(disk) == disk


def test_a_reinstallation_takes_the_disk_that_was_the_system_disk_and_asks_nobody():
    data = replace(
        BLANK,
        path="/dev/vdb",
        serial="S-9",
        state=DiskState.OURS,
        table_guid=claim_guid("run", DiskRole.DATA, "S-9"),
    )
    inventory = machine(data, FOREIGN)
    what = (DiskPolicy(), VolumeSizes(), Minimum())
    with pytest.raises(DiskHoldsData):
        choose(*what, machine(FOREIGN), Media(), "run2")
    ours = recognised(inventory, [RECORD], lambda path: gpt_head(GUID))
    layout = choose(*what, ours, Media(), "run2").layout
    assert layout.system.path == "/dev/vda"
    assert [disk.path for disk in layout.data] == ["/dev/vdb"]
    # So that not even a cut between two writes leaves it without a claim: see host.disks.
    assert layout.system.found.startswith(CLAIM_MAGIC)
    assert not layout.system.claimed_by_this_run


# --- the disk that an image goes onto ---


def onto(*disks, named="", policy=None, media=None):
    return image_disk(named, policy or DiskPolicy(), 1024, machine(*disks), media or Media()).path


SYSTEM = replace(FOREIGN, state=DiskState.OURS, table_guid=claim_guid("run", DiskRole.SYSTEM, "S-1"))
OTHER = replace(BLANK, path="/dev/vdb", serial="S-2")


def test_it_is_the_system_disk_unless_another_is_named():
    assert onto(SYSTEM, OTHER) == "/dev/vda"
    assert onto(OTHER) == "/dev/vdb"
    assert onto(SYSTEM, OTHER, named="s-2") == "/dev/vdb"
    assert onto(FOREIGN, OTHER, policy=DiskPolicy(system="S-1")) == "/dev/vda"
    assert onto(SYSTEM, OTHER, named="S-2", policy=DiskPolicy(system="S-1")) == "/dev/vdb"


def test_a_foreign_disk_that_nobody_named_is_refused():
    with pytest.raises(DiskHoldsData):
        onto(FOREIGN)
    # A disk that is named for data is not the system disk.
    with pytest.raises(DiskHoldsData):
        onto(FOREIGN, OTHER, policy=DiskPolicy(data="S-2"))


@pytest.mark.parametrize(
    ("more", "media"),
    [
        ({"roles": ("boot medium",)}, Media()),
        ({"roles": ("mounted at /mnt",)}, Media()),
        ({"read_only": True}, Media()),
        ({"state": DiskState.UNREADABLE}, Media()),
        ({}, Media(boot=("/dev/vda",))),
        ({}, Media(marked=("/dev/vda",))),
    ],
)
def test_media_and_disks_in_use_are_refused_though_they_are_named(more, media):
    with pytest.raises(DiskRefused):
        onto(replace(SYSTEM, **more), named="S-1", media=media)


def test_a_disk_that_could_not_be_told_from_others_later_is_refused():
    with pytest.raises(DiskNameless):
        onto(replace(OTHER, serial=""))
    assert onto(replace(OTHER, serial="", wwn="0x5000")) == "/dev/vdb"
