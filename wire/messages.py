"""What node and server tell each other, as frozen classes.

Sizes are MiB where a disk or memory is meant, because XML-RPC integers have 32 bits.
An absent text is "".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

MAXIMUM_MIRRORS = 16
# No user, password, query or fragment: it is shown to people and a path is appended to it.
_MIRROR = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*")


def is_mirror(text: str) -> bool:
    """Say whether the text may be a mirror's base URL: http or https, without a slash at its end."""
    return len(text) <= 200 and _MIRROR.fullmatch(text) is not None


class TargetState(StrEnum):
    """What the operator wants of a node (the intent)."""

    NEW = "new"
    INST = "inst"
    RINS = "rins"
    BOOT = "boot"
    DBG = "dbg"


class RunLevel(StrEnum):
    """What was last observed of a node; never an intent."""

    BOOT = "boot"
    SAFEBOOT = "safeboot"
    FAILBOOT = "failboot"
    REINSTALL = "reinstall"
    # Handed over to the other system on its disk, which reports nothing.
    DISKIMAGE = "diskimage"


@dataclass(frozen=True)
class Minimum:
    """The least hardware that this node may be installed on."""

    memory_mib: int = 499
    disk_mib: int = 4096


@dataclass(frozen=True)
class DiskPolicy:
    """Which disks the node may use.

    `system` is a serial number or WWN, or "" to take the only disk that fits. `data` is "auto" (every
    further disk that is blank or ours), "none", or serial numbers separated by commas.
    """

    system: str = ""
    data: str = "auto"


@dataclass(frozen=True)
class VolumeSizes:
    """Sizes in MiB; the slivers volume takes the rest of the volume group."""

    boot_mib: int = 512
    swap_mib: int = 256
    root_mib: int = 3072


@dataclass(frozen=True)
class ImageRef:
    """An image by name and by the SHA-256 (hex) of its manifest."""

    name: str
    manifest: str


@dataclass(frozen=True)
class DiskOrder:
    """That the node shall run another system: the image of a whole disk. Nothing is ordered with `id` "".

    `id` is another one each time that an operator asks, so that the same image can be written again. `disk`
    is a serial number or WWN, "" for the node's system disk.
    """

    id: str = ""
    image: ImageRef = ImageRef("", "")
    disk: str = ""


NO_DISK_ORDER = DiskOrder()


@dataclass(frozen=True)
class DiskRecord:
    """What a node noted of a disk image that it wrote, or began to write (not `whole`), by the order `id`.

    `serial`, `wwn` and `size_mib` say onto which disk. `table` is the id of the image's partition table, by
    which the disk is recognised; `claim` stands for it where disks are told by their claims.
    """

    id: str
    image: ImageRef
    serial: str
    wwn: str
    size_mib: int
    table: str
    claim: str
    whole: bool


@dataclass(frozen=True)
class NodeDetails:
    """The node's configuration as the server keeps it: the reply to BootGetNodeDetails.

    `run_id` names one (re)installation and changes whenever an operator asks for another one.
    `generation` grows with every change of the configuration. `mirrors` are base URLs of servers that
    have images too, asked before the server itself; `bandwidth_kib` bounds what is fetched of images, in
    KiB per second, 0 for no bound. `clean` wants the root file system made anew also in a reinstallation
    that could take files from it. With `neighbours` nodes of one LAN give each other what they have.
    `disk_image` is the other system that it shall run instead of its own, `disk_records` what it said last
    of such a disk. `console_password` is the hash (wire.password) of what opens a shell at its console, ""
    for no shell there.
    """

    node_id: int
    hostname: str
    boot_state: TargetState
    run_id: str
    generation: int
    base_image: ImageRef
    images: tuple[ImageRef, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    minimum: Minimum = Minimum()
    disks: DiskPolicy = DiskPolicy()
    volumes: VolumeSizes = VolumeSizes()
    kernel_arguments: str = "console=tty0 console=ttyS0,115200"
    cache_budget_mib: int = 2048
    mirrors: tuple[str, ...] = ()
    bandwidth_kib: int = 0
    clean: bool = False
    neighbours: bool = True
    disk_image: DiskOrder = NO_DISK_ORDER
    disk_records: tuple[DiskRecord, ...] = ()
    console_password: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be a mirror or a bound, whoever says it. Raises ValueError."""
        if len(self.mirrors) > MAXIMUM_MIRRORS or not all(map(is_mirror, self.mirrors)):
            raise ValueError(f"mirrors: at most {MAXIMUM_MIRRORS} base URLs, http or https, wanted")
        if self.bandwidth_kib < 0:
            raise ValueError("bandwidth_kib: 0 or more wanted")
