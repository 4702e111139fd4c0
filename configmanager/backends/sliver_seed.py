"""What a new sliver has that its image has not: a name, an identity, and the slice's user.

Written once, into the empty upper folder, before anything of the sliver runs. The user has the slice's name
and becomes root by `su`, without a password: group of its own, pam_wheel(8). Formats: passwd(5), shadow(5),
group(5), machine-id(5).
"""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from host.files import read_regular
from wire.errors import ConfigurationError
from wire.slivers import Sliver

_FIRST_USER = 1000
_LAST_USER = 60000
_MOST_BYTES = 4 * 1024 * 1024
_NUMBER = re.compile("[0-9]{1,10}")


class UnsuitableImage(ConfigurationError):
    """An image is not made such that a sliver can be of it."""

    code = "unsuitable-sliver-image"
    title = "An image is not fit for slivers"
    hint = "It needs folders /etc and /home, and files where other systems have them; docs/slivers.md."


@dataclass(frozen=True)
class Seed:
    """A file of the sliver; `text` None is a folder. `owner` is a number of the sliver's own."""

    path: str
    text: str | None
    mode: int
    owner: int = 0
    group: int = 0


def seeds_of(sliver: Sliver, image: Path) -> tuple[Seed, ...]:
    """Return what a sliver of this image begins with. Raises UnsuitableImage."""
    passwd, group, shadow = (_lines(image, f"etc/{name}") for name in ("passwd", "group", "shadow"))
    found = [
        Seed("etc/hostname", f"{sliver.machine}\n", 0o644),
        Seed("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {sliver.machine}\n::1 localhost\n", 0o644),
        Seed("etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444),
    ]
    if passwd is None or _number(passwd, sliver.name) is not None:
        # Without users there are none to add to, and one of that name may be what the image is about.
        return tuple(found)
    taken = {_number([line], "") for line in (*passwd, *(group or ()))}
    number = next((each for each in range(_FIRST_USER, _LAST_USER) if each not in taken), 0)
    if not number:
        raise UnsuitableImage(f"/etc/passwd of {image.name} has no number left for a user")
    shell = "/bin/bash" if (image / "bin/bash").exists() else "/bin/sh"
    home = f"home/{sliver.name}"
    passwd.append(f"{sliver.name}:x:{number}:{number}::/{home}:{shell}")
    found += [_like(image, "etc/passwd", passwd), Seed(home, None, 0o755, number, number)]
    if group is not None:
        found.append(_like(image, "etc/group", [*group, f"{sliver.name}:x:{number}:"]))
    if shadow is not None:
        found.append(_like(image, "etc/shadow", [*shadow, f"{sliver.name}:*:1::::::"]))
    su = _lines(image, "etc/pam.d/su")
    if su is not None:
        trust = f"auth sufficient pam_wheel.so trust use_uid group={sliver.name}"
        found.append(_like(image, "etc/pam.d/su", [trust, *su]))
    return tuple(found)


def plant(seeds: Sequence[Seed], image: Path, upper: Path, first_user: int) -> None:
    """Write the seeds into an empty upper folder of `image`. Raises UnsuitableImage."""
    for seed in seeds:
        path = PurePosixPath(seed.path)
        for folder in reversed(path.parents[:-1]):
            _folder_as_in(image, upper, str(folder), first_user)
        target = upper / seed.path
        if seed.text is None:
            target.mkdir()
        else:
            target.write_text(seed.text, errors="surrogateescape")
        _own(target, first_user, seed.owner, seed.group, seed.mode)


def _folder_as_in(image: Path, upper: Path, path: str, first_user: int) -> None:
    """A folder above one of the image takes its place, owner and mode included."""
    if (upper / path).exists():
        return
    try:
        status = (image / path).lstat()
    except FileNotFoundError:
        raise UnsuitableImage(f"{image.name} has no /{path}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise UnsuitableImage(f"/{path} of {image.name} is no folder")
    (upper / path).mkdir()
    _own(upper / path, first_user, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def _own(path: Path, first_user: int, owner: int, group: int, mode: int) -> None:
    os.chown(path, first_user + owner, first_user + group)
    path.chmod(mode)


def _lines(image: Path, path: str) -> list[str] | None:
    try:
        raw = read_regular(image / path, _MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsuitableImage(f"/{path} of {image.name}: {error.strerror}") from None
    return raw.decode(errors="surrogateescape").splitlines()


def _like(image: Path, path: str, lines: Sequence[str]) -> Seed:
    """A file of the image with other lines; the owner and mode that it has there."""
    status = (image / path).lstat()
    text = "".join(f"{line}\n" for line in lines)
    return Seed(path, text, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _number(lines: Sequence[str], name: str) -> int | None:
    """Return the number in the first line of that name, or of any name for ""."""
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and name in ("", fields[0]) and _NUMBER.fullmatch(fields[2]):
            return int(fields[2])
    return None
