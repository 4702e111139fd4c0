"""The former root: set aside within its file system, so that a reinstallation can take files from it.

    /.former-<UUID of the run>        all that was in the root folder, and the files of /boot
    /.former-<UUID of the run>.json   which image it was made from

What tells old from new is the UUID of the file system. As long as it is the former run's, all that is on
it is old, wherever it stands. It becomes this run's when everything has been moved: from then on what is
outside of the folder is new. The mark of the former installation goes before anything else. A power cut at
any instant leaves one of the two states, and doing it again goes on where it ended.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host import ext4, mark, unpacked
from host.files import read_regular, sync_folder
from host.filesystems import ROOT_LABEL, FileSystem
from host.mounts import mounted
from host.run import CommandFailed, Runner
from host.storage import Layout, filesystem_uuid
from host.target import LOOKING, read_all_installed
from host.texts import _
from host.unpacked import Unpacked

log = logging.getLogger(__name__)

_LOST = "lost+found"
# The mark is in there: moved first, and nothing half made looks finished.
_MARKED = mark.PATH.parts[0]
_REMOVE_SECONDS = 1800.0
# What mkfs.ext4 of Debian turns on, and the kernel meanwhile. Anything else somebody else has turned on.
_FEATURES = frozenset(
    {
        "64bit",
        "dir_index",
        "dir_nlink",
        "ext_attr",
        "extent",
        "extra_isize",
        "filetype",
        "flex_bg",
        "has_journal",
        "huge_file",
        "large_file",
        "metadata_csum",
        "metadata_csum_seed",
        "needs_recovery",
        "orphan_file",
        "orphan_present",
        "resize_inode",
        "sparse_super",
    }
)
# Without it another UUID means other checksums everywhere, which no power cut may interrupt.
_NEEDED = "metadata_csum_seed"
_MOUNT_OPTIONS = "user_xattr acl"
# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS (linux/fs.h). Those kept, EXT4_INDEX_FL and EXT4_EXTENTS_FL, say how a
# folder is stored; the others what may be done with it.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_STORAGE_FLAGS = 0x00001000 | 0x00080000
# A kernel; what is larger is no file of /boot.
_BOOT_FILE_BYTES = 64 * 1024 * 1024
# Made by an installation, and in no image.
_INITRAMFS = "initrd.img-"


class NotKept(Exception):
    """Why a root file system is made anew instead: nobody's mistake, and so no error."""


@dataclass(frozen=True)
class Former:
    """What a former root is called in the root folder; `run_id` is that of the run that keeps it."""

    run_id: str

    @property
    def tree(self) -> str:
        """The former root folder. No image has such a name: it is this run's."""
        return f".former-{filesystem_uuid(self.run_id, 'former')}"

    @property
    def record(self) -> str:
        """What says of which image the tree is; goes last: as long as this is there, the tree may be."""
        return f"{self.tree}.json"

    def remove(self, run: Runner, root: Path) -> None:
        """Remove it from the tree mounted at `root`, durably. Raises CommandError, OSError."""
        found = root.stat()
        # rm copes with trees of any depth, never follows a link and stays on one file system.
        words = ["rm", "--recursive", "--force", "--one-file-system", "--", str(root / self.tree)]
        run(words, timeout=_REMOVE_SECONDS)
        sync_folder(root)
        (root / self.record).unlink()
        # The root folder's time is the image's.
        os.utime(root, ns=(found.st_atime_ns, found.st_mtime_ns))
        sync_folder(root)


def find(run: Runner, layout: Layout) -> Unpacked:
    """Say of which image the root is that could be kept; changes nothing and does not check the file system.

    Raises NotKept, with the reason.
    """
    device = layout.volume_device("root")
    found = ext4.header(run, device)
    if not found:
        raise NotKept(_("there is no file system"))
    record = _record(run, Former(layout.run_id))
    if record is None:
        raise NotKept(_("it does not say of which image it is"))
    if found.get("Filesystem UUID") != filesystem_uuid(record.run_id, ROOT_LABEL):
        raise NotKept(_("it is not the one that its installation made"))
    odd = ext4.features(found) - _FEATURES
    if odd or _NEEDED not in ext4.features(found):
        features = ", ".join(sorted(odd)) or _NEEDED
        raise NotKept(_("its features are not those of a new one: {features}", features=features))
    if found.get("Default mount options") != _MOUNT_OPTIONS or "Mount options" in found:
        raise NotKept(_("its mount options are not those of a new one"))
    if not _has_room(found):
        raise NotKept(_("more than half of it is in use"))
    return record


