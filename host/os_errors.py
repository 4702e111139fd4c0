"""Errors of the operating system that the machine is to blame for, as the errors that people are told of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from wire.errors import BootError, ConfigurationError, UnsupportedHardware, quoted

# The class does not tell: a disk that fails and a fault of the program are both an OSError, and both may come
# from any call. These numbers come of a device or a file system, whatever the program asks of it; what it
# asks wrongly is ENOENT, ENOTDIR, EISDIR, EEXIST, EACCES, EBADF, EINVAL and the like, and stays what it is.
# EUCLEAN and EBADMSG are a damaged file system; ENXIO, ENODEV and ENOMEDIUM a device that went away.
_FAILING = {
    errno.EIO,
    errno.EROFS,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOMEDIUM,
    errno.EUCLEAN,
    errno.EBADMSG,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskWriteFailed(UnsupportedHardware):
    """The disk does not take, or does not give back, what is written to it."""

    code = "disk-write-failed"
    title = "A disk cannot be written"
    hint = "Look at the kernel's messages (journalctl -k); a disk that has errors is to be replaced."


class NoSpaceLeft(ConfigurationError):
    """A file system has no room for what a node needs on it."""

    code = "no-space-left"
    title = "A file system is full"
    hint = "At the server: bootserver node set NAME root_mib=MIB (boot_mib for bm-boot). In RAM: add memory."


@contextmanager
def machine_blamed() -> Iterator[None]:
    """Raise DiskWriteFailed or NoSpaceLeft in place of an OSError that the machine is to blame for.

    Any other OSError is a fault of the program and passes as it is.
    """
    try:
        yield
    except OSError as error:
        found = _blame(error)
        if found is None:
            raise
        raise found from error


def _blame(error: OSError) -> BootError | None:
    if error.errno not in _FAILING | _FULL:
        return None
    # Not the error's own text: whoever raises it may put there whatever was at hand.
    reason = os.strerror(error.errno)
    detail = reason if error.filename is None else f"{quoted(error.filename)}: {reason}"
    return NoSpaceLeft(detail) if error.errno in _FULL else DiskWriteFailed(detail)
