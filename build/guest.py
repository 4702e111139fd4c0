"""The guest of tests: the base filesystem on a disk that QEMU boots at once, with pytest in it.

Nothing is installed and no server asked: it is where the code meets systemd, control groups and containers.
"""

from __future__ import annotations

from pathlib import Path

import pylayer
import store
from distribution import RECIPES
from store import run

# Pure Python, and Debian's own pytest would bring another version than the host's tests have.
WHEELS = ["pytest", "pluggy", "iniconfig", "packaging", "pygments"]
DISK_MIB = 4096
_NETWORK = "[Match]\nType=ether\nName=en*\n[Network]\nDHCP=yes\n"
# Quotas are a feature of its filesystem, so that the kernel needs their module to mount it.
_SETTLE = (
    "ssh-keygen -A && echo guest > /etc/hostname && "
    "echo quota_v2 >> /etc/initramfs-tools/modules && update-initramfs -c -k all"
)


def obtain_guest(base: Path) -> Path:
    """The guest's disk (qcow2, one ext4 filesystem), kernel and initial ramdisk."""
    key = store.content_key([RECIPES / "guest.py"], base.name)

    def make(work: Path, out: Path) -> None:
        tree = work / "tree"
        run(["mkdir", "-p", str(tree)])
        run(["tar", "-C", str(tree), "--zstd", "-xpf", str(base / "base.tar.zst"), "--xattrs"], root=True)
        layer = work / "wheels"
        for wheel in pylayer.build_wheels(WHEELS, work / "built"):
            pylayer.install_wheel(wheel, layer)
        pylayer.compile_for(tree, layer)
        run(["cp", "-a", "--no-preserve=ownership", f"{layer}/.", str(tree)], root=True)
        (work / "guest.network").write_text(_NETWORK, "utf-8")
        run(["cp", str(work / "guest.network"), str(tree / "etc/systemd/network/")], root=True)
        _in_tree(tree, _SETTLE)
        for pattern, file in (("vmlinuz-*", "guest-vmlinuz"), ("initrd.img-*", "guest-initrd")):
            (found,) = (tree / "boot").glob(pattern)
            run(["cp", str(found), str(out / file)], root=True)
        raw = work / "guest.raw"
        run(["truncate", "--size", f"{DISK_MIB}M", str(raw)])
        run(["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-d", str(tree), str(raw)], root=True)
        run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(out / "guest.qcow2")], root=True)
        run(["sh", "-c", f"chown $(stat -c %u:%g {out.parent}) {out}/*"], root=True)

    return store.obtain("guest", key, ["guest.qcow2", "guest-vmlinuz", "guest-initrd"], make)


def _in_tree(tree: Path, script: str) -> None:
    mounts = 'mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev"'
    inside = f"{mounts} && chroot \"$1\" env -i PATH=/usr/sbin:/usr/bin sh -c '{script}'"
    run(["unshare", "--mount", "sh", "-c", inside, "-", str(tree)], root=True)
