"""Small named documents on the dongle that carry a MAC, such as the node's configuration.

Whoever holds the dongle can read them, so no secret goes in; who does not know the node's key cannot
make or change one. A generation that grows with every change keeps an older document from replacing a
newer one; a reader who remembers a generation passes it, and an older copy that was put back by hand
is then no document.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from images.cache import Cache
from wire.session import NodeKey, mac, same_mac

# The node's configuration as the server gave it last (wire.messages.NodeDetails).
NODE_DETAILS = "node-details"
MAXIMUM_BYTES = 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Document:
    """Plain data (as wire.structure.unstructure gives) and its generation."""

    generation: int
    body: Any


class Documents:
    """The documents of one node in one cache."""

    def __init__(self, cache: Cache, key: NodeKey) -> None:
        self._cache = cache
        self._key = key.derive("cache")

    def read(self, name: str, *, at_least: int = 0) -> Document | None:
        """Return the document, or None where it is absent, damaged, forged or older than `at_least`."""
        folder = self._cache.folder
        if folder is None:
            return None
        raw = self._cache.read_document(folder / "documents" / _file(name), MAXIMUM_BYTES)
        found = self._verified(name, raw) if raw is not None else None
        return found if found is not None and found.generation >= at_least else None

    def write(self, name: str, document: Document) -> bool:
        """Store a document unless a newer one is there; returns whether it is stored now."""
        folder = self._cache.folder
        there = self.read(name)
        if folder is None or (there is not None and there.generation > document.generation):
            return False
        if there == document:
            return True
        plain = {
            "generation": document.generation,
            "body": document.body,
            "mac": self._mac(name, document.generation, document.body),
        }
        raw = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
        if len(raw) > MAXIMUM_BYTES:
            raise ValueError(f"the document {name} has {len(raw)} bytes, {MAXIMUM_BYTES} allowed")
        return self._cache.write_document(folder / "documents" / _file(name), raw)

    def _verified(self, name: str, raw: bytes) -> Document | None:
        try:
            match json.loads(raw):
                case {"generation": int(generation), "body": body, "mac": str(value)}:
                    pass
                case _:
                    return None
            expected = self._mac(name, generation, body)
        except (ValueError, RecursionError):
            return None
        return Document(generation, body) if same_mac(value, expected) else None

    def _mac(self, name: str, generation: int, body: Any) -> str:
        return mac(self._key, "document 1", name, generation, body)


def _file(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a document")
    return f"{name}.json"
