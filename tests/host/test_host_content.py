"""Whose disk is it? Asked of real blkid and sfdisk, on files that look like disks."""

import os
import subprocess

import pytest

from host.run import Runner
from host.storage import DiskRole, claim_guid
from hwdetect.content import MIB, DiskState, contents_of, read

pytestmark = pytest.mark.host

SIZE = 64 * MIB
CLAIM = claim_guid("run", DiskRole.SYSTEM, "serial").upper()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    return path


def look(path):
    return contents_of(read(Runner(), str(path), size_bytes=SIZE))


def command(*words, text=""):
    subprocess.run([*map(str, words)], input=text, text=True, check=True, capture_output=True)


def table(path, *lines):
    command("sfdisk", "--quiet", path, text="\n".join(lines) + "\n")


def write(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_zeros_are_blank(disk):
    found = look(disk)
    assert found.state is DiskState.BLANK
    assert found.texts == ()


@pytest.mark.parametrize("readable", [MIB // 2, SIZE - 4096])
def test_what_can_be_read_in_part_only_is_not_blank(disk, readable):
    os.truncate(disk, readable)
    assert look(disk).state is DiskState.UNREADABLE


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_table_without_partitions_is_blank(disk, label):
    table(disk, f"label: {label}")
    found = look(disk)
    assert found.state is DiskState.BLANK
    assert found.texts == ()


# What a power cut in the middle of our first write leaves: sfdisk writes the copy at the end first, then
# the entries and the header at the start, then the protective boot record.
TORN = {
    "copy only": [(0, 34 * 512)],
    "no boot record": [(0, 512)],
    "no header": [(512, 512)],
    "no copy": [(SIZE - 33 * 512, 33 * 512)],
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_first_write_is_blank_or_ours(disk, name):
    table(disk, "label: gpt", f"label-id: {CLAIM}")
    for offset, length in TORN[name]:
        write(disk, offset, bytes(length))
    assert look(disk).state in (DiskState.BLANK, DiskState.OURS)


def test_the_claim_makes_it_ours(disk):
    table(disk, "label: gpt", f"label-id: {CLAIM}")
    found = look(disk)
    assert found.state is DiskState.OURS
    assert found.table_guid == CLAIM.lower()


@pytest.mark.parametrize("start", [0, 512])
def test_ours_with_a_damaged_start_stays_ours_by_the_copy(disk, start):
    table(disk, "label: gpt", f"label-id: {CLAIM}", "size=16MiB", "size=16MiB")
    write(disk, 512 + start, b"\xff" * 512)
    assert look(disk).state is DiskState.OURS


FOREIGN = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-L", "precious"],
    "vfat": ["mkfs.vfat", "-n", "PRECIOUS"],
    "swap": ["mkswap", "-L", "precious"],
    "gpt": ["sfdisk", "--quiet"],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_somebody_made_is_foreign(disk, name):
    command(*FOREIGN[name], disk, text="label: gpt\nsize=16MiB\n")
    found = look(disk)
    assert found.state is DiskState.FOREIGN
    assert found.texts


@pytest.mark.parametrize("offset", [446, 512 * 40, MIB - 1])
def test_any_byte_in_the_first_mib_is_data(disk, offset):
    write(disk, offset, b"x")
    found = look(disk)
    assert found.state is DiskState.FOREIGN
    assert found.texts == ("data of an unknown kind",)


@pytest.mark.parametrize("offset", [SIZE - 33 * 512, SIZE - 512])
def test_any_byte_where_the_copy_would_be_is_data(disk, offset):
    write(disk, offset, b"x")
    assert look(disk).state is DiskState.FOREIGN


def test_boot_code_is_data(disk):
    table(disk, "label: dos")
    write(disk, 0, b"\xfa")
    assert look(disk).state is DiskState.FOREIGN


def test_partitions_are_told_with_what_is_in_them(disk):
    table(disk, "label: gpt", "size=16MiB", "size=16MiB")
    command("mkfs.ext4", "-q", "-F", "-L", "precious", "-E", f"offset={MIB}", disk, "8M")
    assert look(disk).texts == (
        'disk1: ext4 "precious", 16.0 MiB',
        "disk2: nothing known, 16.0 MiB",
    )


def test_looking_leaves_no_trace(disk):
    command("mkfs.ext4", "-q", "-F", disk)
    before = disk.read_bytes()
    look(disk)
    assert disk.read_bytes() == before


def test_a_disk_that_is_gone_is_unreadable(tmp_path):
    assert look(tmp_path / "absent").state is DiskState.UNREADABLE
