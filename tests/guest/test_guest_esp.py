"""The EFI system partition on real vfat: made, damaged, and cut off from power anywhere while it is made."""

import os
from pathlib import Path

import pytest

from host import files
from host.esp import is_whole, make_esp
from host.filesystems import boot_uuid
from host.mounts import mounted
from host.run import Runner
from tests.guest.node_system import run

MIB = 1024 * 1024
# This system is of the base image, so it has the loaders.
ROOT = Path("/")
BOOT = boot_uuid("run")
SHIM, GRUB, MENU = "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/debian/grub.cfg"


class Partition:
    """A partition on a loop device. `cut` is what a power cut leaves: what was written out to its file."""

    def __init__(self, file):
        self.file = file
        with file.open("wb") as made:
            made.truncate(64 * MIB)
        self.device = run("losetup", "--find", "--show", str(file)).stdout.strip()

    def cut(self, to):
        run("cp", "--sparse=always", str(self.file), str(to))

    def put_back(self, kept):
        with Path(self.device).open("wb") as device:
            device.write(kept.read_bytes())
            os.fsync(device.fileno())

    def is_whole(self):
        return is_whole(Runner(), self.device, ROOT, BOOT)

    def is_sound(self):
        return run("fsck.vfat", "-n", self.device, ok=False).returncode == 0


@pytest.fixture
def partition(tmp_path):
    made = Partition(tmp_path / "esp.img")
    yield made
    run("losetup", "--detach", made.device)


def test_it_is_whole_and_sound_when_it_is_made_and_only_a_look_afterwards(partition):
    assert not partition.is_whole()
    make_esp(Runner(), partition.device, ROOT, BOOT)
    before = partition.file.read_bytes()
    assert partition.is_whole()
    assert partition.is_sound()
    assert partition.file.read_bytes() == before
    with mounted(Runner(), partition.device, fstype="vfat", options=("ro",)) as folder:
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [SHIM, GRUB, MENU]
        assert (folder / SHIM).read_bytes()[:2] == (folder / GRUB).read_bytes()[:2] == b"MZ"


@pytest.mark.parametrize("place", [0, 32 * 512])
def test_a_damaged_one_is_noticed_and_made_anew(partition, place):
    make_esp(Runner(), partition.device, ROOT, BOOT)
    with Path(partition.device).open("r+b") as device:
        device.seek(place)
        device.write(bytes(MIB))
    assert not partition.is_whole()
    make_esp(Runner(), partition.device, ROOT, BOOT)
    assert partition.is_whole()
    assert partition.is_sound()


def test_a_power_cut_at_any_instant_leaves_what_is_noticed_and_made_anew(partition, tmp_path, monkeypatch):
    cuts = []

    def cut():
        cuts.append(tmp_path / f"cut-{len(cuts)}")
        partition.cut(cuts[-1])

    sync = os.fsync

    def cut_around(handle):
        cut()
        sync(handle)
        cut()

    class Cutting(Runner):
        def __call__(self, argv, **how):
            cut()
            done = super().__call__(argv, **how)
            cut()
            return done

    # An older one is there, of another loader.
    make_esp(Runner(), partition.device, ROOT, BOOT)
    with mounted(Runner(), partition.device, fstype="vfat") as folder:
        (folder / SHIM).write_bytes(b"older")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", cut_around)
        make_esp(Cutting(), partition.device, ROOT, BOOT)
    assert len(cuts) > 20
    whole = []
    for kept in cuts:
        partition.put_back(kept)
        whole.append(partition.is_whole())
        make_esp(Runner(), partition.device, ROOT, BOOT)
        assert partition.is_whole(), kept
        assert partition.is_sound(), kept
    # Once it is whole it stays so; and it is, before anything else is written that says so.
    assert whole == sorted(whole)
    assert not whole[0]
    assert whole[-1]
