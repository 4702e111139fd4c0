"""A slice's folder of FIFOs: /vsys in its sliver.

The folder is the sliver's root's, mode 0700, and mounted there read-only. The FIFOs are the node's root's
and open to the group of the sliver's root in one direction only, and no right of the sliver's reaches over
that, since the node's root is no user of the sliver. All is done by the folder's descriptor, following no
link: nothing in the sliver can have another file used in a FIFO's place.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import termios
from contextlib import suppress
from pathlib import Path

# The slices' folders, each by the name of its machine.
SLICES = Path("run/vsys")
IN = 0o620
OUT = 0o640
_NO_WAIT = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """The folder at `path`, whose owner is `user`."""

    def __init__(self, path: Path, user: int) -> None:
        """Open it. Raises OSError, and FileNotFoundError also where it is not finished."""
        self._user = user
        self._file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._status = os.fstat(self._file)
        if not is_finished(self._status, user):
            self.close()
            raise FileNotFoundError(f"{path} is not finished")

    def is_at(self, path: Path) -> bool:
        """Return whether it is still this one that has the name."""
        with suppress(FileNotFoundError):
            return os.path.samestat(self._status, path.lstat())
        return False

    def names(self) -> list[str]:
        """Return what is in it."""
        with os.scandir(self._file) as entries:
            return [entry.name for entry in entries]

    def make(self, name: str, mode: int) -> None:
        """Have a FIFO of that mode there; one that is there already stays, so who has it open may go on."""
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=self._file, follow_symlinks=False)
            owner = (status.st_uid, status.st_gid)
            if status.st_mode == stat.S_IFIFO | mode and owner == (os.geteuid(), self._user):
                return
            os.unlink(name, dir_fd=self._file)
        os.mkfifo(name, 0o600, dir_fd=self._file)
        os.chown(name, os.geteuid(), self._user, dir_fd=self._file, follow_symlinks=False)
        # The folder's owner can neither write in it nor put a link there, so this is still the FIFO.
        os.chmod(name, mode, dir_fd=self._file)

    def remove(self, name: str) -> None:
        """Remove a FIFO if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._file)

    def open(self, name: str, flags: int) -> int:
        """Open a FIFO without waiting for its other end. Raises OSError, ENXIO without a reader."""
        return os.open(name, flags | _NO_WAIT, dir_fd=self._file)

    def close(self) -> None:
        """Close it; its content stays."""
        os.close(self._file)


def is_finished(status: os.stat_result, user: int) -> bool:
    """Return whether that is the folder of a slice, made as a whole."""
    return status.st_mode == stat.S_IFDIR | 0o700 and status.st_uid == user


def waiting_bytes(file: int) -> int:
    """Return how much is in a FIFO."""
    return int(struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, bytes(4)))[0])


def has_reader(file: int) -> bool:
    """Return whether somebody has a FIFO open to read; `file` is open to write only."""
    poll = select.poll()
    poll.register(file, 0)
    return not poll.poll(0)
