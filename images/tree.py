"""Emptying a folder that a broken unpacking left half made."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

# mkfs reserves blocks for it, so that a repair of a full file system has somewhere to put things.
_KEPT = "lost+found"


def empty(folder: Path, spare: Collection[str] = ()) -> bool:
    """Remove everything in `folder` that is on the same file system; say whether nothing remains.

    What has a name in `spare` stays. File systems mounted below stay untouched, and so do the folders that
    lead to them. Links are removed, never followed. Raises OSError.
    """
    device = folder.lstat().st_dev
    with os.scandir(folder) as entries:
        # All are tried, also after one that stays; the list is complete before the first goes.
        kept = [entry for entry in list(entries) if entry.name in spare or not _remove(entry, device)]
    return not kept


def _remove(entry: os.DirEntry[str], device: int) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        Path(entry).unlink()
        return True
    if entry.name == _KEPT or entry.stat(follow_symlinks=False).st_dev != device:
        return False
    if not empty(Path(entry)):
        return False
    Path(entry).rmdir()
    return True


def is_empty(folder: Path) -> bool:
    """Say whether the folder has nothing of an unpacked image, only what mkfs and mounting made."""
    device = folder.lstat().st_dev
    with os.scandir(folder) as entries:
        return all(
            entry.is_dir(follow_symlinks=False)
            and (
                entry.name == _KEPT
                or entry.stat(follow_symlinks=False).st_dev != device
                or is_empty(Path(entry))
            )
            for entry in entries
        )
