"""Taking secrets out of what people are going to read: by what they are, and by what they look like."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

REDACTED = "[redacted]"
# Of what stands before and after a secret, base64 mixes some bits into its first and last digits.
_SHIFTS = range(3)
_NAMES = r"node_key|enrol_token|token|proof|[a-z_]*(?:password|passwd|passphrase|passwort|secret)[a-z_]*"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_SHAPES = (
    # RFC 7468; one that was cut off reaches to the end.
    re.compile(
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    # crypt(5)
    re.compile(r"\$(?:1|5|6|7|y|gy|sha1|2[abxy])\$[./A-Za-z0-9$=,+-]{8,}"),
    # wire.enrolment: a token's name and secret.
    re.compile(r"\b[0-9a-f]{16}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    # RFC 3986, 3.2.1: user and password in a URL.
    re.compile(r"(?<=://)[^\s/@\"']+(?=@)"),
    re.compile(rf"""(?i)(?<=\b)(?:{_NAMES})["']?\s*[=:]\s*(?:"[^"]*"|'[^']*'|[^\s"',;&]+)"""),
)


class Redactor:
    """Takes known secrets, in whatever form they were written down, and what looks like one out of texts."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        found = {form for secret in secrets if secret for form in _forms(secret)}
        # The longest first: what is left of a longer form would still tell most of it.
        words = sorted(found, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def text(self, text: str) -> str:
        """Return the text without them."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for shape in _SHAPES:
            text = shape.sub(REDACTED, text)
        return text

    def data(self, data: Any) -> Any:
        """Return plain data without them, in texts and under names that say so."""
        match data:
            case str():
                return self.text(data)
            case dict():
                return {
                    self.text(key): REDACTED if _NAME.fullmatch(key) and value else self.data(value)
                    for key, value in data.items()
                }
            case list():
                return [self.data(item) for item in data]
        return data


def _forms(secret: bytes) -> Iterable[str]:
    yield secret.hex()
    yield secret.hex().upper()
    # As Python and other programs show bytes.
    yield repr(secret)[2:-1]
    yield secret.decode("utf-8", "replace")
    for before in _SHIFTS:
        digits = slice(-(-8 * before // 6), 8 * (before + len(secret)) // 6)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + secret)[digits].decode()
