"""Looking into media and mounting the dongle, on loop devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.mounts import mount_table
from host.run import CommandFailed, Runner
from hwdetect.dongle import Dongle, mount_dongle, shared_dongle, unmount_dongle
from hwdetect.media import _candidates
from hwdetect.udev import Device

pytestmark = pytest.mark.host

SIZE = 32 * 1024 * 1024


def command(*words):
    return subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def loop(tmp_path):
    """Make a file system with some files on a loop device."""
    made = []

    def make(fstype, files=None, read_only=False):
        image = tmp_path / f"{fstype}-{len(made)}"
        image.touch()
        os.truncate(image, SIZE)
        command(f"mkfs.{fstype}", "-q", image)
        folder = tmp_path / "fill"
        folder.mkdir(exist_ok=True)
        command("mount", "-o", "loop", image, folder)
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        command("umount", folder)
        node = command("losetup", "--find", "--show", *(["--read-only"] if read_only else []), image)
        made.append(node)
        return node

    yield make
    for node in made:
        command("losetup", "--detach", node)


def device(node, fstype):
    name = node.removeprefix("/dev/")
    return Device(f"/sys/block/{name}", name, "disk", node, {"ID_FS_TYPE": fstype})


@pytest.mark.parametrize("fstype", ["ext2", "ext4"])
def test_a_key_is_found_and_the_medium_keeps_every_byte(loop, fstype):
    node = loop(fstype, {"plnode.txt": 'NODE_ID="5"\n', "other.txt": "x"})
    before = Path(node).read_bytes()
    (found,) = _candidates(Runner(), device(node, fstype), node, mount_table())
    assert (found.device, found.filename, found.text) == (node, "plnode.txt", 'NODE_ID="5"\n')
    assert Path(node).read_bytes() == before


def test_both_names_are_found_whatever_their_case(loop):
    node = loop("ext4", {"PLNODE.TXT": "a", "planet.cnf": "b"})
    found = _candidates(Runner(), device(node, "ext4"), node, mount_table())
    assert [(one.filename, one.text) for one in found] == [("plnode.txt", "a"), ("planet.cnf", "b")]


def test_a_mounted_medium_is_read_where_it_is_mounted(loop, tmp_path):
    node = loop("ext4", {"plnode.txt": "a"})
    command("mount", node, tmp_path)
    try:
        (found,) = _candidates(Runner(), device(node, "ext4"), node, mount_table())
    finally:
        command("umount", tmp_path)
    assert found.text == "a"


@pytest.mark.parametrize("fstype", ["ext2", "ext4"])
@pytest.mark.parametrize("read_only", [True, False])
def test_the_dongle_is_mounted_for_writing_where_that_is_possible(loop, tmp_path, fstype, read_only):
    node = loop(fstype, read_only=read_only)
    folder = tmp_path / "cache"
    dongle = Dongle(node, node, fstype, SIZE)
    assert mount_dongle(Runner(), dongle, folder) is not read_only
    # Again: it stays mounted, once.
    assert mount_dongle(Runner(), dongle, folder) is not read_only
    assert sum(mount.target == folder for mount in mount_table()) == 1
    unmount_dongle(Runner(), folder)
    unmount_dongle(Runner(), folder)
    assert not any(mount.target == folder for mount in mount_table())


OTHER = """
import sys
from pathlib import Path
from host.run import CommandFailed, Runner
from hwdetect.dongle import Dongle, shared_dongle

node, fstype, folder, turns = sys.argv[1:]
with shared_dongle(Runner(), Dongle(node, node, fstype, 0), Path(folder), Path(turns)):
    pass
"""


@pytest.mark.parametrize("fstype", ["ext2", "ext4"])
@pytest.mark.parametrize("read_only", [True, False])
def test_the_last_of_several_processes_unmounts_the_dongle(loop, tmp_path, fstype, read_only):
    node = loop(fstype, read_only=read_only)
    folder = tmp_path / "cache"

    def is_mounted():
        return any(mount.target == folder for mount in mount_table())

    with shared_dongle(Runner(), Dongle(node, node, fstype, SIZE), folder, tmp_path) as writable:
        assert writable is not read_only
        command(sys.executable, "-c", OTHER, node, fstype, folder, tmp_path)
        assert is_mounted()
        # Nor does anybody else, who knows nothing of it.
        with pytest.raises(CommandFailed):
            unmount_dongle(Runner(), folder)
        if writable:
            (folder / "blob").write_text("b")
    assert not is_mounted()
    assert list(folder.iterdir()) == []


def test_a_dongle_that_somebody_is_in_stays_mounted_and_nothing_is_undone(loop, tmp_path, caplog):
    node, folder = loop("ext4"), tmp_path / "cache"
    with shared_dongle(Runner(), Dongle(node, node, "ext4", SIZE), folder, tmp_path):
        handle = os.open(folder, os.O_RDONLY)
    os.close(handle)
    assert "the dongle stays mounted" in caplog.text
    unmount_dongle(Runner(), folder)
