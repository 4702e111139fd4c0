"""The site's console password: what opens a shell at the console of a node in debug mode.

The server keeps and tells its nodes a hash only, as text: `scrypt:LOG2_N:R:P:SALT:HASH`, salt and hash in
base64 (RFC 7914). A node keeps it on the dongle with the rest of its configuration, so whoever has the
dongle can try passwords against it at leisure: so a short one is refused, and a try costs memory and time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from wire.errors import ConfigurationError

MINIMUM_CHARACTERS = 10
MAXIMUM_CHARACTERS = 200
# 32 MiB of memory a try, some 0.1 s.
_LOG2_N, _R, _P = 15, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY_BYTES = 128 * 1024 * 1024
_HASH = re.compile(r"scrypt:(1[0-6]):([1-8]):([1-4]):([A-Za-z0-9+/]{22}==):([A-Za-z0-9+/]{43}=)")


class BadPassword(ConfigurationError):
    """The text cannot be a console password."""

    code = "bad-console-password"
    title = "This cannot be the console password"
    hint = "Nothing was changed. Several words that nobody would guess are easy to type and long enough."


def hash_password(password: str) -> str:
    """Return the hash of a new password. Raises BadPassword, without quoting it."""
    if not MINIMUM_CHARACTERS <= len(password) <= MAXIMUM_CHARACTERS:
        raise BadPassword(f"it has {len(password)} characters, {MINIMUM_CHARACTERS} or more wanted")
    # It is typed at a serial console, whose keyboard and character set nobody knows.
    if not (password.isascii() and password.isprintable()) or password != password.strip():
        raise BadPassword("printable ASCII without spaces at its ends wanted")
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (salt, _scrypt(password, salt, _LOG2_N, _R, _P))
    return f"scrypt:{_LOG2_N}:{_R}:{_P}:" + ":".join(base64.b64encode(part).decode() for part in parts)


def is_password(password: str, hashed: str) -> bool:
    """Say whether that is the password; never where there is no hash, or one that is malformed."""
    found = _HASH.fullmatch(hashed)
    if found is None:
        return False
    try:
        salt, wanted = (base64.b64decode(part, validate=True) for part in found.groups()[3:])
        log2_n, r, p = map(int, found.groups()[:3])
        tried = _scrypt(password[:MAXIMUM_CHARACTERS], salt, log2_n, r, p)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(tried, wanted)


def _scrypt(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    raw = password.encode(errors="replace")
    return hashlib.scrypt(raw, salt=salt, n=2**log2_n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=_HASH_BYTES)
