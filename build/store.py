"""Artifacts kept by content: built once, found again by the hash of everything they are made from.

``.build/images/<name>/<key>/<files>`` holds what a recipe made; ``.build/images/index.json`` maps each
artifact's file name to its path (relative to ``.build/images``), size in bytes, sha256 and key. A folder
appears by a rename when it is complete, so an interrupted build leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
IMAGES = BUILD / "images"
# The chroots are made here too: hard links from the package cache need the same file system.
SCRATCH = BUILD / "scratch"
LOG = BUILD / "images.log"


class CommandError(Exception):
    """A command of a recipe failed; the text ends with the last of what it printed."""


def run(argv: list[str], *, root: bool = False, env: dict[str, str] | None = None) -> None:
    """Run a command, as root through sudo when needed; its output goes to `.build/images.log`.

    :raises CommandError: it failed
    """
    if root and os.geteuid() != 0:
        argv = ["sudo", "env", *(f"{name}={value}" for name, value in (env or {}).items()), *argv]
    with LOG.open("ab") as log:
        log.write(f"+ {shlex.join(argv)}\n".encode())
        log.flush()
        begin = log.tell()
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    if done.returncode != 0:
        printed = LOG.read_bytes()[begin:].decode(errors="replace").splitlines()
        raise CommandError("\n".join([*printed[-25:], f"{argv[0]} ended with status {done.returncode}"]))


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder for one build, removed afterwards with whatever root left in it."""
    folder = SCRATCH / name
    # Root's leftovers of an interrupted build need root to go.
    run(["rm", "-rf", "--one-file-system", str(folder)], root=folder.exists())
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        run(["rm", "-rf", "--one-file-system", str(folder)], root=True)


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One build at a time in this tree; a second one waits."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (BUILD / "images.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def content_key(paths: list[Path], *more: str) -> str:
    """A short hash over names, modes and contents of files (folders recursively) and further text."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        for file in sorted([path] if not path.is_dir() or path.is_symlink() else path.rglob("*")):
            if "__pycache__" in file.parts or (file.is_dir() and not file.is_symlink()):
                continue
            content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
            mode = file.lstat().st_mode & 0o111
            digest.update(f"{file.relative_to(ROOT)}\0{mode}\0{len(content)}\0".encode() + content)
    for text in more:
        digest.update(f"{len(text)}\0{text}".encode())
    return digest.hexdigest()[:20]


def obtain(name: str, key: str, files: list[str], make: Callable[[Path, Path], None]) -> Path:
    """The folder with a recipe's files, made now if there is none for this key.

    :param make: called with (a scratch folder, the folder to put the files in)
    :raises RuntimeError: the recipe did not make a file it promised
    """
    folder = IMAGES / name / key
    if folder.is_dir():
        print(f"images: {name} is up to date ({key})", flush=True)
        return folder
    print(f"images: building {name} ({key})", flush=True)
    started = time.monotonic()
    with scratch(name) as work:
        out = work / "out"
        out.mkdir()
        make(work, out)
        for file in files:
            if not (out / file).is_file():
                raise RuntimeError(f"recipe {name} made no {file}")
            with (out / file).open("rb") as handle:
                os.fsync(handle.fileno())
        facts = {file: _facts(out / file) for file in files}
        (out / "facts.json").write_text(json.dumps(facts), "utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        out.rename(folder)
    print(f"images: {name} took {time.monotonic() - started:.0f} s", flush=True)
    return folder


def _facts(path: Path) -> dict[str, int | str]:
    with path.open("rb") as handle:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def write_index(folders: list[Path]) -> None:
    """Publish these folders' artifacts in index.json, replaced as a whole, and drop what they replace."""
    index = {
        file: {"path": str((folder / file).relative_to(IMAGES)), "key": folder.name, **facts}
        for folder in folders
        for file, facts in json.loads((folder / "facts.json").read_text("utf-8")).items()
    }
    temporary = IMAGES / "index.json.new"
    temporary.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", "utf-8")
    temporary.replace(IMAGES / "index.json")
    # Only now: until here the old index named them.
    for folder in folders:
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
    for file, facts in sorted(index.items()):
        print(f"  {file:24} {facts['bytes'] / 1e6:8.1f} MB  {IMAGES.relative_to(ROOT)}/{facts['path']}")
