"""Reports on a real machine: made by its own tools, sent to a real server, written to real file systems."""

import json
import subprocess
from contextlib import contextmanager

import pytest

from bootmanager import report_place
from bootmanager.machine import State
from bootmanager.replay import open_report
from bootmanager.report import make_report
from bootmanager.report_place import LABEL, NoReportStick, ReportRefused, write_to, write_to_stick
from bootmanager.send_report import send_report
from bootserver import nodes
from bootserver.state import open_state
from host.console import Console
from host.events import Events, LineFile
from host.options import Options
from host.ports import Host
from host.run import Runner
from hwdetect.disks import NoDisk
from hwdetect.inventory import inventory_of
from hwdetect.media import Candidate, Media
from hwdetect.recording import record
from hwdetect.udev import Device
from steps.base import Facts
from tests.host.secret_forms import Search
from tests.host.server_process import cli, key_file
from tests.host.test_host_secrets import Client, Http
from wire import nodeconf

pytestmark = pytest.mark.host
ARCHIVE = b"\x1f\x8b\x08 an archive"


def test_a_report_of_this_machine_reaches_the_server_without_secrets(server, tmp_path, monkeypatch):
    """Its journal, events and log have the node's key in them, as no program of ours would write it."""
    text = key_file(server.folder)
    configuration = nodeconf.parse(text, "key medium")
    node = Client(Http(server.nodes), configuration.node_id, configuration.key, "10.0.2.15")
    node.call("ReportRunlevel", {"run_level": "failboot"})
    (tmp_path / "run").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host_key"], check=True)
    private = (tmp_path / "host_key").read_text()
    events = Events("bootmanager", (LineFile(tmp_path / "run/events.jsonl"),))
    events.tell("odd", detail=configuration.key.to_text(), more=[text, private, "password=hunter2"])
    log = f"{text}{configuration.key.secret.hex()}\n{private}root:$6$saltsalt${'x' * 86}:1::\n"
    (tmp_path / "run/bootmanager.log").write_text(log)
    media = Media(candidates=(Candidate("/dev/sdx1", "/dev/sdx", "plnode.txt", text),))
    host = Host(Runner(), None, events, Console([]), Options(), tmp_path / "run")
    found = record(host.run)

    facts = Facts((found, media, configuration, node))
    archive = make_report(host, facts, state=State.INST, cause=NoDisk("none"))
    number = send_report(node, archive, NoDisk("none"))

    (row,) = json.loads(cli(server.folder, "node", "reports", "node1", "--format", "json"))
    assert (row["id"], row["code"], row["size_bytes"]) == (number, "no-disk", len(archive))
    file = tmp_path / "fetched.tgz"
    cli(server.folder, "node", "report", "node1", "--to", file)
    assert file.read_bytes() == archive
    assert open_report(file).inventory() == inventory_of(found)

    members = tmp_path / "members"
    members.mkdir()
    # By the tools that people have.
    subprocess.run(["tar", "-xzf", file, "-C", members], check=True)
    assert {"about.json", "dmesg.txt", "lsblk.json", "events.jsonl", "bootmanager.log"} <= {
        path.name for path in members.iterdir()
    }
    search = Search()
    search.add("node key", configuration.key.secret)
    for index, session in enumerate(node.sessions):
        search.add(f"session key {index}", session.key)
    search.secrets |= {
        "ssh host key": {line.encode() for line in private.splitlines()[1:-1]},
        "password": {b"hunter2"},
        "password's hash": {b"$6$saltsalt"},
    }
    search.look_below(members)
    assert search.found == []
    assert search.bytes > 10_000


def test_one_that_is_too_large_is_refused_and_the_node_goes_on(server):
    state = open_state(server.folder)
    with state.database.read() as session:
        known = nodes.find(session, "node1")
        node_id, key = known.id, nodes.key_of(state.master, known)
    node = Client(Http(server.nodes), node_id, key, "10.0.2.15")
    with pytest.raises(Exception, match="1048577 bytes, 1048576 allowed"):
        send_report(node, ARCHIVE.ljust(1024 * 1024 + 1, b"x"), None)
    assert send_report(node, ARCHIVE.ljust(1024 * 1024, b"x"), None) > 0
    state.database.close()


@contextmanager
def mounted(device, folder):
    folder.mkdir()
    subprocess.run(["mount", device, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def reports(stick, monkeypatch):
    """A stick with a file system for reports, as udev would tell of it."""
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", LABEL, stick], check=True, capture_output=True)
    said = {"ID_FS_LABEL": LABEL, "ID_FS_TYPE": "ext4"}
    path = f"/sys/devices/pci0000:00/usb1/1-1/block/{stick.removeprefix('/dev/')}"
    device = Device(path, stick.removeprefix("/dev/"), "disk", stick, said, {"removable": "1"})
    monkeypatch.setattr(report_place.udev, "devices", lambda _: (device,))
    return stick


def test_a_report_is_written_onto_the_marked_stick(reports, tmp_path):
    said = write_to_stick(Runner(), ARCHIVE, Media())
    with mounted(reports, tmp_path / "looked") as folder:
        (file,) = folder.glob("*.tgz")
        assert file.read_bytes() == ARCHIVE
        assert said == f"{file.name} on {reports}"
    # Mounted by somebody, it stays so.
    with mounted(reports, tmp_path / "again") as folder:
        (folder / file.name).unlink()
        write_to_stick(Runner(), ARCHIVE, Media())
        assert [path.read_bytes() for path in folder.glob("*.tgz")] == [ARCHIVE]


def test_no_medium_of_the_node_is_written(reports, tmp_path):
    for media in (Media(boot=(reports,)), Media(candidates=(Candidate(reports, reports, "plnode.txt", ""),))):
        with pytest.raises(ReportRefused):
            write_to_stick(Runner(), ARCHIVE, media)
        with mounted(reports, tmp_path / f"at{id(media)}") as folder:
            with pytest.raises(ReportRefused):
                write_to(folder, ARCHIVE, media)
            assert [path.name for path in folder.iterdir()] == ["lost+found"]
            assert "on " + reports in write_to(folder / "r.tgz", ARCHIVE, Media())
            (folder / "r.tgz").unlink()


def test_a_full_stick_is_no_fault_of_the_program(reports, tmp_path):
    with mounted(reports, tmp_path / "full") as folder:
        with pytest.raises(ReportRefused, match="No space left"):
            write_to(folder, bytes(100 * 2**20), Media())
        assert [path.name for path in folder.iterdir()] == ["lost+found"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "r.tgz").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for place in ("r.tgz", "link", "no/folder/r.tgz"):
        with pytest.raises(ReportRefused):
            write_to(tmp_path / place, ARCHIVE, Media())
    assert (tmp_path / "r.tgz").read_text() == "precious"
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_which_stick_is_never_guessed(count, monkeypatch):
    said = {"ID_FS_LABEL": LABEL, "ID_FS_TYPE": "vfat"}
    inside = Device("/sys/devices/pci0/block/sda", "sda", "disk", "/dev/sda", said, {"removable": "0"})
    sticks = [
        Device(f"/sys/devices/pci0/usb1/block/sd{n}", f"sd{n}", "disk", f"/dev/sd{n}", said, {})
        for n in range(count)
    ]
    monkeypatch.setattr(report_place.udev, "devices", lambda _: (inside, *sticks))
    with pytest.raises(NoReportStick):
        write_to_stick(Runner(), ARCHIVE, Media())
