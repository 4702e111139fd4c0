"""The initramfs of an installed system: programs that came with its image, and this machine's kernel modules.

Making one from nothing takes initramfs-tools some thousand processes, the same for every node but for the
modules. So an image may bring the rest ready-made (USERLAND, an initramfs without modules for what the node
has), and a second archive is put behind it: the kernel unpacks one after the other, later files over
earlier ones (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from host.files import write_atomic
from host.run import Runner

USERLAND = Path("usr/lib/bootmanager/userland.img")
_STAGE = Path("var/tmp/bootmanager-initramfs")
_ARCHIVE = Path("var/tmp/bootmanager-modules.cpio")
_MODULES = Path("usr/lib/modules")
# What depmod and modprobe look at beside the modules themselves (depmod(8)).
_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo", "modules.softdep")
_FROM_NOTHING_SECONDS = 1200.0
# The kernel finds an archive that is not compressed at multiples of four only.
_ALIGNMENT = 4


def make_initramfs(run: Runner, root: Path, version: str, modules: Sequence[str]) -> None:
    """Make /boot/initrd.img-`version` of the tree, whose programs are run; `modules` are loaded by it.

    Modules that this kernel does not have are left out. Raises CommandFailed, CommandTimedOut, OSError.
    """
    target = root / f"boot/initrd.img-{version}"
    if not (root / USERLAND).is_file():
        # An initramfs half-made before a power cut is deleted first: `-c` refuses to overwrite.
        target.unlink(missing_ok=True)
        run(["update-initramfs", "-c", "-k", version], root=root, timeout=_FROM_NOTHING_SECONDS)
        return
    userland = (root / USERLAND).read_bytes()
    padding = bytes(-len(userland) % _ALIGNMENT)
    write_atomic(target, userland + padding + _modules_archive(run, root, version, modules))


def _modules_archive(run: Runner, root: Path, version: str, modules: Sequence[str]) -> bytes:
    """Return a cpio archive of the modules, what they depend on, and the list of those to load."""
    stage = root / _STAGE
    shutil.rmtree(stage, ignore_errors=True)
    kernel = stage / _MODULES / version
    kernel.mkdir(parents=True)
    for name in _LISTS:
        shutil.copy2(root / _MODULES / version / name, kernel)
    for path in _files_of(run, root, version, modules):
        copy = stage / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, copy)
    # depmod looks below /lib alone. It does not go along: the programs' archive has that link.
    (stage / "lib").symlink_to("usr/lib")
    run(["depmod", "--basedir", f"/{_STAGE}", version], root=root)
    (stage / "lib").unlink()
    (stage / "conf").mkdir()
    (stage / "conf/modules").write_text("".join(f"{name}\n" for name in modules))
    names = sorted(str(path.relative_to(stage)) for path in stage.rglob("*"))
    packing = ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0", "--directory", f"/{_STAGE}"]
    run([*packing, f"--file=/{_ARCHIVE}"], root=root, input="".join(f"{name}\n" for name in names).encode())
    data = (root / _ARCHIVE).read_bytes()
    (root / _ARCHIVE).unlink()
    shutil.rmtree(stage)
    return data


def _files_of(run: Runner, root: Path, version: str, modules: Sequence[str]) -> list[str]:
    """Return the modules' files and those that they need, relative to the root, as modprobe names them."""
    asking = ["modprobe", "--set-version", version, "--show-depends", "--all", "--", *modules]
    # 1: the kernel lacks one of them; the others are named all the same.
    said = run(asking, root=root, ok=(0, 1)).stdout.splitlines()
    return list(dict.fromkeys(f"usr{line.split()[1]}" for line in said if line.startswith("insmod /lib/")))
