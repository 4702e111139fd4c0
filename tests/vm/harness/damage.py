"""Damage done to media while the machine is off, and a look at what is on them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.vm.harness.media import MIB, run


def overwrite(image: Path, offset: int, data: bytes) -> None:
    """Write `data` at `offset` (bytes) of a raw image or a file."""
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip_byte(file: Path, offset: int) -> None:
    """Turn over all bits of the byte at `offset`."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        old = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([old[0] ^ 0xFF]))


def ext4_files(image: Path, folder: str = "/") -> dict[str, int]:
    """Return path -> size in bytes of all plain files below `folder` of a raw ext4 image."""
    found: dict[str, int] = {}
    # Fields: inode/mode/uid/gid/name/size
    for row in run("debugfs", "-R", f"ls -p {folder}", image).decode().splitlines():
        fields = row.split("/")
        if len(fields) < 7 or fields[5] in (".", "..", "lost+found"):
            continue
        path = folder.rstrip("/") + "/" + fields[5]
        if fields[2].startswith("04"):
            found |= ext4_files(image, path)
        elif fields[2].startswith("10"):
            found[path] = int(fields[6])
    return found


def ext4_read(image: Path, path: str) -> bytes:
    """Return what a file on a raw ext4 image holds."""
    return run("debugfs", "-R", f"cat {path}", image)


def ext4_place(image: Path, path: str, offset: int) -> int:
    """Return where on a raw ext4 image the byte at `offset` of a file is."""
    blocks = run("debugfs", "-R", f"bmap {path} {offset // 4096}", image).decode().split()
    return int(blocks[-1]) * 4096 + offset % 4096


def ext4_flip_byte(image: Path, path: str, offset: int) -> None:
    """Turn over one byte of a file on a raw ext4 image, in place: same size, same times, other content."""
    flip_byte(image, ext4_place(image, path, offset))


def vfat_read(image: Path, path: str) -> bytes:
    """Return what a file on a raw vfat image holds."""
    return run("mcopy", "-i", image, f"::{path}", "-")


def ext4_replay(image: Path) -> None:
    """Bring up to date what a power cut left of a raw ext4 image, as mounting it does."""
    run("debugfs", "-w", "-R", "journal_run", image)


def ext4_fill(image: Path, leave_mib: int = 0) -> None:
    """Fill a raw ext4 image with a file until only `leave_mib` MiB are free."""
    stats = dict(
        line.split(":", 1) for line in run("dumpe2fs", "-h", image).decode().splitlines() if ":" in line
    )
    free = int(stats["Free blocks"]) * int(stats["Block size"])
    with tempfile.NamedTemporaryFile(dir=image.parent) as filler:
        # Not a hole: debugfs would keep it one.
        for _ in range(max(0, free - leave_mib * MIB - MIB) // MIB):
            filler.write(b"\xaa" * MIB)
        filler.flush()
        run("debugfs", "-w", "-R", f"write {filler.name} filler", image)
