"""The layout as numbers, claims, and what is read back from sfdisk and LVM."""

import itertools
import json
import uuid
from dataclasses import replace

import pytest

from host import disks, lvm
from host.blivet_storage import BlivetStorage, VolumeGroupElsewhere
from host.run import Completed
from host.storage import (
    CLAIM_MAGIC,
    ESP_MIB,
    MIB,
    DiskRole,
    Layout,
    LayoutDisk,
    PartitionType,
    claim_guid,
    claimed_role,
    filesystem_uuid,
    partition_node,
    system_disk_mib,
)

GIB = 1024 * MIB


def layout(*data, size=8 * GIB):
    system = LayoutDisk("/dev/vda", "A", size, claim_guid("run", DiskRole.SYSTEM, "A"))
    return Layout("run", system, tuple(data), boot_mib=512, swap_mib=250, root_mib=3072)


DATA = LayoutDisk("/dev/nvme0n1", "B", 2 * GIB + 12345, claim_guid("run", DiskRole.DATA, "B"))


def test_partitions_are_aligned_adjacent_and_leave_the_table_its_place():
    plan = layout(DATA)
    parts = plan.partitions(plan.system)
    assert [(part.number, part.name) for part in parts] == [(1, "bios"), (2, "esp"), (3, "boot"), (4, "pv")]
    assert (plan.esp_device, plan.boot_device) == ("/dev/vda2", "/dev/vda3")
    assert parts[0].start == MIB
    for before, after in itertools.pairwise(parts):
        assert before.start + before.size == after.start
    assert parts[-1].start + parts[-1].size == 8 * GIB - MIB
    (only,) = plan.partitions(DATA)
    assert only.start % MIB == only.size % MIB == 0
    assert only.start + only.size <= DATA.size_bytes - MIB


def test_volumes_are_whole_extents():
    assert layout().volumes == (("swap", 252), ("root", 3072))
    assert system_disk_mib(512, 250, 3072) > ESP_MIB + 512 + 252 + 3072


@pytest.mark.parametrize(
    ("disk", "node"),
    [("/dev/sda", "/dev/sda2"), ("/dev/nvme0n1", "/dev/nvme0n1p2"), ("/dev/mmcblk0", "/dev/mmcblk0p2")],
)
def test_partition_nodes(disk, node):
    assert partition_node(disk, 2) == node


def test_a_claim_is_a_uuid_of_its_own_for_each_run_disk_and_role():
    claims = {claim_guid(run, role, disk) for run in ("r1", "r2") for role in DiskRole for disk in ("A", "B")}
    assert len(claims) == 8
    for claim in claims:
        parsed = uuid.UUID(claim)
        assert claim.startswith(CLAIM_MAGIC)
        assert str(parsed) == claim
        assert parsed.version == 8
        assert parsed.variant == uuid.RFC_4122


def test_the_role_is_read_back_from_a_claim():
    for role in DiskRole:
        assert claimed_role(claim_guid("run", role, "A")) is role
    assert claimed_role("0fc63daf-8483-4772-8e79-3d69d8477de4") is None
    assert claimed_role("") is None


def test_uuids_of_file_systems_differ_by_run_and_name():
    made = {filesystem_uuid(run, name) for run in ("r1", "r2") for name in ("bm-root", "bm-boot")}
    assert len(made) == 4
    assert filesystem_uuid("r1", "bm-root") == filesystem_uuid("r1", "bm-root")


class Answers:
    """A runner that answers from recorded outputs and counts what it was asked."""

    def __init__(self, **outputs):
        self.outputs = outputs
        self.asked = []

    def __call__(self, argv, **_):
        words = [str(word) for word in argv]
        self.asked.append(words)
        if words[0] == "sfdisk":
            return Completed(tuple(words), 0, self.outputs["sfdisk"], "", 0.0)
        return Completed(tuple(words), 0, json.dumps({"report": [self.outputs[words[1]]]}), "", 0.0)


SFDISK = """{"partitiontable": {"label": "gpt", "id": "B007B007-0A65-80BC-8C9B-6A237F92CFBB",
 "device": "/dev/nvme0n1", "unit": "sectors", "firstlba": 2048, "lastlba": 12582878, "sectorsize": 512,
 "partitions": [{"node": "/dev/nvme0n1p1", "start": 2048, "size": 2048,
                 "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "uuid": "Y"},
                {"node": "/dev/nvme0n1p12", "start": 4096, "size": 1048576, "type": "X", "uuid": "Z"}]}}"""


def test_a_table_is_read_in_bytes():
    table = disks.read_table(Answers(sfdisk=SFDISK), "/dev/nvme0n1")
    assert table == disks.Table(
        "gpt",
        "b007b007-0a65-80bc-8c9b-6a237f92cfbb",
        ((1, PartitionType.EFI_SYSTEM, MIB, MIB), (12, "x", 2 * MIB, 512 * MIB)),
    )


