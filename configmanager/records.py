"""What the node shall run, kept on its disk, so that slivers come back without the server."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from host.files import write_atomic
from wire.errors import VerificationError
from wire.slivers import NodeSlivers
from wire.structure import MalformedMessage, structure_json, unstructure

log = logging.getLogger(__name__)

FILE = Path("/var/lib/configmanager/record.json")


class StaleConfiguration(VerificationError):
    """The server told something older than what it told before."""

    code = "stale-configuration"
    title = "The server's configuration is older than the node's"
    hint = "Check the clock of the server; the node goes on with the newer one."


class WrongNode(VerificationError):
    """A configuration is another node's."""

    code = "wrong-node"
    title = "A configuration is for another node"
    hint = "Check which key medium is plugged in, and the node's entry at the server."


class Records:
    """The last configuration, durable; a newer timestamp wins."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file

    def load(self) -> NodeSlivers | None:
        """Return the configuration as it was stored, None if there is none that can be read."""
        try:
            return structure_json(self._file.read_bytes(), NodeSlivers)
        except FileNotFoundError:
            return None
        except MalformedMessage as error:
            # Written by other code or damaged; the server's next reply replaces it.
            log.error("%s cannot be read: %s", self._file, error)
            return None

    def store(self, reply: NodeSlivers) -> None:
        """Keep a reply. Raises StaleConfiguration, WrongNode, OSError."""
        known = self.load()
        if known is not None and known.node_id != reply.node_id:
            raise WrongNode(f"node {reply.node_id}, this is node {known.node_id}")
        if known is not None and reply.timestamp < known.timestamp:
            raise StaleConfiguration(f"its timestamp is {reply.timestamp}, known is {known.timestamp}")
        if reply != known:
            # Initscripts may hold what only the slice should know.
            write_atomic(self._file, json.dumps(unstructure(reply), indent=1) + "\n", mode=0o600)


def unexpired(record: NodeSlivers, now: float) -> NodeSlivers:
    """Return the configuration without the slivers whose time is over at `now` (Unix seconds).

    A clock that lags behind the record itself is wrong, so the record's time counts then.
    """
    moment = max(now, record.timestamp)
    return replace(record, slivers=tuple(item for item in record.slivers if item.expires > moment))
