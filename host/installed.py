"""The kernel of the installed system, found on its own /boot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from host.target import ROOT_DEVICE
from wire.errors import VerificationError

# Nobody is at the shell that the initramfs would open, nor looks at a kernel that gave up. What a kernel
# tells by the way takes seconds of a serial line; later arguments can ask for it (loglevel=7).
_ARGUMENTS = "ro panic=60 quiet"


class NoKernel(VerificationError):
    """The installed system holds no kernel, or none with an initramfs."""

    code = "no-kernel"
    title = "No kernel in the installed system"
    hint = "Reinstall the node; if it happens again, publish a base image that holds /boot/vmlinuz-VERSION."


@dataclass(frozen=True)
class InstalledKernel:
    """What is loaded to start the installed system; names are relative to /boot."""

    version: str
    arguments: str

    @property
    def image(self) -> str:
        """File name of the kernel."""
        return f"vmlinuz-{self.version}"

    @property
    def initramfs(self) -> str:
        """File name of its initramfs."""
        return f"initrd.img-{self.version}"


def kernel_versions(root: Path) -> list[str]:
    """Return the versions of the kernels in /boot of the tree, oldest first. Raises NoKernel."""
    versions = [path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*")]
    if not versions:
        raise NoKernel("no /boot/vmlinuz-* in the installed system")
    return sorted(versions, key=_natural)


def newest_kernel(root: Path, kernel_arguments: str) -> InstalledKernel:
    """Return the newest kernel that has an initramfs. Raises NoKernel."""
    for version in reversed(kernel_versions(root)):
        if (root / f"boot/initrd.img-{version}").is_file():
            return InstalledKernel(version, f"root={ROOT_DEVICE} {_ARGUMENTS} {kernel_arguments}".strip())
    raise NoKernel("no kernel in /boot has an initramfs")


def _natural(version: str) -> list[tuple[int, str]]:
    """Order 6.9 before 6.12."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version)]
