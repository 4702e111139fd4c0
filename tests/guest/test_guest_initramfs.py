"""The initramfs that a node boots by: the image's programs and this machine's modules, in one file."""

import os
import subprocess
from pathlib import Path

import pytest

from host import initramfs
from host.initramfs import make_initramfs
from host.run import Runner

VERSION = os.uname().release
MADE = Path("/boot") / f"initrd.img-{VERSION}"


@pytest.fixture
def unpacked(tmp_path):
    """Programs and modules, as the kernel unpacks them: one archive after the other."""
    make_initramfs(Runner(), Path("/"), VERSION, ["ext4", "virtio_blk", "no_such_module"])
    made, userland = MADE.read_bytes(), Path("/", initramfs.USERLAND)
    assert made.startswith(userland.read_bytes())
    archive = made[userland.stat().st_size :].lstrip(b"\0")
    assert (len(made) - len(archive)) % 4 == 0, "the kernel looks for the next one there"
    programs, modules = tmp_path / "programs", tmp_path / "modules"
    for folder in (programs, modules):
        folder.mkdir()
    # unmkinitramfs takes what is compressed for the last archive, so it gets that one alone.
    subprocess.run(["unmkinitramfs", userland, programs], check=True)
    subprocess.run(["cpio", "--quiet", "--extract"], input=archive, cwd=modules, check=True)
    return programs, modules


def test_it_has_programs_modules_with_what_they_need_and_says_which_to_load(unpacked):
    programs, modules = unpacked
    assert (programs / "usr/sbin/lvm").exists()
    kernel = modules / "usr/lib/modules" / VERSION
    assert [path.name for path in kernel.glob("**/ext4.ko*")] == ["ext4.ko.xz"]
    assert list(kernel.glob("**/jbd2.ko*")), "ext4 needs it"
    assert "ext4.ko" in (kernel / "modules.dep").read_text()
    assert "virtio_blk\n" in (modules / "conf/modules").read_text()
    assert not list(Path("/var/tmp").glob("bootmanager*"))


def test_an_image_without_programs_for_it_has_them_made_here(monkeypatch):
    argvs = []
    monkeypatch.setattr(initramfs, "USERLAND", Path("usr/lib/bootmanager/none.img"))
    make_initramfs(lambda words, **_: argvs.append(words), Path("/var/tmp"), VERSION, ["ext4"])
    assert argvs == [["update-initramfs", "-c", "-k", VERSION]]
