"""How the cost of making and unpacking an image grows: from 100 MB to 4 GB, from 7,500 to 300,000 files.

The cost is the processor's time, of all threads and in the kernel, which a slow disk does not hide and other
programs hardly change. Draws docs/images/growth.svg with gnuplot.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from images.make import make_image
from images.sources.folder import FolderSource
from images.store import BlobStore
from tests.bench.file_server import ROOT, file_server
from tests.bench.result import Result

PLOT = ROOT / "docs/images/growth.svg"
FILES = (7_500, 37_500, 75_000, 300_000)
FILE_BYTES = 13_333
_SCRIPT = """
set terminal svg size 720,360 font "sans,12" background "white"
set output "{plot}"
set multiplot layout 1,2
set key left top
set xlabel "files, 13 kB each"
set ylabel "processor seconds"
set xtics 100000
set yrange [0:*]
plot "{data}" using 1:2 with linespoints title "making", "" using 1:3 with linespoints title "unpacking"
set ylabel "peak memory of unpacking, MiB"
plot "{data}" using 1:4 with linespoints notitle
"""


@dataclass(frozen=True)
class Point:
    """One size: seconds of a processor to make and to unpack an image, peak memory of unpacking in MiB."""

    files: int
    make_seconds: float
    unpack_seconds: float
    peak_mib: float


def growth_results(scratch: Path | None = None) -> list[Result]:
    """Measure in a folder with room for 12 GiB. Linear is 1: cost of a file, the most against the fewest."""
    points = []
    for files in FILES:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            points.append(_measured(Path(name), files))
    _draw(points)
    small, large = points[0], points[-1]
    factor = large.files / small.files
    return [
        Result(
            "growth_of_making",
            large.make_seconds / small.make_seconds / factor,
            1.2,
            {"seconds": large.make_seconds},
        ),
        Result(
            "growth_of_unpacking",
            large.unpack_seconds / small.unpack_seconds / factor,
            1.2,
            {"seconds": large.unpack_seconds},
        ),
        Result("peak_memory_mib_300000_files", large.peak_mib, 128, {"mib": large.peak_mib}),
    ]


def _measured(folder: Path, files: int) -> Point:
    tree = _tree(folder / "tree", files)
    store = BlobStore(folder / "images/blobs")
    os.sync()
    used = time.process_time()
    manifest = make_image("base", FolderSource(tree), store)
    make_seconds = time.process_time() - used
    # The store has folders of blobs, a server one path for each.
    for digest in list(store.digests()):
        store.path(digest).rename(store.folder / digest)
    (folder / "target").mkdir()
    os.sync()
    with file_server(folder) as url:
        argv = [
            sys.executable,
            "-m",
            "tests.bench.unpack_once",
            url,
            manifest.digest,
            str(folder / "target"),
            "",
        ]
        environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    return Point(files, make_seconds, found["processor_seconds"], found["peak_mib"])


def _tree(tree: Path, files: int) -> Path:
    """Make a tree of files of which zstd saves half, a hundred in a folder."""
    dice = random.Random(files)
    for number in range(files):
        if number % 100 == 0:
            folder = tree / f"{number // 10_000:03}" / f"{number // 100:05}"
            folder.mkdir(parents=True)
        (folder / f"{number:06}").write_bytes(
            dice.randbytes(FILE_BYTES // 2) + bytes(FILE_BYTES - FILE_BYTES // 2)
        )
    return tree


def _draw(points: list[Point]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".dat") as data:
        for point in points:
            data.write(f"{point.files} {point.make_seconds} {point.unpack_seconds} {point.peak_mib}\n")
        data.flush()
        script = _SCRIPT.format(plot=PLOT, data=data.name)
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
