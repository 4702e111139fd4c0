"""What is known of the disk that holds another system: noted on the dongle, told to the server.

The disk itself has no room for a mark: it is the image's, byte for byte, and then the other system's. So the
truth is a record that carries a MAC of the node's key, written before the disk is and once more when all of
the disk was read back. The server has a copy, for a node whose dongle is another one.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from host.events import Events
from host.server import ServerClient
from images.cache import Cache
from images.documents import Document, Documents
from wire.errors import BootError, ConfigurationError
from wire.messages import DiskRecord, NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import MalformedMessage, structure, unstructure

NAME = "disk-image"

F = TypeVar("F")


class NoDongle(ConfigurationError):
    """There is no dongle that could keep what has to be known of the other system's disk."""

    code = "no-dongle"
    title = "Without a cache dongle that can be written, a node cannot run another system"
    hint = "Plug in a dongle that can be written; `bootserver media dongle FILE` marks a stick for it."


class Known(Protocol):
    """Facts by their classes, as steps have them."""

    def __getitem__(self, kind: type[F]) -> F:
        """Return the fact of that class."""

    def get(self, kind: type[F]) -> F | None:
        """Return the fact of that class, or None."""


class DiskRecords:
    """The records of a node, by what is known of it: cache, configuration, details, maybe its server."""

    def __init__(self, facts: Known, events: Events) -> None:
        self._documents = Documents(facts[Cache], facts[NodeConfiguration].key)
        self._told = facts[NodeDetails].disk_records
        self._client = facts.get(ServerClient)
        self._events = events

    def known(self) -> tuple[DiskRecord, ...]:
        """Return the dongle's record and the server's, those of whole disks first."""
        found = (*self._kept(), *self._told)
        return tuple(sorted(dict.fromkeys(found), key=lambda record: not record.whole))

    def of(self, order: str) -> DiskRecord | None:
        """Return what is known of an order, None if it was not begun."""
        return next((record for record in self.known() if record.id == order), None)

    def note(self, record: DiskRecord) -> None:
        """Note a record durably, and tell the server if it can be told. Raises NoDongle."""
        # Always of one generation: the order's id says what it is about, so none is older than another.
        kept = self._documents.write(NAME, Document(0, unstructure(record)))
        if kept or record.whole:
            self.tell(record)
        if not kept:
            raise NoDongle(f"nothing keeps what becomes of the disk for {record.image.name}")

    def tell(self, record: DiskRecord) -> None:
        """Tell the server a record that it does not have; what is wrong with that stops nothing."""
        if self._client is None or record in self._told:
            return
        try:
            self._client.call("BootUpdateNode", {"disk_record": unstructure(record)})
        except BootError as error:
            self._events.tell("diskimage.unreported", code=error.code, detail=error.detail)

    def _kept(self) -> tuple[DiskRecord, ...]:
        document = self._documents.read(NAME)
        try:
            return (structure(document.body, DiskRecord),) if document is not None else ()
        except MalformedMessage:
            return ()
