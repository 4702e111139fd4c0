"""Which accelerator works here. A /dev/kvm may be there and hang every guest, so it is tried.

The tiny guest is a boot sector that goes into 64-bit mode with paging, works there for a moment and then
writes one byte to QEMU's isa-debug-exit device. A guest that really ran makes QEMU exit with exactly
(byte << 1) | 1. KVM must do that, and not in more time than emulation takes: one that limps is no use.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from filelock import FileLock

_BYTE = 0x2A
_TCG_SECONDS = 60.0
_LEAST_SECONDS = 3.0

# Assembled from: real mode; page tables at 0x1000 (one 2 MiB page); CR4.PAE, EFER.LME, CR0.PG|PE; far jump
# to 64-bit code; a million rounds of a loop; cpuid; `out 0xf4, 0x2a`; hlt.
_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cbf00106689ff6631c0b9000cfc66f3ab66bf00100000c70600100320c7060020"
    "0330c7060030830066b8001000000f22d80f20e06683c8200f22e066b9800000c00f32660d000100000f300f"
    "0116987c0f20c0660d010000800f22c0ea6d7c0800b940420f00ffc975fc0fa266baf400b02aeef4ebfd660f"
    "1f440000000000000000000000000000009a20000f00887c0000"
)


def boot_sector() -> bytes:
    """Return the tiny guest: 512 bytes."""
    return _CODE.ljust(510, b"\0") + b"\x55\xaa"


def expected_status() -> int:
    """Return QEMU's exit status when the guest ran."""
    return (_BYTE << 1) | 1


def probe(accelerator: str, folder: Path, seconds: float, qemu: str = "qemu-system-x86_64") -> float | None:
    """Return how many seconds the tiny guest took under `accelerator`; None if it did not end in time."""
    sector = folder / "probe.img"
    sector.write_bytes(boot_sector())
    line = [
        qemu, "-nodefaults", "-no-user-config", "-display", "none", "-m", "16",
        "-accel", accelerator, "-drive", f"file={sector},format=raw,if=ide,snapshot=on",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x1",
    ]  # fmt: skip
    started = time.monotonic()
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            ran = process.wait(seconds) == expected_status()
        except subprocess.TimeoutExpired:
            process.kill()
            ran = False
    return time.monotonic() - started if ran else None


def accelerator(build: Path) -> str:
    """Return "kvm" or "tcg": the answer kept in `build`, else found out now."""
    build.mkdir(parents=True, exist_ok=True)
    answer = build / "accelerator"
    with FileLock(build / "accelerator.lock"):
        if answer.exists():
            return answer.read_text().strip()
        found = "kvm" if _kvm_works(build) else "tcg"
        answer.write_text(found + "\n")
        return found


def _kvm_works(folder: Path) -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    emulated = probe("tcg", folder, _TCG_SECONDS)
    if emulated is None:
        raise RuntimeError("QEMU cannot even run a boot sector under TCG")
    return probe("kvm", folder, max(_LEAST_SECONDS, emulated)) is not None
