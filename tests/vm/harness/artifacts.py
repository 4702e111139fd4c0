"""What is built once and shared by all tests of all workers: images, and a server that published them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / ".build"
IMAGES = BUILD / "images"
SHARED = BUILD / "vm-shared"


@dataclass(frozen=True)
class Artifacts:
    """Where the built files are; `sizes` in bytes by file name."""

    iso: Path
    kernel: Path
    initrd: Path
    base: Path
    project: Path
    sliver: Path
    sizes: dict[str, int]

    @property
    def key(self) -> str:
        """Return a name that changes whenever any of the built files does."""
        text = json.dumps([str(self.iso), str(self.base), str(self.project), str(self.sliver)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_name() -> str:
    """Return what is the same for all workers of one test run, and different in the next."""
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


def artifacts() -> Artifacts:
    """Return what was built; builds what is missing or was made from other sources first."""
    SHARED.mkdir(parents=True, exist_ok=True)
    run = run_name()
    done = SHARED / "images-checked"
    with FileLock(SHARED / "images.lock"):
        # Looking whether all is up to date takes seconds: once for all workers of a run.
        if not done.exists() or done.read_text() != run:
            subprocess.run([sys.executable, ROOT / "build" / "images.py"], cwd=ROOT, check=True)
            done.write_text(run)
        index = json.loads((IMAGES / "index.json").read_text())
    names = ("boot.iso", "vmlinuz", "initrd", "base.tar.zst", "project.tar.zst", "sliver.tar.zst")
    iso, kernel, initrd, base, project, sliver = (IMAGES / index[name]["path"] for name in names)
    sizes = {name: int(index[name]["bytes"]) for name in index}
    return Artifacts(iso, kernel, initrd, base, project, sliver, sizes)
