"""A whole disk, half of it unused, over HTTP onto a disk: ours against curl, zstd and dd.

Both write onto the same loop device, blank before, over the same file, and both wait until all is on the
disk beneath. Nothing of the server's files or of the disk is in the kernel's memory at the start.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from host.http import HttpClient
from host.run import Runner
from images.disk_make import make_disk_image
from images.disk_write import write_disk
from images.manifest import Blob, sha256
from images.store import BlobStore
from tests.bench.file_server import file_server
from tests.bench.result import Result

MIB = 1024 * 1024
DISK_MIB = 1024
CONNECTIONS = 4
ROUNDS = 3


def disk_image_against_pipeline(scratch: Path | None = None) -> Result:
    """Measure in a folder with room for 4 GiB, on a disk; best of three each. Needs root."""
    with tempfile.TemporaryDirectory(dir=scratch) as name, file_server(Path(name)) as url:
        folder = Path(name)
        disk = make_disk(folder / "disk.raw")
        subprocess.run(["zstd", "-q", "-3", str(disk), "-o", str(folder / "disk.raw.zst")], check=True)
        store = BlobStore(folder / "store")
        manifest = make_disk_image("disk", disk, store, Runner())

        def ours(target: Path) -> None:
            write_disk(manifest, target, Connections(url))

        def theirs(target: Path) -> None:
            pipeline = f"curl -s {url}/disk.raw.zst | zstd -dc | dd of={target} conv=sparse bs=1M status=none"
            subprocess.run(["bash", "-c", f"set -o pipefail; {pipeline} && sync {target}"], check=True)

        seconds: dict[str, list[float]] = {"ours": [], "pipeline": []}
        for _ in range(ROUNDS):
            seconds["ours"].append(_measured(ours, folder, disk))
            seconds["pipeline"].append(_measured(theirs, folder, disk))
        best = {name: min(found) for name, found in seconds.items()}
        sizes = {
            "ours_mib": manifest.size / MIB,
            "pipeline_mib": (folder / "disk.raw.zst").stat().st_size / MIB,
        }
    return Result("disk_image_against_pipeline", best["ours"] / best["pipeline"], 0.6, {**best, **sizes})


def make_disk(path: Path) -> Path:
    """A disk of which every other MiB is used, by the files of a distribution: this machine's."""
    with path.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
        for offset, data in zip(range(0, DISK_MIB * MIB, 2 * MIB), _files(Path("/usr")), strict=False):
            file.seek(offset)
            file.write(data)
    return path


def _files(root: Path) -> Iterator[bytes]:
    """Yield what is in files, one after another, MiB by MiB."""
    waiting = bytearray()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                waiting += path.read_bytes()
            while len(waiting) >= MIB:
                yield bytes(waiting[:MIB])
                del waiting[:MIB]
    raise RuntimeError(f"{root} is too small to fill a disk with")


def _measured(write: Callable[[Path], None], folder: Path, disk: Path) -> float:
    """Return the seconds that it takes to write a blank loop device; what was written must be the disk."""
    backing = folder / "backing"
    backing.unlink(missing_ok=True)
    with backing.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    with _loop(backing) as target:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        started = time.monotonic()
        write(target)
        seconds = time.monotonic() - started
        subprocess.run(["cmp", str(disk), str(target)], check=True)
    return seconds


@contextmanager
def _loop(backing: Path) -> Iterator[Path]:
    # Past the kernel's memory: a disk has none of it either.
    argv = ["losetup", "--find", "--show", "--direct-io=on", str(backing)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


class Connections:
    """Blobs over several connections at once, verified."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = threading.local()

    def ahead(self, blobs: Iterable[Blob]) -> Generator[bytes, None, None]:
        """Yield the contents in order."""
        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for blob in blobs:
                waiting.append(pool.submit(self._fetch, blob))
                if len(waiting) > CONNECTIONS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _fetch(self, blob: Blob) -> bytes:
        if not hasattr(self._own, "http"):
            self._own.http = HttpClient(self._url)
        data = self._own.http.get(f"/store/{blob.sha256[:2]}/{blob.sha256}", limit=blob.size)
        if sha256(data) != blob.sha256:
            raise RuntimeError("not what was stored")
        return bytes(data)


if __name__ == "__main__":
    print(disk_image_against_pipeline())
