"""One installation, a process of its own: python -m tests.bench.unpack_once URL MANIFEST TARGET DONGLE."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from host.events import Events
from host.http import HttpClient
from images.cache import Cache
from images.manifest import SignedImage
from images.source import HttpSource
from images.unpack import install


def main() -> None:
    """Print seconds, those of a processor, peak memory in MiB, and bytes over the network as JSON."""
    url, digest, target, dongle = sys.argv[1:5]
    cache = Cache(Path(dongle) if dongle else None, Events("bench"))
    started, used = time.monotonic(), time.process_time()
    image = SignedImage("base", digest, None)
    moved = install(image, Path(target), HttpSource(HttpClient, url), cache)
    subprocess.run(["sync", "-f", target], check=True)
    seconds, used = time.monotonic() - started, time.process_time() - used
    # getrusage(2) would count in what the process was before exec: a copy of the benchmark.
    told = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert told is not None
    peak = int(told[1]) / 1024
    found = {"seconds": seconds, "processor_seconds": used, "peak_mib": peak}
    print(json.dumps({**found, "network_bytes": moved.network_bytes}))


if __name__ == "__main__":
    main()
