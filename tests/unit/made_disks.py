"""A disk as hwdetect describes it, for tests that say only what matters of theirs."""

from hwdetect.content import MIB, DiskState
from hwdetect.inventory import Disk

GIB = 1024 * MIB
BLANK = Disk(
    path="",
    model="Testdisk",
    serial="",
    wwn="",
    size_bytes=20 * GIB,
    bus="virtio",
    removable=False,
    read_only=False,
    rotational=False,
    logical_sector=512,
    state=DiskState.BLANK,
)
