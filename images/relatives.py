"""Which other images lead to one: the server says so; the dongle remembers it for when the server is away."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

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
        rows = json.loads(http.get(UPDATES_PATH + manifest, limit=_LIMIT))
        found = _parse(rows)
    except (BootError, ValueError, TypeError, KeyError) as error:
        log.info("the server does not say which updates lead to %s: %s", name, error)
        known = documents.read(document)
        body = known.body if known is not None else {}
        return _parse(body["updates"]) if body.get("manifest") == manifest else ()
    documents.write(document, Document(0, {"manifest": manifest, "updates": rows}))
    return found


def _parse(rows: list[dict[str, str]]) -> tuple[Relative, ...]:
    found = tuple(Relative(row["old"], row["update"]) for row in rows[:_MOST])
    if not all(is_digest(each.old) and is_digest(each.update) for each in found):
        raise ValueError("not a SHA-256 in lower-case hex")
    return found
