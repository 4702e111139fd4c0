"""What is built once and shared by all tests of all workers: images, and a server that published them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.vm.harness.shared import once

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / ".build"
IMAGES = BUILD / "images"
SHARED = BUILD / "vm-shared"
RUN_VARIABLE = "BM_VM_RUN"
_NAMES = ("boot.iso", "vmlinuz", "initrd", "base.tar.zst", "project.tar.zst", "sliver.tar.zst")


@dataclass(frozen=True)
class Artifacts:
    """Where the built files are; `sizes` in bytes and `digests` (SHA-256) by file name."""

    iso: Path
    kernel: Path
    initrd: Path
    base: Path
    project: Path
    sliver: Path
    sizes: dict[str, int]
    digests: dict[str, str]

    @property
    def key(self) -> str:
        """Return a name that changes whenever any of the built files does."""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()[:16]


def run_name() -> str:
    """Return what is the same for all workers of one test run, and different in the next."""
    return os.environ.get(RUN_VARIABLE, str(os.getpid()))


def artifacts() -> Artifacts:
    """Return what was built; builds what is missing or was made from other sources first.

    Looking whether all is up to date takes seconds, so it is done once for all workers of a run, which then
    keeps links of its own: a build meanwhile would take the files away from under the machines.
    """

    def link(folder: Path) -> None:
        # `make images` has said by now what there is; only an error is news.
        line = [sys.executable, ROOT / "build" / "images.py"]
        subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        index = json.loads((IMAGES / "index.json").read_text())
        for name in _NAMES:
            os.link(IMAGES / index[name]["path"], folder / name)
        (folder / "index.json").write_text(json.dumps(index))

    kept = once(SHARED, f"images-{run_name()}", link)
    index = json.loads((kept / "index.json").read_text())
    iso, kernel, initrd, base, project, sliver = (kept / name for name in _NAMES)
    sizes = {name: int(index[name]["bytes"]) for name in index}
    digests = {name: str(index[name]["sha256"]) for name in index}
    return Artifacts(iso, kernel, initrd, base, project, sliver, sizes, digests)


def forget_run() -> None:
    """Remove what was kept for this run only."""
    for folder in SHARED.glob(f"*-{run_name()}"):
        shutil.rmtree(folder)