def volumes(*rows):
    keys = ("vg_name", "vg_uuid", "lv_name", "lv_size", "segtype", "devices")
    return {
        "lv": [
            {**dict(zip(keys, row, strict=True)), "vg_free": "0", "vg_missing_pv_count": "0"} for row in rows
        ]
    }


def test_a_group_is_read_and_one_of_the_same_name_beside_it_makes_it_none():
    root = ("bmnode", "u1", "root", "4194304", "linear", "/dev/vda3(0)")
    other = ("other", "u2", "data", "4194304", "linear", "/dev/vdb1(0)")
    twin = ("bmnode", "u3", "root", "4194304", "linear", "/dev/vdc1(0)")
    group = lvm.read_group(Answers(lvs=volumes(root, other)), "bmnode", ["/dev/vda3"])
    assert group is not None
    assert group.volumes == (lvm.Volume("root", 4194304, "linear", "/dev/vda3(0)"),)
    assert lvm.read_group(Answers(lvs=volumes(root, twin)), "bmnode", ["/dev/vda3"]) is None
    assert lvm.read_group(Answers(lvs=volumes(other)), "bmnode", ["/dev/vda3"]) is None


def test_a_layout_fits_only_with_partitions_of_the_right_types(tmp_path, monkeypatch):
    monkeypatch.setattr(disks, "SYS_BLOCK", tmp_path)
    (tmp_path / "vda/vda4/partition").mkdir(parents=True)
    (tmp_path / "vda4").symlink_to("vda/vda4")
    plan = layout()
    parts = [
        {"node": f"/dev/vda{part.number}", "start": part.start // 512, "size": part.size // 512}
        | {"type": part.type.upper()}
        for part in plan.partitions(plan.system)
    ]
    table = {"label": "gpt", "id": plan.system.claim.upper(), "sectorsize": 512, "partitions": parts}
    sizes = dict(plan.volumes) | {"slivers": 4}
    rows = [("bmnode", "u", name, str(mib * MIB), "linear", "/dev/vda4(0)") for name, mib in sizes.items()]

    def keeps():
        said = json.dumps({"partitiontable": table})
        members = {"pv": [{"pv_name": "/dev/vda4", "vg_name": "bmnode"}]}
        return BlivetStorage(Answers(sfdisk=said, pvs=members, lvs=volumes(*rows))).keeps(plan)

    assert keeps()
    parts[1]["type"] = PartitionType.LINUX.upper()
    assert not keeps()


def test_a_missing_physical_volume_is_not_taken_for_a_device():
    rows = {"pv": [{"pv_name": "[unknown]", "vg_name": "bmnode"}, {"pv_name": "/dev/x", "vg_name": "bmnode"}]}
    assert lvm.physical_volumes(Answers(pvs=rows), "bmnode") == {"/dev/x"}


def test_a_group_of_our_name_on_another_disk_is_refused_and_nothing_is_written():
    rows = {"pv": [{"pv_name": "/dev/vdx9", "vg_name": "bmnode"}]}
    run = Answers(sfdisk=SFDISK, pvs=rows)
    with pytest.raises(VolumeGroupElsewhere, match="/dev/vdx9"):
        BlivetStorage(run).keeps(layout())
    assert {words[0] for words in run.asked} == {"sfdisk", "lvm"}
    assert all("--json" in words or words[1] == "pvs" for words in run.asked)


def test_nothing_is_activated_that_also_lies_on_a_disk_that_is_not_ours():
    rows = {"pv": [{"pv_name": "/dev/vdx9", "vg_name": "bmnode"}]}
    run = Answers(pvs=rows)
    BlivetStorage(run).activate(("/dev/vda",))
    assert [words[1] for words in run.asked] == ["pvs"]
    run = Answers()
    BlivetStorage(run).activate(())
    assert run.asked == []


def test_settling_is_skipped_where_the_kernel_told_nothing_new(tmp_path):
    counter, calls = tmp_path / "seqnum", []
    counter.write_text("7")
    settle = disks.SettleWhenNeeded(lambda: calls.append(counter.write_text("9")), counter)
    settle()
    # While it waited, two more came: they may be unfinished.
    settle(quiet=True)
    assert len(calls) == 2
    settle()
    assert len(calls) == 2
    counter.write_text("10")
    settle()
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("found", "table", "wipe"),
    [
        ("", "", "always"),
        ("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "always"),
        (DATA.claim, DATA.claim, "never"),
        # Another system's table, on a disk that was recognised as ours.
        (DATA.claim, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "never"),
    ],
)
def test_a_disk_of_ours_is_claimed_in_one_write(monkeypatch, found, table, wipe):
    ran = []

    def run(argv, **_):
        ran.append([str(word) for word in argv])
        said = {"partitiontable": {"label": "gpt", "id": table.upper(), "partitions": []}}
        return Completed(tuple(ran[-1]), 0, json.dumps(said) if "--json" in argv else "", "", 0.0)

    monkeypatch.setattr(disks, "_forget_partitions", lambda run, disk: None)
    disks.claim_and_empty(run, replace(DATA, found=found))
    assert ran[-1][ran[-1].index("--wipe") + 1] == wipe
