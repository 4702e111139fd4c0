"""What nodes of one LAN tell the server and each other, so that they can give each other blobs.

Nothing of it is trusted but the server's signed list: a neighbour's word only says where to look, and what
comes from there is known by its hash.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass

from wire.structure import MalformedMessage, structure_json, unstructure

METHOD = "BootMeetNeighbours"
HOLDINGS_PATH = "/holdings"
MAXIMUM_NEIGHBOURS = 15
MAXIMUM_IMAGES = 64
# The server forgets whoever has not said for so long that it gives.
SEEN_SECONDS = 120
# No service of a machine that was there before listens on such a port by chance.
LEAST_PORT = 1024
# Of each list in a document: room for an image of some 16 GB.
MAXIMUM_NAMES = 4096
MAXIMUM_HOLDINGS_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Neighbour:
    """Where a node of the same LAN gives what it has."""

    address: str
    port: int

    def __post_init__(self) -> None:
        """Refuse what cannot be another machine's own address. Raises ValueError."""
        address = ipaddress.ip_address(self.address)
        if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise ValueError(f"{self.address} is no neighbour's address")
        if not LEAST_PORT <= self.port <= 65535:
            raise ValueError(f"port: {LEAST_PORT} to 65535 wanted")

    @property
    def url(self) -> str:
        """The base URL, which is its name too."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Offer:
    """What a node says of itself: it gives at `port`, and brings or has the images with these manifests."""

    port: int
    images: tuple[str, ...]


@dataclass(frozen=True)
class Met:
    """The server's answer."""

    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Holdings:
    """Blobs by their SHA-256: that a node has, fetches from the server right now, will fetch soon."""

    have: frozenset[str] = frozenset()
    fetching: frozenset[str] = frozenset()
    wants: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Document:
    have: tuple[str, ...]
    fetching: tuple[str, ...]
    wants: tuple[str, ...]


def dump_holdings(holdings: Holdings) -> bytes:
    """Return the document that a node shows its neighbours."""
    lists = (sorted(names)[:MAXIMUM_NAMES] for names in (holdings.have, holdings.fetching, holdings.wants))
    return json.dumps(unstructure(_Document(*map(tuple, lists)))).encode()


def load_holdings(raw: bytes) -> Holdings:
    """Read a neighbour's document. Raises MalformedMessage."""
    document = structure_json(raw, _Document)
    lists = (document.have, document.fetching, document.wants)
    if any(len(names) > MAXIMUM_NAMES for names in lists):
        raise MalformedMessage(f"holdings: more than {MAXIMUM_NAMES} names")
    return Holdings(*map(frozenset, lists))
