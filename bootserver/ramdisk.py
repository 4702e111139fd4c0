"""Archives behind a boot medium's initial ramdisk: the kernel unpacks one after another into one tree."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from host.run import Runner

_SECONDS = 600.0


def append(ramdisk: Path, tree: Path, files: Iterable[Path], run: Runner) -> None:
    """Put files of a folder behind a ramdisk, below the same names, with the folders that they are in.

    Raises CommandFailed, CommandMissing, OSError.
    """
    names = {file.relative_to(tree) for file in files}
    names |= {folder for name in names for folder in name.parents[:-1]}
    archive = ramdisk.with_name(f"{ramdisk.name}.archive")
    words: list[str | Path] = ["--create", "--format=newc", "--quiet", "--null", "--owner=0:0"]
    order = "".join(f"{name}\0" for name in sorted(names))
    run(["cpio", *words, "--reproducible", "-D", tree, "-O", archive], input=order.encode(), timeout=_SECONDS)
    with ramdisk.open("ab") as file, archive.open("rb") as more:
        # The kernel looks for a further archive at multiples of four bytes.
        file.write(bytes(-file.tell() % 4))
        shutil.copyfileobj(more, file)
    archive.unlink()
