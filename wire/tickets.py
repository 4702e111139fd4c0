"""Tickets: the server's signed word on one slice on one node, carried there by whoever acts for the slice.

What signs is a key derived from the node's own, which server and node have already and nobody else has. So
a ticket is for one node by its nature, and there is no key more to keep, renew or lose. It is one line:
URL-safe base64 of JSON, `statement` and its `mac`. It is signed, not sealed: whoever has it reads the
slice's settings.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field

from wire.errors import VerificationError
from wire.messages import ImageRef
from wire.session import NodeKey, mac, same_mac
from wire.slivers import Sliver
from wire.structure import MalformedMessage, structure, unstructure

# An initscript of 256 Ki characters as JSON, in base64.
MAXIMUM_CHARACTERS = 2 * 1024 * 1024


class BadTicket(VerificationError):
    """A ticket was not made by this node's server for this node, or was changed."""

    code = "bad-ticket"
    title = "The ticket is not good here"
    hint = "A ticket is for one node, and is void when that node's key changes: bootserver slice ticket."


class TicketExpired(VerificationError):
    """A ticket came too late."""

    code = "ticket-expired"
    title = "The ticket has expired"
    hint = "Ask the server's operator for another: bootserver slice ticket NAME --node NODE."


@dataclass(frozen=True)
class Ticket:
    """What the server says: this sliver may be on this node. Times are Unix seconds by the server's clock.

    `expires` is the ticket's own; the sliver has another. `images` has the sliver's image.
    """

    node_id: int
    issued: int
    expires: int
    sliver: Sliver
    images: tuple[ImageRef, ...] = ()

    def judge(self, now: float) -> None:
        """Raise TicketExpired if its time is over; the ticket itself proves that it is `issued` at least."""
        if max(now, self.issued) >= self.expires:
            raise TicketExpired(f"the ticket for {self.sliver.name} was good until {self.expires}")


@dataclass(frozen=True)
class TicketKey:
    """What signs tickets for a node; derived from its key."""

    node_id: int
    secret: bytes = field(repr=False)

    @classmethod
    def derive(cls, key: NodeKey, node_id: int) -> TicketKey:
        """Return the key of a node."""
        return cls(node_id, key.derive("bootmanager tickets 1"))

    def sign(self, ticket: Ticket) -> str:
        """Return the ticket as text."""
        statement = unstructure(ticket)
        signed = {"statement": statement, "mac": self._mac(statement)}
        return base64.urlsafe_b64encode(json.dumps(signed, separators=(",", ":")).encode()).decode()

    def verify(self, text: str) -> Ticket:
        """Return what a ticket says, whenever it was good. Raises BadTicket."""
        if len(text) > MAXIMUM_CHARACTERS:
            raise BadTicket("it is too long")
        try:
            signed = json.loads(base64.b64decode(text.strip(), altchars=b"-_", validate=True))
            statement, claimed = signed["statement"], signed["mac"]
            good = isinstance(claimed, str) and same_mac(claimed, self._mac(statement))
        except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
            raise BadTicket("it is malformed") from None
        if not good:
            raise BadTicket("it was not signed for this node")
        try:
            return structure(statement, Ticket)
        except MalformedMessage as error:
            raise BadTicket(error.detail) from None

    def _mac(self, statement: object) -> str:
        return mac(self.secret, "ticket", self.node_id, statement)
