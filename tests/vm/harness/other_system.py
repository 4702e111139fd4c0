"""Another operating system on a disk of its own: a boot sector that says on the serial line that it runs."""

from __future__ import annotations

import random
from pathlib import Path

from tests.vm.harness.media import MIB, blank

SAYS = "the other system runs"
# 16 bits, at 0000:7C00, as the BIOS or a chain loader starts it; the serial port is polled.
_CODE = bytes.fromhex(
    "fa fc"  # cli; cld
    "31c0 8ed8"  # xor ax, ax; mov ds, ax
    "be237c"  # mov si, the text behind this code
    "ac 84c0 7412"  # next: lodsb; test al, al; jz end
    "88c4 bafd03"  # mov ah, al; mov dx, 3FDh (line status of the first port)
    "ec a820 74fb"  # wait: in al, dx; test al, 20h; jz wait
    "88e0 baf803 ee"  # mov al, ah; mov dx, 3F8h; out dx, al
    "ebe9"  # jmp next
    "f4 ebfd"  # end: hlt; jmp end
)
_DISK_ID = 0x0BADCAFE


def other_system(path: Path, mib: int = 64, data_mib: int = 1) -> Path:
    """Make the raw disk, with an MBR, its id, and further on data that no compression makes smaller."""
    blank(path, mib)
    text = f"\r\n{SAYS}\r\n".encode() + b"\0"
    sector = (_CODE + text).ljust(440, b"\0") + _DISK_ID.to_bytes(4, "little")
    with path.open("r+b") as disk:
        disk.write(sector.ljust(510, b"\0") + b"\x55\xaa")
        disk.seek(8 * MIB)
        disk.write(random.Random(1).randbytes(data_mib * MIB))
    return path
