"""What the machine is to blame for has a code and a name; what the program does wrong stays as it is."""

import errno
import os
from pathlib import Path

import pytest

from host import disks
from host.disks import DiskBusy, refuse_in_use, zero, zero_start
from host.files import write_atomic
from host.mounts import mounted
from host.os_errors import DiskWriteFailed, NoSpaceLeft, machine_blamed
from host.storage import MIB, LayoutDisk, PartitionType, PlannedPartition

SECRET = "correct-horse"


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def refused(error):
    with machine_blamed():
        raise error


def nothing_runs(argv, **_):
    return None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("EIO", DiskWriteFailed),
        ("EROFS", DiskWriteFailed),
        ("ENODEV", DiskWriteFailed),
        ("EUCLEAN", DiskWriteFailed),
        ("ENOSPC", NoSpaceLeft),
        ("EDQUOT", NoSpaceLeft),
    ],
)
def test_the_machine_is_to_blame_for_devices_and_file_systems(code, kind):
    number = getattr(errno, code)
    with pytest.raises(kind) as told:
        refused(OSError(number, SECRET, "/etc/hostname"))
    assert told.value.detail == f"/etc/hostname: {os.strerror(number)}"
    with pytest.raises(kind) as told:
        refused(OSError(number, SECRET))
    assert told.value.detail == os.strerror(number)


def test_what_to_do_about_a_full_disk_is_not_what_to_do_about_a_broken_one():
    assert "root_mib" in NoSpaceLeft.hint
    assert "replaced" in DiskWriteFailed.hint


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere"),
        PermissionError(errno.EACCES, "Permission denied", "/root"),
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/x"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError("no number"),
        KeyError("x"),
    ],
)
def test_a_fault_of_the_program_passes_as_it_is(error):
    with pytest.raises(type(error)) as passed:
        refused(error)
    assert passed.value is error


def test_a_name_steers_no_terminal():
    with pytest.raises(DiskWriteFailed) as told:
        refused(OSError(errno.EIO, "", "/a\x1b[2J\nb\udcff"))
    assert told.value.detail == "/a?[2J?b?: Input/output error"


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as told:
        write_atomic(tmp_path / "file", SECRET)
    assert told.value.filename == str(tmp_path / "file")
    assert SECRET not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_volume_is_named_by_that_not_by_where_it_was_mounted(monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))

    def write(path):
        with (
            machine_blamed(),
            mounted(nothing_runs, "/dev/root") as root,
            mounted(nothing_runs, "/dev/boot", root / "boot"),
        ):
            (root / path).parent.mkdir(exist_ok=True)
            write_atomic(root / path, "x")

    with pytest.raises(NoSpaceLeft, match="full: /etc/hostname on /dev/root: No space left on device "):
        write("etc/hostname")
    with pytest.raises(NoSpaceLeft, match=r"full: /grub\.cfg on /dev/boot: No space left on device "):
        write("boot/grub.cfg")


def test_a_file_elsewhere_keeps_its_name():
    with pytest.raises(OSError, match="nowhere") as told, mounted(nothing_runs, "/dev/root"):
        Path("/nowhere/at/all").read_bytes()
    assert told.value.filename == "/nowhere/at/all"


def disk(path):
    part = PlannedPartition("pv", 1, PartitionType.LVM, MIB, 8 * MIB)
    return LayoutDisk(str(path), "S", 16 * MIB, "claim"), (part,)


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "sda"
    path.write_bytes(b"\xff" * (16 * MIB))
    return path


@pytest.mark.parametrize("call", ["pwrite", "fsync", "open"])
@pytest.mark.parametrize("code", ["EIO", "EROFS", "ENOSPC", "ENXIO"])
def test_a_disk_that_fails_is_named(device, monkeypatch, call, code):
    number = getattr(errno, code)
    for wipe in (lambda: zero(*disk(device)), lambda: zero_start(str(device))):
        with monkeypatch.context() as patched:
            patched.setattr(disks.os, call, failing(number))
            with pytest.raises(DiskWriteFailed) as told:
                wipe()
        assert told.value.detail == f"{device}: {os.strerror(number)}"


def test_a_disk_in_use_is_no_disk_that_fails(device, monkeypatch):
    monkeypatch.setattr(disks.os, "open", failing(errno.EBUSY))
    monkeypatch.setattr(disks, "_leaves", lambda place: [place])
    for look in (lambda: zero_start(str(device)), lambda: refuse_in_use(str(device))):
        with pytest.raises(DiskBusy, match="busy"):
            look()


def test_what_the_kernel_writes_in_parts_is_written_whole(device, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(disks.os, "pwrite", lambda handle, data, at: write(handle, data[:300_000], at))
    zero_start(str(device))
    assert device.read_bytes()[: 2 * MIB] == bytes(MIB) + b"\xff" * MIB
    zero(*disk(device))
    assert not any(device.read_bytes()[MIB : 5 * MIB])
    assert not any(device.read_bytes()[8 * MIB : 9 * MIB])