def keep(run: Runner, layout: Layout, root: FileSystem) -> Unpacked:
    """Set the former root aside and make its file system this run's.

    Raises NotKept, CommandError, OSError: then it is to be made anew, whatever was done to it.
    """
    if not ext4.is_sound(run, root.device):
        raise NotKept(_("its check finds damage"))
    record = find(run, layout)
    former = Former(layout.run_id)
    with mounted(run, root.device, fstype="ext4") as folder:
        set_aside(folder, former, record)
        _take_kernel(run, layout.boot_device, folder / former.tree / "boot")
    run(["tune2fs", "-U", root.uuid, root.device])
    return record


def set_aside(root: Path, former: Former, record: Unpacked) -> None:
    """Move all that is in the folder `root` into the former root's. Raises OSError."""
    _reset(root)
    tree = root / former.tree
    with suppress(FileExistsError):
        tree.mkdir(mode=0o700)
    if not stat.S_ISDIR(tree.lstat().st_mode):
        raise OSError(errno.ENOTDIR, "not a folder", former.tree)
    unpacked.write_unpacked(root / former.record, record)
    with suppress(OSError):
        # An empty one is no loss, and fsck makes it again where it was moved before a power cut.
        (root / _LOST).rmdir()
    for path in sorted(root.iterdir(), key=lambda path: path.name != _MARKED):
        if path.name not in (former.tree, former.record):
            path.rename(tree / path.name)
        if path.name == _MARKED:
            sync_folder(root)
    (root / _LOST).mkdir(mode=0o700)
    sync_folder(root)


def _record(run: Runner, former: Former) -> Unpacked | None:
    """Return what the former installation says; if it is half set aside, what was written down of it."""
    places = (Path(former.record), unpacked.PATH)
    texts = read_all_installed(run, places)
    return next(filter(None, (unpacked.load_unpacked(texts[place]) for place in places)), None)


def _has_room(found: Mapping[str, str]) -> bool:
    """Say whether half of it is free: an image like the former one fits beside it."""
    try:
        return all(
            int(found[f"Free {what}s"]) * 2 >= int(found[f"{name} count"])
            for what, name in (("block", "Block"), ("inode", "Inode"))
        )
    except (KeyError, ValueError):
        return False


def _reset(root: Path) -> None:
    """Take from the root folder itself, which stays, what new files would inherit or be kept from."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (flags,) = struct.unpack("I", fcntl.ioctl(handle, _GET_FLAGS, bytes(4)))
        fcntl.ioctl(handle, _SET_FLAGS, struct.pack("I", flags & _STORAGE_FLAGS))
        for name in os.listxattr(handle):
            os.removexattr(handle, name)
        os.fchown(handle, 0, 0)
        os.fchmod(handle, 0o755)
    finally:
        os.close(handle)


def _take_kernel(run: Runner, device: str, to: Path) -> None:
    """Copy the files of /boot, which is another file system and made anew. What is not there is fetched."""
    try:
        with mounted(run, device, fstype="ext4", options=LOOKING) as boot:
            with suppress(FileExistsError):
                to.mkdir()
            folder = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for path in boot.iterdir():
                    if not path.name.startswith(_INITRAMFS):
                        _copy(path, folder)
            finally:
                os.close(folder)
    except (CommandFailed, OSError) as error:
        log.info("of /boot nothing is kept: %s", error)


def _copy(file: Path, folder: int) -> None:
    """Copy a file into the folder, where no link leads out of it; without what cannot be read."""
    with suppress(OSError):
        content = read_regular(file, _BOOT_FILE_BYTES)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(file.name, flags, 0o600, dir_fd=folder), "wb") as copy:
            copy.write(content)
