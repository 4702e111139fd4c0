"""One installation, a process of its own: python -m tests.bench.unpack_once URL MANIFEST TARGET DONGLE."""

from __future__ import annotations

import json
import resource
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
    """Print seconds, peak memory in MiB, and bytes over the network as JSON."""
    url, digest, target, dongle = sys.argv[1:5]
    cache = Cache(Path(dongle) if dongle else None, Events("bench"))
    started = time.monotonic()
    image = SignedImage("base", digest, None)
    moved = install(image, Path(target), HttpSource(HttpClient, url), cache)
    subprocess.run(["sync", "-f", target], check=True)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "network_bytes": moved.network_bytes}))


if __name__ == "__main__":
    main()
