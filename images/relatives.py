"""Which other images lead to one: the server says so; the dongle remembers it for when the server is away."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress

from host.http import HttpClient
from images.documents import Document, Documents
from images.manifest import is_digest, sha256
from images.plan import Relative
from wire.errors import BootError

log = logging.getLogger(__name__)

UPDATES_PATH = "/images/updates/"
_LIMIT = 64 * 1024
_MOST = 16


def relatives_of(name: str, manifest: str, http: HttpClient, documents: Documents) -> Sequence[Relative]:
    """Return the relatives of an image, none where nobody knows: then all of it is fetched.

    Nothing of this is trusted: it says where to look for contents whose hashes are signed.
    """
    document = f"updates-{sha256(name.encode())[:16]}"
    try:
        found = _parse(json.loads(http.get(UPDATES_PATH + manifest, limit=_LIMIT)))
    except (BootError, ValueError, RecursionError) as error:
        log.info("the server does not say which updates lead to %s: %s", name, error)
        return _remembered(documents.read(document), manifest)
    # Only what was understood: the rest of an answer may be what no document can hold.
    rows = [{"old": each.old, "update": each.update} for each in found]
    documents.write(document, Document(0, {"manifest": manifest, "updates": rows}))
    return found


def _remembered(document: Document | None, manifest: str) -> tuple[Relative, ...]:
    match document:
        case Document(body={"manifest": known, "updates": rows}) if known == manifest:
            # What another version of this program wrote may have another form.
            with suppress(ValueError):
                return _parse(rows)
    return ()


def _parse(rows: object) -> tuple[Relative, ...]:
    """Read the list. Raises ValueError."""
    if not isinstance(rows, list):
        raise ValueError("not a list")
    return tuple(_relative(row) for row in rows[:_MOST])


def _relative(row: object) -> Relative:
    match row:
        case {"old": str(old), "update": str(new)} if is_digest(old) and is_digest(new):
            return Relative(old, new)
    raise ValueError("not two SHA-256 in lower-case hex")
