"""What a technician's yes is for: the disks that were named, with what was on them, in this run."""

from dataclasses import replace

import pytest

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.storage import DiskRole, Layout, LayoutDisk, claim_guid
from hwdetect.content import DiskState
from hwdetect.inventory import Disk, Firmware, Inventory, Machine
from steps.base import Context, Facts
from steps.confirm import ConfirmNew, ConfirmUsed, Declined

GIB = 1024**3
RUN = "ab" * 16
BLANK = Disk("/dev/sda", "Model", "A", "", 8 * GIB, "ata", False, False, True, 512, DiskState.BLANK)
A = replace(BLANK, state=DiskState.FOREIGN, content=('ext4 "thesis"',))
B = replace(A, path="/dev/sdb", serial="B")
NAMELESS = replace(A, serial="")


class Technician(Console):
    def __init__(self):
        super().__init__([])
        self.asked, self.answer = [], "yes"

    def ask(self, question, *, listening):
        self.asked.append(str(question))
        return self.answer


@pytest.fixture
def technician():
    return Technician()


@pytest.fixture
def at(technician, tmp_path):
    """Return the context of a run that uses these disks, the first one as system disk."""
    host = Host(None, None, Events("test"), technician, Options(), tmp_path)

    def facts(*disks, run=RUN):
        roles = [DiskRole.SYSTEM, *[DiskRole.DATA] * (len(disks) - 1)]
        planned = [
            LayoutDisk(
                d.path, d.serial, d.size_bytes, claim_guid(run, role, d.serial or d.path), d.table_guid
            )
            for d, role in zip(disks, roles, strict=True)
        ]
        inventory = Inventory(Machine("", "", ""), Firmware.BIOS, 1, GIB, disks, (), ())
        return Context(host, Facts((inventory, Layout(run, planned[0], tuple(planned[1:]), 512, 256, 3072))))

    return facts


def begun(disk, role=DiskRole.SYSTEM):
    """The disk after the first write of this run."""
    guid = claim_guid(RUN, role, disk.serial)
    return replace(disk, state=DiskState.OURS, table_guid=guid, content=("empty gpt partition table",))


def holds(context, step=ConfirmUsed):
    return step().observe(context).holds


def test_a_yes_is_for_the_disk_that_was_named(at, technician):
    assert not holds(at(A))
    ConfirmUsed().run(at(A))
    assert "/dev/sda (Model A: ext4" in technician.asked[0]
    assert holds(at(A))
    # A generation later the operator has named another one, or somebody has put one in its place.
    assert not holds(at(B))
    assert not holds(at(A, B))
    assert not holds(at(replace(B, path="/dev/sda")))
    assert holds(at(A))
    assert holds(at(replace(A, path="/dev/sdc")))


def test_no_yes_of_another_run_counts(at):
    ConfirmUsed().run(at(A))
    assert not holds(at(A, run="cd" * 16))


def test_nobody_is_asked_twice_when_disks_were_begun(at):
    ConfirmUsed().run(at(A, B))
    assert holds(at(A, B))
    assert holds(at(begun(A), B))
    assert holds(at(begun(A), begun(B, DiskRole.DATA)))


def test_a_yes_is_for_what_was_shown_to_be_on_it(at):
    ConfirmUsed().run(at(A))
    assert not holds(at(replace(A, content=('ext4 "another thesis"',))))


@pytest.mark.parametrize(
    "change",
    [{"path": "/dev/sdb"}, {"model": "Other"}, {"size_bytes": 9 * GIB}, {"serial": "S"}, {"wwn": "0x5"}],
)
def test_a_disk_without_a_name_is_the_same_by_all_else(at, change):
    ConfirmUsed().run(at(NAMELESS))
    assert holds(at(NAMELESS))
    assert not holds(at(replace(NAMELESS, **change)))


@pytest.mark.parametrize("change", [{"wwn": "0x6"}, {"model": "Other"}, {"size_bytes": 9 * GIB}])
def test_one_serial_number_may_be_of_two_disks(at, change):
    ConfirmUsed().run(at(replace(A, wwn="0x5")))
    assert holds(at(replace(A, wwn="0x5")))
    assert not holds(at(replace(A, **{"wwn": "0x5", **change})))


def test_a_yes_to_a_new_machine_covers_no_disk_that_was_blank_then(at, technician):
    assert not holds(at(BLANK), ConfirmNew)
    ConfirmNew().run(at(BLANK))
    assert technician.asked[0].strip().startswith("Install this machine as a node? Its disks are blank.")
    assert holds(at(BLANK), ConfirmNew)
    assert holds(at(BLANK))
    for step in (ConfirmNew, ConfirmUsed):
        assert not holds(at(A), step)


def test_a_yes_to_a_new_machine_covers_the_disks_that_were_named(at):
    ConfirmNew().run(at(A, replace(B, state=DiskState.BLANK, content=())))
    for step in (ConfirmNew, ConfirmUsed):
        assert holds(at(A, replace(B, state=DiskState.BLANK, content=())), step)
        assert not holds(at(A, B), step)


def test_a_no_is_kept_nowhere(at, technician, tmp_path):
    technician.answer = "no"
    with pytest.raises(Declined):
        ConfirmUsed().run(at(A))
    assert list(tmp_path.iterdir()) == []
    assert not holds(at(A))


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"disks": [{"serial": "A"}]}', b"\xff", None])
def test_a_record_that_cannot_be_read_is_none(at, tmp_path, damage):
    ConfirmUsed().run(at(A))
    (record,) = tmp_path.iterdir()
    record.unlink()
    if damage is None:
        record.mkdir()
    else:
        record.write_bytes(damage)
    for step in (ConfirmNew, ConfirmUsed):
        assert not holds(at(A), step)
    assert not holds(at(BLANK), ConfirmNew)
    if damage is not None:
        ConfirmUsed().run(at(A))
        assert holds(at(A))
