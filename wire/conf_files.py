"""Files of the node itself that the server gives: `conf_files` in the reply to GetSlivers.

Names of fields are those of the original node managers. Their `source` was a path that the node fetched from
the server's web pages; here the content comes with the signed reply, and `source` only says where it is from.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import cached_property

# Of one file, in bytes; all of a node travel in one reply (wire/xmlrpc.py has its bound).
MAXIMUM_CONTENT = 256 * 1024
MAXIMUM_COMMAND = 4096
MAXIMUM_PATH = 1024
# In bytes: a file is written beside its place first, under a longer name.
MAXIMUM_NAME = 200
_MODE = re.compile("0?[0-7]{3,4}")
_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,9}")
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Places that are not given away, and why. What begins with one of the last, too.
_MADE = "is made anew at each boot"
_START = "is what the node starts from"
_TRUST = "says what the node is and whom it believes"
_OWN = "is configmanager's own"
_ACCOUNTS = "holds the accounts of slivers and delegates"
_ACCOUNT_FILES = ("passwd", "shadow", "group", "gshadow", "passwd-", "shadow-", "group-", "gshadow-")
_CLOSED = {
    **dict.fromkeys(("proc", "sys", "dev", "run", "var/run"), _MADE),
    **dict.fromkeys(("boot", "etc/fstab"), _START),
    **dict.fromkeys(("etc/bootmanager", "etc/bootmanager.conf"), _TRUST),
    **dict.fromkeys(("var/lib/configmanager", "var/lib/slivers", "var/lib/machines"), _OWN),
    **dict.fromkeys(("etc/ssh/slivers", "etc/ssh/delegates"), _OWN),
    **dict.fromkeys((f"etc/{name}" for name in _ACCOUNT_FILES), _ACCOUNTS),
}
_CLOSED_NAMES = ("etc/systemd/system/bm-", "etc/systemd/system/slivers-")


@dataclass(frozen=True)
class ConfFile:
    """A file of the node. `content` is in base64. One that names a `service` comes and goes with that.

    The commands are run by sh: `preinstall_cmd` before the change, `postinstall_cmd` after it, `error_cmd`
    when one of them fails.
    """

    dest: str
    content: str
    source: str = ""
    file_permissions: str = "0644"
    file_owner: str = "root"
    file_group: str = "root"
    preinstall_cmd: str = ""
    postinstall_cmd: str = ""
    error_cmd: str = ""
    ignore_cmd_errors: bool = False
    always_update: bool = False
    enabled: bool = True
    service: str = ""

    def __post_init__(self) -> None:
        if not self.dest.startswith("/"):
            raise ValueError("dest is not an absolute path")
        check_place(self.dest[1:])
        if not _MODE.fullmatch(self.file_permissions):
            raise ValueError(f"file_permissions {self.file_permissions!r} is not octal, such as 0644")
        for owner in (self.file_owner, self.file_group):
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"owner {owner!r} is no name of a user or group, and no number")
        for command in (self.preinstall_cmd, self.postinstall_cmd, self.error_cmd):
            if len(command) > MAXIMUM_COMMAND or "\0" in command:
                raise ValueError(f"a command is over {MAXIMUM_COMMAND} characters or holds a NUL")
        if self.service and self.always_update:
            raise ValueError("a service's file is written when it changes, not always")
        _ = self.data

    @cached_property
    def data(self) -> bytes:
        """The content."""
        try:
            data = base64.b64decode(self.content, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("content is not base64") from None
        if len(data) > MAXIMUM_CONTENT:
            raise ValueError(f"content is over {MAXIMUM_CONTENT} bytes")
        return data

    @property
    def place(self) -> str:
        """Its path below the root."""
        return self.dest[1:]

    @property
    def mode(self) -> int:
        """The permissions as a number."""
        return int(self.file_permissions, 8)


def check_path(path: str) -> str:
    """Return a path below the root that leads nowhere else. Raises ValueError."""
    if len(path) > MAXIMUM_PATH or _UNSPEAKABLE.search(path):
        raise ValueError(f"a path is over {MAXIMUM_PATH} characters or holds one that no text may have")
    for part in path.split("/"):
        if part in ("", ".", "..") or len(part.encode()) > MAXIMUM_NAME:
            raise ValueError(f"/{path} is not a plain path with names of 1 to {MAXIMUM_NAME} bytes")
    return path


def check_place(path: str) -> str:
    """Return a path below the root where something may be laid. Raises ValueError."""
    check_path(path)
    for closed, why in _CLOSED.items():
        if path == closed or path.startswith(f"{closed}/"):
            raise ValueError(f"/{path} is not given away: /{closed} {why}")
    for closed in _CLOSED_NAMES:
        if path.startswith(closed):
            raise ValueError(f"/{path} is not given away: it {_OWN}")
    return path


def encode(data: bytes) -> str:
    """Return a content as it travels."""
    return base64.b64encode(data).decode()
