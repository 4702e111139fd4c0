"""The fields of a node's configuration that an operator sets, each with its check."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bootserver.tables import Node
from wire.errors import ConfigurationError
from wire.messages import MAXIMUM_MIRRORS, is_mirror

# XML-RPC integers have 32 bits.
_MAXIMUM = 2**31 - 1
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_IMAGE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
# The text form of public keys: type, base64, comment (sshd(8), AUTHORIZED_KEYS FILE FORMAT), without options.
_SSH_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\x00-\x1f\x7f]*)?")


class BadSetting(ConfigurationError):
    """A field cannot have that value."""

    code = "bad-setting"
    title = "This cannot be set"
    hint = "See `bootserver node set --help` for the fields; nothing was changed."


class BadSshKey(ConfigurationError):
    """The file does not hold public keys."""

    code = "bad-ssh-key"
    title = "This is not a public ssh key"
    hint = "Give a file like ~/.ssh/id_ed25519.pub, one key a line."


def _number_or_none(text: str) -> int:
    return 0 if text == "0" else _number(text)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MAXIMUM:
        raise ValueError("a positive number wanted")
    return int(text)


def _line(text: str) -> str:
    if not _PRINTABLE.fullmatch(text) or len(text) > 2000:
        raise ValueError("one line of printable ASCII wanted")
    return text.strip()


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} cannot be the name of an image")
    return text


def _images(text: str) -> list[str]:
    return [_image(name) for name in text.split(",") if name]


def _mirrors(text: str) -> list[str]:
    mirrors = [url.rstrip("/") for url in text.split(",") if url]
    if len(mirrors) > MAXIMUM_MIRRORS:
        raise ValueError(f"at most {MAXIMUM_MIRRORS} wanted")
    for url in mirrors:
        if not is_mirror(url):
            raise ValueError(f"{url!r} is not of the form http://host:port/path")
    return mirrors


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("on or off wanted")
    return text == "on"


def _data_disks(text: str) -> str:
    if not text:
        raise ValueError("auto, none, or serial numbers separated by commas wanted")
    return _line(text)


FIELDS: dict[str, Callable[[str], object]] = {
    "system_disk": _line,
    "data_disks": _data_disks,
    "memory_mib": _number,
    "disk_mib": _number,
    "boot_mib": _number,
    "swap_mib": _number,
    "root_mib": _number,
    "kernel_arguments": _line,
    "cache_budget_mib": _number,
    "mirrors": _mirrors,
    "bandwidth_kib": _number_or_none,
    "neighbours": _switch,
    "base_image": _image,
    "images": _images,
}


def set_field(node: Node, field: str, text: str) -> None:
    """Set a field from its text. Raises BadSetting."""
    check = FIELDS.get(field)
    if check is None:
        raise BadSetting(f"{field!r} is none of {', '.join(FIELDS)}")
    try:
        setattr(node, field, check(text))
    except ValueError as error:
        raise BadSetting(f"{field}: {error}") from None


def check_line(text: str) -> str:
    """Return a line of text that may go to a node, such as a serial number. Raises BadSetting."""
    try:
        return _line(text)
    except ValueError as error:
        raise BadSetting(f"{text!r}: {error}") from None


def read_ssh_keys(files: tuple[Path, ...]) -> list[str]:
    """Return the public keys in the files. Raises BadSshKey, never quoting what may be a private one."""
    keys: dict[str, None] = {}
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSshKey(f"{file}: {type(error).__name__}") from None
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found or not all(_SSH_KEY.fullmatch(line) for line in found):
            raise BadSshKey(str(file))
        keys.update(dict.fromkeys(found))
    return list(keys)
