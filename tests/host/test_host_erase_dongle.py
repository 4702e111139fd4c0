"""The dongle is emptied where it is proven to be ours and to hold nothing else; nothing else is written."""

import subprocess
from pathlib import Path

import pytest

from host.mounts import mount_at, mount_table
from host.run import CommandFailed, Runner
from hwdetect import erase_dongle as module
from hwdetect import marked_stick
from hwdetect.dongle import mount_dongle, unmount_dongle
from hwdetect.erase_dongle import NotOurDongle, erase_dongle, proven_dongle
from hwdetect.marked_stick import is_made, is_marked, make_dongle
from hwdetect.udev import Device
from tests.host.test_host_marked_stick import command, head, kind, mark

pytestmark = pytest.mark.host


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cache").mkdir()
    yield tmp_path / "cache"
    unmount_dongle(Runner(), tmp_path / "cache")


@pytest.fixture
def dongle(stick, monkeypatch):
    """A dongle that was made of a marked stick; udev knows loop devices as no USB sticks."""
    mark(stick)
    made = make_dongle(Runner(), (stick,))
    attributes = {"removable": "1", "ro": "0", "size": str(64 * 2048)}
    device = Device("/sys/devices/usb1/x", Path(stick).name, "disk", stick, {}, attributes)
    part = Device(f"{device.path}/1", "x1", "partition", made.device, parent=device.path)
    monkeypatch.setattr(module.udev, "devices", lambda subsystem: (device, part))
    monkeypatch.setattr(module, "dongle_of", lambda block: made)
    return made


def test_the_dongle_is_empty_then_and_in_use_again(dongle, folder):
    mount_dongle(Runner(), dongle, folder)
    for name in ("blobs", "documents"):
        (folder / name).mkdir()
    (folder / "blobs/one").write_text("x")
    (folder / "journal.jsonl").write_text("{}")
    assert proven_dongle(Runner(), folder) == dongle
    made = erase_dongle(Runner(), dongle, folder)
    assert [path.name for path in folder.iterdir()] == ["lost+found"]
    assert mount_at(folder).source == made.device
    assert is_made(Runner(), dongle.disk)


def foreign_label(dongle, folder):
    """A stick that somebody gave the label."""
    command("sfdisk", "-q", "--disk-id", dongle.disk, "0x12345678")
    mount_dongle(Runner(), dongle, folder)


def something_else_on_it(dongle, folder):
    mount_dongle(Runner(), dongle, folder)
    (folder / "thesis.txt").write_text("the only copy")


def mounted_elsewhere_too(dongle, folder):
    mount_dongle(Runner(), dongle, folder)
    (folder.parent / "other").mkdir()
    command("mount", dongle.device, folder.parent / "other")


def another_file_system(dongle, folder):
    command("mkfs.ext4", "-q", "-F", "-L", "thesis", dongle.device)
    command("mount", dongle.device, folder)


def not_in_use(dongle, folder):
    pass


@pytest.mark.parametrize(
    "case", [foreign_label, something_else_on_it, mounted_elsewhere_too, another_file_system, not_in_use]
)
def test_without_proof_nothing_is_written(dongle, folder, case):
    case(dongle, folder)
    command("sync")
    before = head(dongle.disk)
    try:
        with pytest.raises(NotOurDongle):
            erase_dongle(Runner(), dongle, folder)
        assert head(dongle.disk) == before
    finally:
        if any(mount.target == folder.parent / "other" for mount in mount_table()):
            subprocess.run(["umount", folder.parent / "other"], check=True)


def test_a_disk_that_is_no_removable_usb_stick_is_refused(dongle, folder, monkeypatch):
    mount_dongle(Runner(), dongle, folder)
    device, _ = module.udev.devices("block")
    fixed = Device(device.path.replace("usb", "ata"), device.name, "disk", device.node, {}, device.attributes)
    monkeypatch.setattr(module.udev, "devices", lambda subsystem: (fixed,))
    with pytest.raises(NotOurDongle, match="no removable USB stick"):
        proven_dongle(Runner(), folder)


@pytest.mark.parametrize("last", ["--part-type", "mkfs.ext4"])
def test_a_power_cut_while_it_is_erased_is_made_up_for(dongle, folder, last):
    class Cut(Runner):
        def __call__(self, argv, **how):
            done = super().__call__(argv, **how)
            if last in argv:
                raise CommandFailed(argv, 1, "the power was cut here")
            return done

    mount_dongle(Runner(), dongle, folder)
    with pytest.raises(CommandFailed, match="power was cut"):
        erase_dongle(Cut(), dongle, folder)
    assert kind(dongle.disk) == marked_stick.UNFINISHED
    assert is_marked(Runner(), dongle.disk)
    make_dongle(Runner(), (dongle.disk,))
    assert is_made(Runner(), dongle.disk)
