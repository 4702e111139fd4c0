"""A report on a developer's machine: the same inventory and plan, and no harm from one that was made up."""

import gzip
import io
import json
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bootmanager import replay as module
from bootmanager.cli import main
from bootmanager.machine import State
from bootmanager.preview import plan_data
from bootmanager.replay import BadReport, NotInReport, _RecordedDisks, open_report
from host.storage import Layout, LayoutDisk
from hwdetect.inventory import describe
from tests.recorded_machines import NAMES, expected_of
from tests.unit.field_report import DETAILS, report_of
from wire.messages import DiskPolicy
from wire.structure import unstructure


def members_of(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}


def packed(members, *, kind=tarfile.REGTYPE, form=tarfile.USTAR_FORMAT):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


@pytest.fixture
def file(tmp_path):
    def write(archive):
        path = tmp_path / "report.tgz"
        path.write_bytes(archive)
        return path

    return write


@pytest.mark.parametrize("name", NAMES)
def test_inventory_and_plan_are_those_of_the_machine(name, tmp_path, file):
    archive = report_of(name, tmp_path)
    members, opened = members_of(archive), open_report(file(archive))
    assert unstructure(opened.inventory()) == expected_of(name)["inventory"]
    assert json.loads(members["inventory.json"]) == expected_of(name)["inventory"]
    assert json.loads(members["plan.json"]) == plan_data(opened.plan(State.INST))


def test_the_command_line_says_what_the_machine_would_have_said(tmp_path, file):
    path = file(report_of("bios-3tb", tmp_path))
    shown = CliRunner().invoke(main, ["inventory", "--from", str(path)])
    assert shown.output == describe(open_report(path).inventory()) + "\n"
    shown = CliRunner().invoke(main, ["inventory", "--from", str(path), "--format", "json"])
    assert json.loads(shown.output) == expected_of("bios-3tb")["inventory"]
    shown = CliRunner().invoke(main, ["plan", "inst", "--from", str(path)])
    assert shown.exit_code == 0
    assert "will create  /dev/sda: partition 1 (bios)" in shown.output
    assert "format: Make file systems -- not to be known from a report" in shown.output


def test_a_plan_that_fails_fails_again(tmp_path, file):
    path = file(report_of("laptop", tmp_path))
    shown = CliRunner().invoke(main, ["plan", "rins", "--from", str(path)])
    assert shown.exit_code == 1
    assert "[disk-holds-data]" in shown.output
    named = replace(DETAILS, disks=DiskPolicy(system="2L082LSBB1EF"), boot_state="rins")
    plan = open_report(file(report_of("laptop", tmp_path, details=named))).plan(State.RINS)
    (partition,) = [preview for preview in plan if preview.step == "partition"]
    assert "ntfs" in partition.changes[0].text


def test_without_a_configuration_the_hardware_is_there(tmp_path, file):
    opened = open_report(file(report_of("emmc", tmp_path, details=None)))
    assert len(opened.inventory().disks) == 1
    (choose,) = [preview for preview in opened.plan(State.INST) if preview.step == "choose_disks"]
    assert "NodeDetails" in choose.blocked


def test_a_replay_neither_runs_nor_reads_anything_here(tmp_path, file, monkeypatch):
    opened = open_report(file(report_of("bios-3tb", tmp_path)))
    # subprocess is refused by the fixture of all unit tests.
    seen = []

    def watched(real):
        return lambda path, *words, **more: seen.append(str(path)) or real(path, *words, **more)

    for name in ("open", "exists", "stat", "readlink"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    for state in (State.NEW, State.INST, State.RINS, State.BOOT, State.IMAGE):
        opened.plan(state)
    assert "/nowhere/confirmed-run1" in seen
    assert not [path for path in seen if path.startswith(("/dev", "/sys", "/run", "/etc", "/proc/self"))]


@pytest.mark.parametrize("claimed", ["", "b007b007-0"])
def test_what_disks_of_ours_hold_is_not_to_be_known(claimed):
    layout = Layout("run", LayoutDisk("/dev/sda", "S", 2**40, "claim", claimed), (), 1, 1, 1)
    disks = _RecordedDisks()
    assert disks.matches(layout) is False
    if claimed:
        with pytest.raises(NotInReport):
            disks.keeps(layout)
    else:
        assert disks.keeps(layout) is False
    with pytest.raises(NotInReport):
        disks.matches(replace(layout, system=replace(layout.system, found="claim")))


def bad_archives(good):
    members = members_of(good)
    plain = gzip.decompress(good)
    recording = json.loads(members["recording.json"])

    def changed(**fields):
        return packed({**members, "recording.json": json.dumps({**recording, **fields}).encode()})

    disk = next(device for device in recording["block"] if device["name"] == "sda")
    hostile = {**disk, "attributes": {**disk["attributes"], "queue/logical_block_size": "\x1b[2J" * 100}}
    yield "empty", b""
    yield "no gzip", b"x" * 1000
    yield "cut off", good[: len(good) // 2]
    yield "no tar", gzip.compress(b"x" * 5000)
    yield "tar cut off", gzip.compress(plain[:3000])
    yield "a link", packed(members, kind=tarfile.SYMTYPE)
    yield "a path", packed({"../recording.json": b"{}"})
    yield "extended headers", packed({"x" * 120: b"{}"}, form=tarfile.PAX_FORMAT)
    yield "no recording", packed({"facts.json": members["facts.json"]})
    yield "no JSON", packed({**members, "recording.json": b"{" * 100_000})
    yield "other types", changed(cpus="four")
    yield "no list", changed(block={"a": 1})
    yield "mounts", changed(mounts="one two")
    yield "a size that is none", changed(block=[hostile])
    yield "no ids", changed(pci=[{**recording["pci"][0], "properties": {"PCI_CLASS": "10601"}}])
    yield "a size without end", changed(memory_bytes=10**400)


def zip_bomb():
    pack = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    return b"".join(pack.compress(zeros) for _ in range(3)) + pack.flush()


def test_a_report_that_is_none_is_refused_by_code(tmp_path, file):
    for name, archive in bad_archives(report_of("bios-3tb", tmp_path)):
        with pytest.raises(BadReport) as caught:
            open_report(file(archive)).inventory()
        assert "\x1b" not in str(caught.value), name


def test_memory_is_bounded(file, monkeypatch):
    monkeypatch.setattr(module, "MAXIMUM_UNPACKED", 2 * 2**20)
    with pytest.raises(BadReport, match="2097152 bytes when unpacked"):
        open_report(file(zip_bomb()))
    monkeypatch.setattr(module, "MAXIMUM_BYTES", 1000)
    with pytest.raises(BadReport, match="more than 1000 bytes"):
        open_report(file(zip_bomb()))


def test_what_a_report_says_does_not_steer_the_terminal(tmp_path, file):
    members = members_of(report_of("bios-3tb", tmp_path))
    recording = json.loads(members["recording.json"])
    recording["dmi"]["product_name"] = "\x1b[2J\u202eevil\udcff"
    path = file(packed({**members, "recording.json": json.dumps(recording).encode()}))
    shown = CliRunner().invoke(main, ["inventory", "--from", str(path)])
    assert shown.exit_code == 0
    assert "?[2J?evil?" in shown.output
