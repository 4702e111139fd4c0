"""The network: what the cards say of their links, and how fast the server's images come."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

from bootmanager.hwtest.result import Progress, Result, judged, not_possible
from host.http import HttpClient
from host.texts import _, error_text
from hwdetect.inventory import Nic
from images.manifest import MAXIMUM_MANIFEST_BYTES, Blob, parse
from images.source import BLOBS_PATH
from wire.errors import BootError

TEST = "network"
SYS_NET = Path("/sys/class/net")
QUICK_SECONDS, LONG_SECONDS = 5.0, 60.0
LEAST_MBITS = 10.0
_LINK_LIMIT = _("full duplex, no new errors")
_ERRORS = ("rx_errors", "tx_errors", "rx_crc_errors", "collisions")
_MEGABIT = 1e6


@dataclass(frozen=True)
class Link:
    """What the kernel knows of a link: `speed` in Mbit/s, 0 and `duplex` "" where a card does not say."""

    up: bool
    speed: int
    duplex: str
    errors: int


def link_of(name: str, net: Path = SYS_NET) -> Link:
    """Read a link."""
    folder = net / name
    speed = _text(folder / "speed")
    errors = sum(int(_text(folder / "statistics" / each) or 0) for each in _ERRORS)
    # A virtual card says -1, one that is down nothing.
    number = int(speed) if speed.isdigit() else 0
    return Link(_text(folder / "carrier") == "1", number, _text(folder / "duplex"), errors)


def check_link(nic: Nic, before: Link, now: Link) -> Result:
    """Judge a link by what it was before the other tests and is now."""
    if not now.up:
        return not_possible(TEST, nic.name, _("no link: no cable, or nobody at its other end"))
    fault: str = _("half duplex") if now.duplex == "half" else ""
    if now.errors > before.errors:
        fault = _("{n} new errors", n=now.errors - before.errors)
    speed = f"{now.speed} Mbit/s" if now.speed else _("speed not told")
    detail = _("link {speed}, {n} errors since the start", speed=speed, n=now.errors)
    return judged(TEST, nic.name, fault, detail, _LINK_LIMIT, {"mbits": now.speed, "errors": now.errors})


def check_server(http: HttpClient, manifest: str, *, seconds: float, progress: Progress) -> Result:
    """Fetch packs of an image (its manifest's SHA-256) for some seconds, and keep nothing."""
    target = http.base_url
    progress(_("network: fetching from {target} for {seconds:.0f} s", target=target, seconds=seconds))
    try:
        data = http.get(BLOBS_PATH + manifest, limit=MAXIMUM_MANIFEST_BYTES)
        packs = [pack.blob for pack in parse(data).packs]
        size, took = _fetched(http, packs, seconds)
    except BootError as error:
        return not_possible(TEST, target, error_text(error))
    rate = size * 8 / _MEGABIT / took
    fault = "" if rate >= LEAST_MBITS else _("slow")
    detail = _("{rate:.0f} Mbit/s over {seconds:.1f} s", rate=rate, seconds=took)
    limit = _("{rate:.0f} Mbit/s or more", rate=LEAST_MBITS)
    return judged(TEST, target, fault, detail, limit, {"mbits": round(rate, 1), "bytes": size})


class _Enough(Exception):
    """The time of the test is over, in the middle of an answer."""


def _fetched(http: HttpClient, packs: list[Blob], seconds: float) -> tuple[int, float]:
    """Return how many bytes came, in how many seconds."""
    size, begun = 0, time.monotonic()

    def count(length: int) -> None:
        nonlocal size
        size += length
        if time.monotonic() - begun > seconds:
            raise _Enough

    try:
        while packs:
            for blob in packs:
                http.resume(BLOBS_PATH + blob.sha256, _Nowhere(), limit=blob.size, on_piece=count)
    except _Enough:
        pass
    return size, max(time.monotonic() - begun, 1e-6)


class _Nowhere(io.BytesIO):
    """A file that keeps nothing."""

    def write(self, data: object) -> int:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
