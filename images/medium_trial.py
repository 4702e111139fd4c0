"""What is known of the boot medium on the dongle: how often it was started since it last reported.

The medium itself is never written, and a system that hangs notes nothing. So it is noted before a newer
medium is started that it is tried, and taken back by that medium itself, as soon as the server has answered
it. The note carries a MAC of the node's key.
"""

from __future__ import annotations

from dataclasses import dataclass

from images.cache import Cache
from images.documents import Document, Documents
from wire.session import NodeKey
from wire.structure import MalformedMessage, structure, unstructure

NAME = "boot-medium"
# Whoever has reported may be unlucky: the power fails while it starts. Who never did is not tried again.
TRIES = 1
TRIES_ONCE_REPORTED = 3


@dataclass(frozen=True)
class Trial:
    """Of the medium that was `made` then (Unix seconds): starts since it last reported, if it ever did."""

    made: int
    tries: int = 0
    reported: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it is not started again."""
        return self.tries >= (TRIES_ONCE_REPORTED if self.reported else TRIES)


class Trials:
    """The one trial that a node's dongle keeps: that of the newest medium that was started from it."""

    def __init__(self, cache: Cache, key: NodeKey) -> None:
        self._documents = Documents(cache, key)

    def of(self, made: int) -> Trial:
        """Return what is known of a medium, nothing if another one was tried last."""
        document = self._documents.read(NAME)
        try:
            found = structure(document.body, Trial) if document is not None else None
        except MalformedMessage:
            found = None
        return found if found is not None and found.made == made else Trial(made)

    def note(self, trial: Trial) -> bool:
        """Note it durably; returns whether that worked."""
        # Always of one generation: one that was published again after a newer one is tried like any other.
        return self._documents.write(NAME, Document(0, unstructure(trial)))
