"""Mounts with an end: what is mounted here is unmounted on the way out, never lazily."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.run import Runner


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mounts."""

    source: str
    target: Path
    fstype: str
    options: tuple[str, ...]


def mount_table() -> tuple[Mount, ...]:
    """Return what is mounted now."""
    return mounts_of(mounts_text())


def mounts_text(table: Path = Path("/proc/self/mounts")) -> str:
    """Return what is mounted now as the kernel tells it."""
    return table.read_text(encoding="utf-8", errors="surrogateescape")


def mounts_of(text: str) -> tuple[Mount, ...]:
    """Return the mounts that a text of the kernel's is about. Its octal escapes are decoded."""
    found = []
    for line in text.splitlines():
        source, target, fstype, options = (_decode(word) for word in line.split(" ")[:4])
        found.append(Mount(source, Path(target), fstype, tuple(options.split(","))))
    return tuple(found)


def mount_at(folder: Path) -> Mount | None:
    """Return what is mounted at a folder, None for nothing; of several mounts the topmost."""
    return next((mount for mount in reversed(mount_table()) if mount.target == folder), None)


def _decode(word: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


@contextmanager
def mounted(
    run: Runner,
    source: str | Path,
    target: Path | None = None,
    *,
    fstype: str = "auto",
    options: Sequence[str] = (),
) -> Iterator[Path]:
    """Mount `source` at `target` (or a new temporary folder) for the length of a with block.

    Raises CommandFailed when it cannot be mounted, or not be unmounted because somebody is in it. An OSError
    of a file below gets that file's name on `source`: nobody could tell anything by the temporary folder's.
    """
    with tempfile.TemporaryDirectory(prefix="bm-mount-") as scratch:
        where = target or Path(scratch)
        where.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", fstype, *(["-o", ",".join(options)] if options else [])]
        run([*words, str(source), str(where)])
        try:
            yield where
        except OSError as error:
            if isinstance(error.filename, str) and Path(error.filename).is_relative_to(where):
                error.filename = f"/{Path(error.filename).relative_to(where)} on {source}"
            raise
        finally:
            run(["umount", str(where)], timeout=600)
