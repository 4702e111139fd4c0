"""What e2fsprogs says of an ext4 file system that is not mounted, and does to it."""

from __future__ import annotations

from collections.abc import Mapping

from host.run import CommandFailed, Runner

FSCK_SECONDS = 3 * 3600.0
# e2fsck(8): nothing wrong; errors corrected.
_SOUND, _CORRECTED = 0, 1
_ANY = range(256)


def header(run: Runner, device: str) -> Mapping[str, str]:
    """Return the superblock as dumpe2fs shows it, by its names; nothing where there is none to be read."""
    try:
        said = run(["dumpe2fs", "-h", device]).stdout
    except CommandFailed:
        return {}
    rows = (line.partition(":") for line in said.splitlines())
    return {name: value.strip() for name, colon, value in rows if colon}


def is_clean(found: Mapping[str, str]) -> bool:
    """Say whether the file system was unmounted in order and has no known errors."""
    return found.get("Filesystem state") == "clean" and "needs_recovery" not in features(found)


def features(found: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the features that are on."""
    return frozenset(found.get("Filesystem features", "").split())


def is_sound(run: Runner, device: str, *, look_only: bool = False) -> bool:
    """Check all of it; say whether nothing is wrong.

    Unless `look_only`, its journal is replayed, and what a power cut leaves is mended and looked at again.
    """
    status = _CORRECTED
    if not look_only:
        status = run(["e2fsck", "-f", "-p", device], timeout=FSCK_SECONDS, ok=_ANY).status
    if status == _CORRECTED:
        status = run(["e2fsck", "-f", "-n", device], timeout=FSCK_SECONDS, ok=_ANY).status
    return status == _SOUND
