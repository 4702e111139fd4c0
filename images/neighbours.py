"""The neighbours of a node that brings images: found through the server, asked what they have, given to.

A blob that comes from one is known by its hash, as one from anywhere else. The server is the last resort.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError

from host.events import Events
from host.halt import Halt
from host.http import AnswerTooLong, HttpClient, NotAtServer, ServerUnreachable
from host.http_lines import HttpTimeouts
from host.server import ServerClient
from images.give import GIVEN_BYTES, Giver
from images.manifest import sha256
from images.shelf import Shelf
from images.source import BLOBS_PATH
from images.swarm import Peer, Swarm
from wire.errors import BootError, TransientError
from wire.neighbours import (
    HOLDINGS_PATH,
    LEAST_PORT,
    MAXIMUM_HOLDINGS_BYTES,
    METHOD,
    SEEN_SECONDS,
    Met,
    Neighbour,
    Offer,
    dump_holdings,
    load_holdings,
)
from wire.structure import MalformedMessage, structure, unstructure

log = logging.getLogger(__name__)

# A LAN is quick: no time is lost on who is not there or drips.
NEAR = HttpTimeouts(connect=2.0, silence=6.0, drip_seconds=4.0, drip_bytes=256 * 1024)
# How often a neighbour is asked what it has, while something is wanted.
POLL_SECONDS = 0.5
# How often the server is asked for neighbours: at first, then twice as long each time, at most.
MEET_SECONDS = 1.0
MEET_SELDOM_SECONDS = SEEN_SECONDS / 6
# Somebody unknown who asks may be a neighbour that came just now; the server is not asked more often for it.
KNOCK_SECONDS = 2.0

# Tells the server what this node gives, and returns who else does. May raise any BootError.
Meet = Callable[[Offer], Met]


def meeting(client: ServerClient, offer: Offer) -> Met:
    """Ask the server who else gives. Raises what ServerClient.call() raises, MalformedMessage."""
    return structure(client.call(METHOD, unstructure(offer)), Met)


class Neighbours:
    """Gives what this node has, and takes what others have. Any thread.

    `address` is this machine's own, as the server knows it; `images` are the manifests that it brings.
    Nothing begins before start().
    """

    def __init__(
        self,
        address: str,
        shelf: Shelf,
        meet: Meet,
        images: Collection[str],
        events: Events,
        bandwidth: int = GIVEN_BYTES,
    ) -> None:
        """`bandwidth` bounds what is given, in bytes per second."""
        self.shelf = shelf
        self.swarm = Swarm(events)
        self._address = address
        self._meet = meet
        self._images = tuple(images)
        self._events = events
        self._bandwidth = bandwidth
        self._knocked = threading.Event()
        self._halt = Halt()
        self._giver: Giver | None = None

    def start(self) -> bool:
        """Begin to give, and to look for neighbours. Returns whether that is possible; if not, says so."""
        try:
            # Before anything listens: no address at all would mean all of this machine's.
            Neighbour(self._address, LEAST_PORT)
            self._giver = Giver(self._address, self, self._bandwidth)
            own = Neighbour(self._address, self._giver.port)
        except (OSError, ValueError) as error:
            self._events.tell("neighbours.refused", reason=str(error))
            return False
        self.swarm.name = own.url
        self._events.tell("neighbours.started", address=own.address, port=own.port)
        threading.Thread(target=self._look_out, args=(own.port,), name="neighbours", daemon=True).start()
        return True

    def close(self) -> None:
        """Give and take no more."""
        self._halt.set()
        self._knocked.set()
        self.swarm.close()
        if self._giver is not None:
            self._giver.close()

    # --- giving ---

    def is_neighbour(self, address: str) -> bool:
        """Say whether a machine gets answers; one that does not may be a new neighbour."""
        known = self.swarm.knows(address)
        if not known:
            self._knocked.set()
        return known

    def shown(self, address: str) -> bytes:
        """Return the document of what this node has, fetches and wants."""
        return dump_holdings(self.shelf.holdings(*self.swarm.told(address)))

    def blob(self, digest: str) -> bytes | None:
        """Return a verified blob to give, or None."""
        return self.shelf.get(digest)

    # --- taking ---

    def take(self, digest: str, limit: int, halt: Halt) -> bytes | None:
        """Return a blob of at most `limit` bytes, verified, or None where no neighbour brings it.

        Who fails is put aside, and the next one goes on at that byte. Raises CancelledError.
        """
        body = io.BytesIO()
        senders: set[str] = set()
        refused: set[str] = set()
        while True:
            with self.swarm.asking(digest, refused) as peer:
                if peer is None:
                    return None
                if not body.tell():
                    senders.clear()
                senders.add(peer.name)
                if not self._ask(peer, digest, body, limit, halt):
                    refused.add(peer.name)
                    continue
                data = body.getvalue()
                if sha256(data) == digest:
                    return data
                # Of several nobody knows who was wrong: the next one sends all of it.
                if len(senders) == 1:
                    refused.add(peer.name)
                    self.swarm.failed(peer, f"sent other bytes than {digest}", lied=True)
                body = io.BytesIO()

    def _ask(self, peer: Peer, digest: str, body: io.BytesIO, limit: int, halt: Halt) -> bool:
        """Let one neighbour go on with a blob. Returns whether it sent all that it would."""
        http, begun = HttpClient(peer.name, timeouts=NEAR), time.monotonic()

        def came(_: int) -> None:
            seconds = time.monotonic() - begun
            if self.swarm.is_slow(seconds):
                raise ServerUnreachable(f"{body.tell()} bytes came in {seconds:.0f} s")

        try:
            with halt.cutting(http.abort), peer.gone.cutting(http.abort):
                http.resume(BLOBS_PATH + digest, body, limit=limit, on_piece=came)
            return True
        except NotAtServer:
            self.swarm.lacks(peer, digest)
        except AnswerTooLong as error:
            self.swarm.failed(peer, error.detail, lied=True)
        except BootError as error:
            self.swarm.failed(peer, error.detail)
        except CancelledError:
            # Raised again if it is this node that gives up; else the neighbour left the list.
            halt.check()
        return False

    # --- looking out ---

    def _look_out(self, port: int) -> None:
        """Ask the server for neighbours again and again; more often where somebody new asks."""
        pause = MEET_SECONDS
        offer = Offer(port, self._images)
        try:
            while True:
                self._knocked.clear()
                try:
                    met = [each for each in self._meet(offer).neighbours if each.address != self._address]
                    for peer in self.swarm.meet(met):
                        name = f"ask {peer.name}"
                        threading.Thread(target=self._follow, args=(peer,), name=name, daemon=True).start()
                except TransientError as error:
                    log.info("the server does not say who is near: %s", error)
                    self.swarm.meet(None)
                self._halt.pause(min(pause, KNOCK_SECONDS))
                self._knocked.wait(max(0.0, pause - KNOCK_SECONDS))
                self._halt.check()
                pause = min(2 * pause, MEET_SELDOM_SECONDS)
        except CancelledError:
            return
        except BootError as error:
            # Switched off there, or a server that knows nothing of neighbours.
            self._events.tell("neighbours.refused", reason=str(error))
            self.close()

    def _follow(self, peer: Peer) -> None:
        """Ask a neighbour what it has, again and again while something is wanted."""
        http = HttpClient(peer.name, timeouts=NEAR)
        try:
            while True:
                self.swarm.until_wanted(peer)
                try:
                    with peer.gone.cutting(http.abort):
                        raw = http.get(HOLDINGS_PATH, limit=MAXIMUM_HOLDINGS_BYTES)
                    self.swarm.heard(peer, load_holdings(raw))
                except (MalformedMessage, AnswerTooLong) as error:
                    self.swarm.failed(peer, error.detail, lied=True)
                except BootError as error:
                    self.swarm.missed(peer, error.detail)
                peer.gone.pause(POLL_SECONDS)
        except CancelledError:
            return
