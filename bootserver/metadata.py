"""The files of the images' signed metadata: VERSION.ROLE.json, and timestamp.json, as TUF names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from wire.errors import ConfigurationError

ROOT, TIMESTAMP = "root", "timestamp"
_FILE = re.compile(r"(?:timestamp|([1-9][0-9]{0,8})\.(root|snapshot|targets))\.json")


class NotSigning(ConfigurationError):
    """The server has no roles and keys."""

    code = "not-signing"
    title = "The server has no keys to sign images with"
    hint = "Begin a new folder with `bootserver init FOLDER`, or restore metadata and database together."


def versions(folder: Path, role: str) -> Mapping[int, Path]:
    """Return a role's files by version; timestamp has no versions and none."""
    found = ((_FILE.fullmatch(path.name), path) for path in folder.glob(f"*.{role}.json"))
    return {int(name[1]): path for name, path in found if name}


def newest(folder: Path, role: str) -> Path | None:
    """Return the file of a role's newest metadata, None without any."""
    if role == TIMESTAMP:
        path = folder / "timestamp.json"
        return path if path.is_file() else None
    known = versions(folder, role)
    return known[max(known)] if known else None


def trusted_root(folder: Path) -> bytes:
    """Return the newest root metadata, for media. Raises NotSigning."""
    path = newest(folder, ROOT)
    if path is None:
        raise NotSigning(f"{folder} holds no root metadata")
    return path.read_bytes()


def is_metadata_name(name: str) -> bool:
    """Say whether a name may be that of a metadata file, and so is safe to look up."""
    return _FILE.fullmatch(name) is not None
