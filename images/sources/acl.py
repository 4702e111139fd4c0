"""POSIX ACLs: from the text that archives hold to the bytes that Linux takes as an extended attribute.

The text is that of acl(5) in its long form; star and libarchive add the number of a named user or group as
a fourth field. The bytes are those of linux/posix_acl_xattr.h: version 2, then (tag, permissions, id).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

# Says the number of a "user" or "group" of that name, or None.
Numbers = Callable[[str, str], int | None]

_VERSION = 2
_UNDEFINED = 0xFFFFFFFF
_USER, _GROUP, _MASK, _OTHER = 0x02, 0x08, 0x10, 0x20
_USER_OBJ, _GROUP_OBJ = 0x01, 0x04
_NAMED = {_USER: "user", _GROUP: "group"}
# The tag without and with the name of somebody.
_TAGS = {
    "user": (_USER_OBJ, _USER),
    "group": (_GROUP_OBJ, _GROUP),
    "mask": (_MASK, _MASK),
    "other": (_OTHER, _OTHER),
}
_SINGLE = (_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER)
_REQUIRED = {_USER_OBJ, _GROUP_OBJ, _OTHER}
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")

Entries = list[tuple[int, int, int]]


def from_text(text: str, numbers: Numbers) -> bytes:
    """Return the bytes for an ACL in text. Raises ValueError saying what is wrong with it."""
    items = [item.split("#")[0].strip() for item in text.replace("\n", ",").split(",")]
    entries = sorted(
        (_entry(item, numbers) for item in items if item), key=lambda entry: (entry[0], entry[2])
    )
    data = _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)
    check(data)
    return data


def is_minimal(data: bytes) -> bool:
    """Say whether an access ACL says no more than the mode does, so that Linux stores none."""
    return {tag for tag, _, _ in _entries(data)} == _REQUIRED


def mode_with(data: bytes, mode: int) -> int:
    """Return the mode that Linux gives to what has this access ACL; set-id and sticky bits stay."""
    found = {tag: permissions for tag, permissions, _ in _entries(data)}
    group = found.get(_MASK, found[_GROUP_OBJ])
    return mode & ~0o777 | found[_USER_OBJ] << 6 | group << 3 | found[_OTHER]


def check(data: bytes) -> None:
    """Raise ValueError unless Linux would take these bytes for an ACL."""
    entries = _entries(data)
    tags = [tag for tag, _, _ in entries]
    if not set(tags) >= _REQUIRED or any(tags.count(tag) > 1 for tag in _SINGLE):
        raise ValueError("an ACL must have one entry each for owner, group and others")
    if tags != sorted(tags) or not set(tags) <= {*_SINGLE, *_NAMED}:
        raise ValueError("an ACL's entries are unknown or out of order")
    if set(tags) & set(_NAMED) and _MASK not in tags:
        raise ValueError("an ACL that names somebody must have a mask")
    if any(permissions > 7 for _, permissions, _ in entries):
        raise ValueError("an ACL has permissions beyond rwx")


def _entries(data: bytes) -> Entries:
    if len(data) % _ENTRY.size != _HEAD.size or _HEAD.unpack_from(data) != (_VERSION,):
        raise ValueError(f"an ACL of {len(data)} bytes that Linux does not know")
    return list(_ENTRY.iter_unpack(data[_HEAD.size :]))


def _entry(item: str, numbers: Numbers) -> tuple[int, int, int]:
    fields = item.split(":")
    word = next((word for word in _TAGS if fields[0] in (word, word[0])), None)
    if word is None or len(fields) < 2:
        raise ValueError(f"{item!r} is no entry of an ACL")
    if word in ("mask", "other"):
        # Some write these two with one colon.
        fields = [word, "", fields[-1]]
    name, permissions = fields[1], "".join(fields[2:3])
    if not permissions or not set(permissions) <= set("rwx-"):
        raise ValueError(f"{item!r} is no entry of an ACL")
    value = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in permissions)
    tag = _TAGS[word][bool(name)]
    if tag not in _NAMED:
        return tag, value, _UNDEFINED
    number = _number(fields[3]) if len(fields) > 3 else _number(name)
    if number is None:
        number = numbers(_NAMED[tag], name)
    if number is None:
        raise ValueError(f"an ACL names the {word} {name!r}, which the image does not have")
    return tag, value, number


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) >= _UNDEFINED:
        raise ValueError(f"an ACL names the number {text}")
    return int(text)
