"""Which file system is taken for the installed system's /boot: that of the root volume's own disk."""

import json

import pytest

from host import disks
from host import target as module
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Completed
from host.storage import DiskRole, PartitionType, claim_guid
from host.target import NoBootPartition, boot_of_root, target, target_read_only
from steps import unpack, validate
from steps.base import Context, Facts
from steps.validate import Validate

OURS, DATA = (claim_guid("run", role, "A") for role in DiskRole)
FOREIGN = "0fc63daf-8483-4772-8e79-3d69d8477de4"
TYPES = [PartitionType.BIOS_BOOT, PartitionType.EFI_SYSTEM, PartitionType.LINUX, PartitionType.LVM]


class Machine:
    """The root volume lies on vda. An older system disk, sda, stayed in: its /boot is labelled like ours."""

    def __init__(self, folder, monkeypatch):
        self.tables = {disk: (OURS, list(TYPES)) for disk in ("/dev/sda", "/dev/vda")}
        self.state, self.mounts, self.checked = "clean", [], []
        for disk in ("sda", "vda"):
            for number in range(1, 5):
                (folder / f"{disk}/{disk}{number}/partition").mkdir(parents=True)
                (folder / f"{disk}{number}").symlink_to(f"{disk}/{disk}{number}")
        (folder / "root/slaves/vda4").mkdir(parents=True)
        for file in (disks, module):
            monkeypatch.setattr(file, "SYS_BLOCK", folder)

    def run(self, argv, **_):
        words = tuple(map(str, argv))
        said = ""
        if words[0] == "sfdisk":
            guid, types = self.tables[words[-1]]
            parts = [
                {"node": f"{words[-1]}{number}", "type": kind.upper(), "start": 1, "size": 1}
                for number, kind in enumerate(types, 1)
            ]
            said = json.dumps({"partitiontable": {"label": "gpt", "id": guid, "partitions": parts}})
        elif words[0] == "mount":
            self.mounts.append(words[-2])
        elif words[0] == "dumpe2fs":
            said = f"Filesystem state: {self.state}\n"
        elif words[0] == "e2fsck":
            self.checked.append(words[-1])
        return Completed(words, 0, said, "", 0.0)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("mounting", "more"), [(target, ["/dev/bmnode/slivers"]), (target_read_only, [])], ids=["rw", "ro"]
)
def test_boot_is_mounted_from_the_disk_of_the_root_volume_whoever_has_its_label(machine, mounting, more):
    with mounting(machine.run):
        assert machine.mounts == ["/dev/bmnode/root", "/dev/vda3", *more]


def test_it_is_the_one_that_is_checked(machine, monkeypatch):
    monkeypatch.setattr(validate.Path, "exists", lambda _: True)
    machine.state = "not clean"
    context = Context(Host(machine.run, None, Events("test"), Console([]), Options()), Facts())
    checked = ["/dev/bmnode/root", "/dev/vda3", "/dev/bmnode/slivers"]
    assert [change.target for change in Validate().observe(context).changes] == checked
    Validate().run(context)
    assert machine.checked == checked


@pytest.mark.parametrize(
    ("guid", "third"),
    [(OURS, PartitionType.EFI_SYSTEM), (DATA, PartitionType.LINUX), (FOREIGN, PartitionType.LINUX)],
)
def test_without_one_that_claim_number_and_type_prove_nothing_is_taken_for_it(machine, guid, third):
    types = [*TYPES]
    types[2] = third
    machine.tables["/dev/vda"] = (guid, types)
    for mounting in (target, target_read_only):
        with pytest.raises(NoBootPartition), mounting(machine.run):
            pass
    assert set(machine.mounts) == {"/dev/bmnode/root"}
    assert not unpack._has_files(machine.run)


def test_where_there_is_no_root_volume_there_is_no_boot(machine, tmp_path):
    (tmp_path / "root/slaves/vda4").rmdir()
    with pytest.raises(NoBootPartition):
        boot_of_root(machine.run)
