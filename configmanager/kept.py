"""What was read or worked out once, for as long as it is the same: a pass looks at a thousand slivers.

A file is the same by what its folder says of it, which no program can set back (ctime); a sliver by being the
same object, as records give it while the server's word on it is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from wire.slivers import Sliver

T = TypeVar("T")
# More than any node has at a time; then those of slivers that are long gone are forgotten with the others.
_MOST = 10_000


class ReadFiles(Generic[T]):
    """What `read` made of files' text."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._known: dict[str, tuple[tuple[int, ...], T]] = {}

    def get(self, path: Path | str) -> T:
        """Return what is in a file. Raises OSError, and what `read` does."""
        name = str(path)
        try:
            status = os.stat(name)  # noqa: PTH116 - a thousand times
            identity = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = self._known.get(name)
            if known is not None and known[0] == identity:
                return known[1]
            # What is read may be newer than the identity, and is read again then.
            found = self._read(Path(name).read_text(errors="replace"))
        except BaseException:
            self.forget(name)
            raise
        self._known[name] = (identity, found)
        return found

    def forget(self, path: Path | str) -> None:
        """Read that file again the next time: who has just written it knows better than its times."""
        self._known.pop(str(path), None)


class OfSlivers(Generic[T]):
    """What `work` made of slivers, and of something else that it goes by."""

    def __init__(self, work: Callable[..., T]) -> None:
        self._work = work
        self._known: dict[str, tuple[Sliver, object, T]] = {}

    def get(self, sliver: Sliver, *by: object) -> T:
        """Return what comes of it."""
        known = self._known.get(sliver.name)
        if known is None or known[0] is not sliver or known[1] != by:
            known = (sliver, by, self._work(sliver, *by))
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[sliver.name] = known
        return known[2]
