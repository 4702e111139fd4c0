"""The wish that the boot medium's GRUB starts a disk once, by the disk's own boot loader.

Another system's disk has no place for the flag that an installed node has in its /boot, and the medium is
never written; so the wish lies on the dongle: a block of GRUB's environment, and which disk is meant, as the
checksum of its first sectors. build/iso/grub.cfg clears the flag before it follows it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

# Within the dongle's file system; build/iso/grub.cfg has the same names.
ENVIRONMENT = Path("grub/bmdisk.env")
CHECKSUM = Path("grub/bmdisk.sum")
# GRUB's blocks of 512 bytes, whatever the disk's sectors are.
HEAD_BLOCKS = 64
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The size and the first line that GRUB's load_env and save_env insist on (grub-core/commands/loadenv.c).
BLOCK_BYTES = 1024
_HEADING = "# GRUB Environment Block\n"
_WISH = re.compile(r"^bm_disk_once=1$", re.MULTILINE)
_BOOT = re.compile(r"^bm_disk_boot=([0-9a-f-]{36})$", re.MULTILINE)


@dataclass(frozen=True)
class Wish:
    """That a disk be started, not followed so far; `boot` is the id of the boot that wished it."""

    boot: str


def environment(boot: str, *, wished: bool) -> bytes:
    """Return the block with a wish of this boot, or with none."""
    text = f"{_HEADING}bm_disk_boot={boot}\nbm_disk_once={int(wished)}\n"
    return text.ljust(BLOCK_BYTES, "#").encode()


def wish_of(block: bytes | None) -> Wish | None:
    """Return the wish in a block, None where there is none or it was followed."""
    text = (block or b"").decode(errors="replace")
    found = _BOOT.search(text)
    return Wish(found[1]) if found and _WISH.search(text) else None


def checksum(disk: str) -> bytes:
    """Return what GRUB's sha256sum compares a disk (its node) with: of its root, the first blocks.

    Raises OSError.
    """
    with Path(disk).open("rb", buffering=0) as opened:
        head = opened.read(HEAD_BLOCKS * 512)
    return f"{hashlib.sha256(head).hexdigest()}  0+{HEAD_BLOCKS}\n".encode()


def this_boot() -> str:
    """Return the kernel's name for this boot."""
    return BOOT_ID.read_text().strip()
