"""The EFI system partition: which one it is, and in which order it is made. On real vfat: tests/guest."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from host import disks, esp, target
from host.esp import NoSignedLoader, esp_of_root, is_whole, make_esp
from host.mark import NotInstalled
from host.run import CommandFailed, Completed
from host.storage import DiskRole, PartitionType, claim_guid, filesystem_uuid

OURS, DATA = (claim_guid("run", role, "A") for role in DiskRole)
BOOT = filesystem_uuid("run", "bm-boot")
SHIM = "usr/lib/shim/shimx64.efi.signed"


class Machine:
    """A root tree with loaders, the disk vda below its volume, and a file system once mkfs has run."""

    def __init__(self, folder, monkeypatch):
        self.root, self.esp, self.ran = folder / "root", folder / "esp", []
        self.guid, self.types = OURS, [PartitionType.BIOS_BOOT, PartitionType.EFI_SYSTEM]
        for name in (SHIM, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"):
            (self.root / name).parent.mkdir(parents=True)
            (self.root / name).write_text(f"signed {name}")
        sys_block = folder / "sys"
        (sys_block / "vda/vda4/partition").mkdir(parents=True)
        (sys_block / "root/slaves/vda4").mkdir(parents=True)
        (sys_block / "vda4").symlink_to("vda/vda4")
        for module in (disks, target):
            monkeypatch.setattr(module, "SYS_BLOCK", sys_block)
        monkeypatch.setattr(esp, "mounted", self.mounted)

    def run(self, argv, **_):
        self.ran.append([str(word) for word in argv])
        said = ""
        if argv[0] == "mkfs.vfat":
            self.esp.mkdir()
        else:
            parts = [
                {"node": f"/dev/vda{number}", "type": kind.upper(), "start": 1, "size": 1}
                for number, kind in enumerate(self.types, 1)
            ]
            said = json.dumps({"partitiontable": {"label": "gpt", "id": self.guid, "partitions": parts}})
        return Completed(tuple(self.ran[-1]), 0, said, "", 0.0)

    @contextmanager
    def mounted(self, run, device, *, fstype, options=()):
        assert (device, fstype) == ("/dev/vda2", "vfat")
        if not self.esp.exists():
            raise CommandFailed(("mount",), 32, "wrong fs type")
        yield self.esp


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_it_is_that_of_the_disk_below_the_root_volume(machine):
    assert esp_of_root(machine.run) == "/dev/vda2"
    assert machine.ran == [["sfdisk", "--json", "/dev/vda"]]


@pytest.mark.parametrize(
    ("guid", "second"),
    [
        (OURS, PartitionType.LINUX),
        (DATA, PartitionType.EFI_SYSTEM),
        ("0fc63daf-8483-4772-8e79-3d69d8477de4", PartitionType.EFI_SYSTEM),
    ],
)
def test_no_partition_is_taken_for_it_that_our_claim_and_its_type_do_not_prove(machine, guid, second):
    machine.guid, machine.types[1] = guid, second
    with pytest.raises(NotInstalled):
        esp_of_root(machine.run)


def test_what_is_made_is_whole_and_the_loader_that_firmware_looks_for_comes_last(machine, monkeypatch):
    written, write = [], esp.write_atomic
    monkeypatch.setattr(
        esp, "write_atomic", lambda path, data: (written.append(path.name), write(path, data))
    )
    assert not is_whole(machine.run, "/dev/vda2", machine.root, BOOT)
    make_esp(machine.run, "/dev/vda2", machine.root, BOOT)
    assert is_whole(machine.run, "/dev/vda2", machine.root, BOOT)
    assert machine.ran == [["mkfs.vfat", "-F", "32", "-n", "BM-EFI", "/dev/vda2"]]
    assert written == ["grub.cfg", "grubx64.efi", "BOOTX64.EFI"]
    assert f"--fs-uuid {BOOT} " in (machine.esp / "EFI/debian/grub.cfg").read_text()
    assert (machine.esp / "EFI/BOOT/BOOTX64.EFI").read_text() == f"signed {SHIM}"


@pytest.mark.parametrize("name", ["EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/debian/grub.cfg"])
def test_a_file_that_is_missing_or_another_is_noticed(machine, name):
    make_esp(machine.run, "/dev/vda2", machine.root, BOOT)
    (machine.esp / name).write_text("x")
    assert not is_whole(machine.run, "/dev/vda2", machine.root, BOOT)
    (machine.esp / name).unlink()
    assert not is_whole(machine.run, "/dev/vda2", machine.root, BOOT)


def test_one_that_goes_on_with_another_boot_is_noticed(machine):
    make_esp(machine.run, "/dev/vda2", machine.root, filesystem_uuid("older", "bm-boot"))
    assert not is_whole(machine.run, "/dev/vda2", machine.root, BOOT)


def test_an_image_without_the_loaders_is_refused_before_anything_is_made(machine):
    Path(machine.root, SHIM).unlink()
    with pytest.raises(NoSignedLoader, match="/usr/lib/shim"):
        make_esp(machine.run, "/dev/vda2", machine.root, BOOT)
    assert machine.ran == []
