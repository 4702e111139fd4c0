"""The last configuration that the server gave, kept on the dongle under a MAC of the node's own key.

Its generation grows with every change at the server and never goes back: a copy is not replaced by an older
one, and an older copy that somebody put back is none, as far as the node can know. What it knows without
the server is the generation that the installed system was made by, because the mark of that is on the disk
and not on the dongle. With the server, its answer counts and no copy.
"""

from __future__ import annotations

from host.mark import NotInstalled, read_mark
from host.run import Runner
from images.cache import Cache
from images.documents import NODE_DETAILS, Document, Documents
from steps.base import Facts
from wire.errors import CommandError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import MalformedMessage, structure, unstructure

NAME = NODE_DETAILS


def remember(facts: Facts) -> int:
    """Keep a copy for boots without the server; a dongle that cannot take it costs nothing else.

    Returns the newest generation known: larger than the answer's own where the server went back.
    """
    details = facts[NodeDetails]
    documents = _documents(facts)
    documents.write(NAME, Document(details.generation, unstructure(details)))
    copy = documents.read(NAME)
    return max(details.generation, copy.generation if copy is not None else 0)


def remembered(facts: Facts, run: Runner) -> NodeDetails | None:
    """Return the newest configuration known: from this boot, else from the dongle, else None."""
    if NodeDetails in facts:
        return facts[NodeDetails]
    if NodeConfiguration not in facts or Cache not in facts:
        return None
    node_id = facts[NodeConfiguration].node_id
    found = _documents(facts).read(NAME, at_least=_installed_generation(run, node_id))
    try:
        details = structure(found.body, NodeDetails) if found is not None else None
    except MalformedMessage:
        # Written by a program with other messages; the server's next answer replaces it.
        return None
    # Two nodes that were given one key by mistake take one another's MACs for their own.
    return details if details is not None and details.node_id == node_id else None


def _installed_generation(run: Runner, node_id: int) -> int:
    try:
        mark = read_mark(run)
    except (NotInstalled, CommandError):
        return 0
    return mark.generation if mark.node_id == node_id else 0


def _documents(facts: Facts) -> Documents:
    return Documents(facts[Cache], facts[NodeConfiguration].key)
