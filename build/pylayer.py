"""Python distributions as files of a Debian 13 tree: wheels, installed where Debian's own Python looks.

Runs under the development environment, which has pip, setuptools and installer.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from store import run

SITE = "usr/lib/python3/dist-packages"
_COMPILE = ["/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]


def build_wheels(requirement: list[str], target: Path) -> list[Path]:
    """Wheels of what pip is asked for, without dependencies: those come from Debian."""
    target.mkdir()
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(target),
            *requirement,
        ]
    )
    return sorted(target.glob("*.whl"))


def install_wheel(wheel: Path, tree: Path) -> None:
    site = f"/{SITE}"
    scheme = {"purelib": site, "platlib": site, "scripts": "/usr/bin", "headers": "/usr/include"}
    # Elsewhere "data" is /usr itself; what some wheels have there (/etc in /usr) would be of no use.
    scheme["data"] = f"/usr/share/{wheel.name.split('-')[0]}"
    destination = SchemeDictionaryDestination(
        scheme, interpreter="/usr/bin/python3", script_kind="posix", destdir=str(tree)
    )
    with WheelFile.open(wheel) as source:
        install(source, destination, {"INSTALLER": b"build\n"})


def compile_for(distribution: Path, tree: Path) -> None:
    """Byte code for the dist-packages of `tree`, by the Python of a distribution (a squashfs or a folder).

    The building machine's Python may be another version, and what is compiled at each boot delays each boot.
    The mounts vanish with their namespace.
    """
    system, site = shlex.quote(str(distribution)), shlex.quote(str(tree / SITE))
    script = f"""
        set -e
        root=$(mktemp -d)
        trap 'umount -R "$root" 2>/dev/null; rmdir "$root"' EXIT
        if [ -d {system} ]; then mount --bind {system} "$root"; else mount -o ro,loop {system} "$root"; fi
        mount --bind {site} "$root/mnt"
        chroot "$root" {shlex.join(_COMPILE)} -s /mnt -p /{SITE} /mnt
    """
    run(["unshare", "--mount", "sh", "-c", script], root=True)
