"""Claiming and emptying disks with the real tools, on loop devices."""

import os
import subprocess
from pathlib import Path

import pytest

from host import storage
from host.disks import DiskBusy, read_table, refuse_in_use, renew_claim, zero, zero_start
from host.run import Runner
from host.storage import MIB, DiskRole, Layout, LayoutDisk, claim_guid

pytestmark = pytest.mark.host

SIZE = 64 * MIB


def command(*words, text=""):
    done = subprocess.run([*map(str, words)], input=text, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ESP_MIB", 16)
    image = tmp_path / "disk"
    image.touch()
    os.truncate(image, SIZE)
    node = command("losetup", "--find", "--show", image)
    yield node
    command("losetup", "--detach", node)


def layout(node):
    disk = LayoutDisk(node, "S", SIZE, claim_guid("run", DiskRole.SYSTEM, "S"))
    return Layout("run", disk, (), boot_mib=16, swap_mib=4, root_mib=8)


def test_what_is_wiped_and_what_is_not(node):
    command("dd", "if=/dev/urandom", f"of={node}", "bs=1M", "status=none", "count=64")
    before = Path(node).read_bytes()
    plan = layout(node)
    zero(plan.system, plan.partitions(plan.system))
    after = Path(node).read_bytes()
    # The table's own place stays.
    assert after[: 34 * 512] == before[: 34 * 512]
    assert not any(after[34 * 512 : 2 * MIB])
    for part in plan.partitions(plan.system):
        assert not any(after[part.start : part.start + min(part.size, 4 * MIB)]), part.name
        assert not any(after[part.start + part.size - MIB : part.start + part.size]), part.name
    assert after[SIZE - MIB :] == before[SIZE - MIB :]


def test_a_disk_in_use_is_not_written(node, tmp_path):
    command("mkfs.ext4", "-q", node)
    folder = tmp_path / "mounted"
    folder.mkdir()
    command("mount", node, folder)
    try:
        plan = layout(node)
        with pytest.raises(DiskBusy, match=node):
            zero(plan.system, plan.partitions(plan.system))
        with pytest.raises(DiskBusy, match=node):
            zero_start(node)
        with pytest.raises(DiskBusy, match=node):
            refuse_in_use(plan.system.path)
    finally:
        command("umount", folder)
    assert "ext4" in command("blkid", "-p", node)
    refuse_in_use(plan.system.path)


def test_a_claim_is_renewed_and_the_partitions_stay(node):
    old = claim_guid("older", DiskRole.SYSTEM, "S")
    command("sfdisk", "-q", node, text=f"label: gpt\nlabel-id: {old}\nsize=16MiB\nsize=16MiB\n")
    before = read_table(Runner(), node)
    assert before is not None
    assert before.guid == old
    plan = layout(node)
    renew_claim(Runner(), plan.system)
    after = read_table(Runner(), node)
    assert after is not None
    assert after.guid == plan.system.claim
    assert after.partitions == before.partitions


def test_no_table_is_none(node):
    assert read_table(Runner(), node) is None
