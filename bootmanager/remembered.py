"""The last configuration that the server gave, kept on the dongle under a MAC of the node's own key."""

from __future__ import annotations

from images.cache import Cache
from images.documents import Document, Documents
from steps.base import Facts
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import MalformedMessage, structure, unstructure

NAME = "node-details"


def remember(facts: Facts) -> None:
    """Keep a copy for boots without the server; a dongle that cannot take it costs nothing else."""
    details = facts[NodeDetails]
    _documents(facts).write(NAME, Document(details.generation, unstructure(details)))


def remembered(facts: Facts) -> NodeDetails | None:
    """Return the newest configuration known: from this boot, else from the dongle, else None."""
    if NodeDetails in facts:
        return facts[NodeDetails]
    if NodeConfiguration not in facts or Cache not in facts:
        return None
    found = _documents(facts).read(NAME)
    try:
        return structure(found.body, NodeDetails) if found is not None else None
    except MalformedMessage:
        # Written by a program with other messages; the server's next answer replaces it.
        return None


def _documents(facts: Facts) -> Documents:
    return Documents(facts[Cache], facts[NodeConfiguration].key)
