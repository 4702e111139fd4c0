"""A Debian root onto ext4, from a server and from a dongle; and what an update of it brings over the network.

Ours runs in a process of its own, so that its memory is its own too; starting Python is not counted, since a
node's program runs already. Both sides write onto the same loop device, made anew each time and past the
kernel's memory, and both wait until all is on it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images.diff import bytes_to_fetch
from images.make import make_image
from images.manifest import Manifest
from images.sources.folder import FolderSource
from images.store import BlobStore
from images.update import make_update
from tests.bench.file_server import file_server
from tests.bench.result import Result

MIB = 1024 * 1024
DISK_MIB = 2048
ROUNDS = 3
_BLOBS = "images/blobs"
# Editors, tools, a server, data: some 30 MB of packages in any Debian.
_TEN = ("vim", "vim-runtime", "git", "emacs-nox", "cmake-data", "gdb", "nginx", "tmux")
_TEN += ("python3-numpy", "tcpdump")
_ONE = ("tmux",)


@dataclass(frozen=True)
class Prepared:
    """A root file system as tree, archive and image, in one folder, served at `url`."""

    folder: Path
    url: str
    tree: Path
    archive: Path
    manifest: Manifest
    store: BlobStore


@dataclass(frozen=True)
class _Once:
    """One installation: how long it took, the most memory of the process, image bytes over the network."""

    seconds: float
    peak_mib: float
    network_bytes: int


def tree_results(base: Path, scratch: Path | None = None) -> list[Result]:
    """Measure with the root file system in a tar.zst, in a folder with room for 6 GiB. Needs root."""
    with tempfile.TemporaryDirectory(dir=scratch) as name, file_server(Path(name)) as url:
        prepared = _prepare(base, Path(name), url)
        return [*_installing(prepared), *_updating(prepared)]


def _prepare(base: Path, folder: Path, url: str) -> Prepared:
    tree, archive = folder / "tree", folder / "tree.tar.zst"
    tree.mkdir()
    _shell(f"tar -C {tree} --xattrs --xattrs-include='*' --acls --zstd -xf {base}")
    _shell(f"tar -C {tree} -c . | zstd -q -3 -o {archive}")
    store = BlobStore(folder / "store")
    manifest = make_image("base", FolderSource(tree), store)
    (folder / _BLOBS).mkdir(parents=True)
    for digest in store.digests():
        os.link(store.path(digest), folder / _BLOBS / digest)
    return Prepared(folder, url, tree, archive, manifest, store)


def _installing(prepared: Prepared) -> list[Result]:
    ours, theirs, warm, copied, memory, moved = [], [], [], [], [], []
    archive = f"{prepared.url}/{prepared.archive.name}"
    dongle, plain = prepared.folder / "dongle", prepared.folder / "plain"
    dongle.mkdir()
    _ours(prepared, dongle)
    _shell(f"cp -a {prepared.tree} {plain}")
    for _ in range(ROUNDS):
        for found, cache in ((ours, None), (warm, dongle)):
            once = _ours(prepared, cache)
            found.append(once.seconds)
            memory.append(once.peak_mib)
            if cache is not None:
                moved.append(once.network_bytes)
        theirs.append(_timed(prepared, f"curl -s {archive} | zstd -dc | tar -x -C"))
        copied.append(_timed(prepared, f"cp -a {plain}/. "))
    return [
        _ratio("install_from_server_against_tar", ours, theirs, 0.70),
        _ratio("install_from_dongle_against_cp", warm, copied, 1.0),
        Result("install_from_dongle_network_bytes", max(moved), 0, {"bytes": max(moved)}),
        Result("peak_memory_mib", max(memory), 128, {"mib": max(memory)}),
    ]


def _ratio(name: str, ours: list[float], theirs: list[float], goal: float) -> Result:
    return Result(name, min(ours) / min(theirs), goal, {"ours": min(ours), "theirs": min(theirs)})


def _ours(prepared: Prepared, dongle: Path | None) -> _Once:
    with _disk(prepared.folder) as target:
        words = [prepared.url, prepared.manifest.digest, target, dongle or ""]
        argv = [sys.executable, "-m", "tests.bench.unpack_once", *map(str, words)]
        # As the units have it.
        environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    if dongle is None and found["network_bytes"] < prepared.manifest.size:
        raise RuntimeError("it did not come over the network")
    return _Once(found["seconds"], found["peak_mib"], found["network_bytes"])


def _timed(prepared: Prepared, command: str) -> float:
    with _disk(prepared.folder) as target:
        started = time.monotonic()
        _shell(f"{command} {target} && sync -f {target}")
        return time.monotonic() - started


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A file system that was made just now; nothing is in the kernel's memory."""
    image, target = folder / "disk.img", folder / "target"
    target.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    _shell(f"mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 {image}")
    device = _shell(f"losetup --find --show --direct-io=on {image}").strip()
    try:
        _shell(f"mount {device} {target} && rmdir {target}/lost+found && sync")
        Path("/proc/sys/vm/drop_caches").write_text("3")
        yield target
    finally:
        _shell(f"umount {target}; losetup --detach {device}")


def _updating(prepared: Prepared) -> list[Result]:
    results = []
    for name, packages, goal in (("ten_packages", _TEN, 1.05), ("one_package", _ONE, 0.02)):
        tree = prepared.folder / name
        _shell(f"cp -a {prepared.tree} {tree}")
        _add(packages, tree)
        new = make_image("base", FolderSource(tree), prepared.store)
        update = make_update(prepared.manifest, new, prepared.store)
        ours = bytes_to_fetch(prepared.manifest, new, update, prepared.store.get)
        theirs = _rsync(prepared.tree, tree) if packages is _TEN else new.size
        results.append(Result(f"update_{name}_bytes", ours / theirs, goal, {"ours": ours, "theirs": theirs}))
    return results


def _add(packages: tuple[str, ...], tree: Path) -> None:
    """Lay packages of this machine's distribution into a tree, as dpkg would."""
    with tempfile.TemporaryDirectory() as name:
        # apt downloads as a user of its own.
        Path(name).chmod(0o755)
        _shell(f"cd {name} && apt-get -qq download {' '.join(packages)}")
        _shell(f"for package in {name}/*.deb; do dpkg -x $package {tree}; done")


def _rsync(old: Path, new: Path) -> int:
    """Return the bytes that rsync -z moves to make a copy of the old tree the new one."""
    copy = old.with_name("rsynced")
    _shell(f"cp -a {old} {copy}")
    said = _shell(f"rsync -az --delete --no-whole-file --stats {new}/ {copy}/")
    moved = re.findall(r"^Total bytes (?:sent|received): ([\d,]+)$", said, re.MULTILINE)
    return sum(int(number.replace(",", "")) for number in moved)


def _shell(command: str) -> str:
    argv = ["bash", "-c", f"set -eo pipefail; {command}"]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
