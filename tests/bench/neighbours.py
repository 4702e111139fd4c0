"""Ten nodes of one LAN that install a Debian root at once: how many images the server sends for that."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from images.make import make_image
from images.sources.archive import ArchiveSource
from tests.bench.result import Result
from tests.host.lan import lan

NODES = 10
RATE_MBIT = 200
# In life disks are made ready meanwhile.
_MEET_SECONDS = 2.0


def ten_neighbours(base: Path, scratch: Path | None = None) -> Result:
    """Install the root file system in a tar.zst ten times, in a folder with room for 4 GiB. Needs root."""
    with tempfile.TemporaryDirectory(dir=scratch) as name, lan(Path(name)) as net:
        image = make_image("base", ArchiveSource(base), net.store)
        net.publish(image)
        net.serve(f"{RATE_MBIT}mbit")
        nodes = [net.node(image) for _ in range(NODES)]
        for node in nodes:
            node.hear()
        time.sleep(_MEET_SECONDS)
        before, begun = net.sent_by_server(), time.monotonic()
        for node in nodes:
            node.tell("begin")
        for node in nodes:
            node.hear()
        seconds = time.monotonic() - begun
        images = (net.sent_by_server() - before) / image.size
    # What ten that know nothing of each other would wait for the line alone.
    alone = NODES * image.size * 8 / (RATE_MBIT * 1e6)
    return Result(
        "ten_neighbours_images_from_server", images, 1.5, {"seconds": seconds, "alone_at_line_rate": alone}
    )
