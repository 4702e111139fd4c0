"""Which blob is fetched next, and from whom, where neighbours fetch the same ones.

The server shall send each blob once, whoever asks. So each blob has a first: of all nodes that want it, the
one whose name, hashed together with the blob's, is the highest. The first fetches it from the server, the
others wait until somebody has it. Every node finds the same first without a word, and a node that comes or
goes changes it for its own share of the blobs only (rendezvous hashing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from wire.neighbours import Holdings

# Requests to one neighbour at a time.
REQUESTS = 2
# Fetched from the server before anything is taken from neighbours: what nobody has is worth the most.
SERVER_FIRST = 2


class From(Enum):
    """Where a blob is to come from."""

    SERVER = auto()
    NEIGHBOUR = auto()
    CACHE = auto()


@dataclass(frozen=True)
class Other:
    """A neighbour as it is seen now; who is `late` is not waited for. `busy` counts requests to it."""

    name: str
    holdings: Holdings
    busy: int = 0
    late: bool = False


@dataclass(frozen=True)
class Choice:
    """A blob and where it is to come from."""

    sha256: str
    place: From


@lru_cache(maxsize=8192)
def rank(node: str, sha256: str) -> bytes:
    """Return how much a blob is a node's: the highest of all nodes is the first."""
    return hashlib.sha256(f"{node} {sha256}".encode()).digest()


def choose(me: str, wanted: Iterable[str], others: Mapping[str, Other], at_server: int) -> Choice | None:
    """Return what to fetch now of `wanted`, None where waiting for a neighbour is better.

    `at_server` says how many blobs this node is fetching from the server.
    """
    mine, theirs = [], []
    for sha256 in wanted:
        holders = [other for other in others.values() if sha256 in other.holdings.have]
        if any(other.busy < REQUESTS for other in holders):
            theirs.append((len(holders), rank(me, sha256), sha256))
        elif not holders and not awaited(me, sha256, others.values()):
            mine.append((rank(me, sha256), sha256))
    if mine and (at_server < SERVER_FIRST or not theirs):
        # Before nodes know of each other each begins with those that will be its own.
        return Choice(max(mine)[1], From.SERVER)
    # The rarest first, so that there are soon many who have it.
    return Choice(min(theirs)[2], From.NEIGHBOUR) if theirs else None


def awaited(me: str, sha256: str, others: Iterable[Other]) -> frozenset[str]:
    """Return the neighbours that are about to have a blob: who fetches it, else its first if not I am it."""
    waited = [other for other in others if not other.late]
    fetching = frozenset(other.name for other in waited if sha256 in other.holdings.fetching)
    if fetching:
        return fetching
    wanting = [me, *(other.name for other in waited if sha256 in other.holdings.wants)]
    first = max(wanting, key=lambda name: rank(name, sha256))
    return frozenset() if first == me else frozenset([first])


def holders(sha256: str, others: Iterable[Other]) -> list[Other]:
    """Return who has a blob and is to be asked for it, the least busy first."""
    having = [other for other in others if sha256 in other.holdings.have]
    return sorted(having, key=lambda other: (other.busy, rank(other.name, sha256)))
