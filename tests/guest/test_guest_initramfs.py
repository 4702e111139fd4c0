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
    """What the kernel sees of one with two modules, one that needs others and one that is not there."""
    make_initramfs(Runner(), Path("/"), VERSION, ["ext4", "virtio_blk", "no_such_module"])
    subprocess.run(["unmkinitramfs", MADE, tmp_path], check=True)
    return tmp_path


def test_it_has_programs_modules_with_what_they_need_and_says_which_to_load(unpacked):
    programs, modules = unpacked, unpacked
    if (unpacked / "early").is_dir():
        # How unmkinitramfs keeps two archives apart.
        programs, modules = unpacked / "early", unpacked / "main"
    assert list(programs.glob("**/usr/sbin/lvm"))
    assert [path.name for path in modules.glob(f"**/{VERSION}/**/ext4.ko*")] == ["ext4.ko.xz"]
    assert list(modules.glob(f"**/{VERSION}/**/jbd2.ko*")), "ext4 needs it"
    assert "ext4.ko" in next(modules.glob(f"**/{VERSION}/modules.dep")).read_text()
    assert "virtio_blk\n" in next(modules.glob("**/conf/modules")).read_text()
    assert not list(Path("/var/tmp").glob("bootmanager*"))


def test_an_image_without_programs_for_it_has_them_made_here(monkeypatch):
    argvs = []
    monkeypatch.setattr(initramfs, "USERLAND", Path("usr/lib/bootmanager/none.img"))
    make_initramfs(lambda words, **_: argvs.append(words), Path("/var/tmp"), VERSION, ["ext4"])
    assert argvs == [["update-initramfs", "-c", "-k", VERSION]]
