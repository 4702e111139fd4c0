"""What is laid over the node: files that the server gives, and the trees of overlay images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from configmanager.backends.placing import Entry
from wire.conf_files import ConfFile, check_path, check_place
from wire.errors import ConfigurationError


class UnknownOwner(ConfigurationError):
    """A file shall belong to somebody whom the node does not know."""

    code = "unknown-owner"
    title = "A file's owner is not known on the node"
    hint = "Correct file_owner or file_group at the server; a number does too."


class UnsuitableOverlay(ConfigurationError):
    """An image has something that is not laid over a node."""

    code = "unsuitable-overlay"
    title = "An image cannot be laid over the node"
    hint = "Make it of the files alone that the service needs, and publish it again."


def entry_of(file: ConfFile, root: Path) -> Entry:
    """Return what shall be laid for a file. Raises UnknownOwner, OSError."""
    owner = _number(root / "etc/passwd", file.file_owner), _number(root / "etc/group", file.file_group)
    return Entry(file.place, stat.S_IFREG | file.mode, owner, file.data)


def entries_of(tree: Path) -> list[Entry]:
    """Return what shall be laid for an image that lies in `tree`. Raises UnsuitableOverlay, OSError."""
    return list(_below(tree, ""))


def _below(tree: Path, folder: str) -> Iterator[Entry]:
    with os.scandir(tree / folder) as found:
        each = sorted(found, key=lambda entry: entry.name)
    for entry in each:
        path = f"{folder}/{entry.name}" if folder else entry.name
        there = entry.stat(follow_symlinks=False)
        owner = there.st_uid, there.st_gid
        try:
            # A folder that the node has stays as it is, so any may be there.
            (check_path if stat.S_ISDIR(there.st_mode) else check_place)(path)
        except ValueError as error:
            raise UnsuitableOverlay(str(error)) from None
        if stat.S_ISDIR(there.st_mode):
            yield Entry(path, there.st_mode, owner)
            yield from _below(tree, path)
        elif stat.S_ISLNK(there.st_mode):
            yield Entry(path, there.st_mode, owner, os.fsencode(Path(entry).readlink()))
        elif stat.S_ISREG(there.st_mode):
            yield Entry(path, there.st_mode, owner, source=tree / path)
        else:
            raise UnsuitableOverlay(f"/{path} is neither a file, a folder nor a link")


def _number(accounts: Path, name: str) -> int:
    """Return the number of a user or group. A file of accounts is what counts, whatever else there is."""
    if name.isdigit():
        return int(name)
    for line in accounts.read_text(errors="replace").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
            return int(fields[2])
    raise UnknownOwner(f"{name} is not in /{'/'.join(accounts.parts[-2:])}")
