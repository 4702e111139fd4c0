"""Things made once by whichever worker comes first, and used by all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

_OLD_SECONDS = 3 * 3600


def once(shelf: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` on the shelf; `make` fills it when it is not there yet.

    Others wait meanwhile. It appears by a rename when it is complete. Folders of the same kind (the name up
    to its last dash) that are older than any test run lasts are removed.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    folder = shelf / name
    kind = name.rpartition("-")[0]
    with FileLock(shelf / f"{kind}.lock"):
        if folder.exists():
            return folder
        for old in shelf.glob(f"{kind}-*"):
            if time.time() - old.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(old)
        work = Path(tempfile.mkdtemp(prefix=f".{kind}.", dir=shelf))
        try:
            make(work)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder
