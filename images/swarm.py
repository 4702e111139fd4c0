"""What is known of the neighbours, what is wanted here, and what follows: whom to ask for what, now.

No thread and no connection of its own; the lock is `changed`, and who waits for news waits on it. Whatever
neighbours say, it makes an installation slower at most, and that is bounded: one that fails is put aside, one
that lies is left alone for good, and nobody is waited for longer than this node takes for such work itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from host.events import Events
from host.halt import Halt
from images.choice import From, Other, awaited, choose, holders
from images.manifest import Blob
from images.patience import Patience
from images.wish import Wish
from wire.neighbours import Holdings, Neighbour

log = logging.getLogger(__name__)

# At the beginning, so that nodes that begin together know of each other's wants.
SETTLE_SECONDS = 1.0
# One that does not answer any more, or not yet since it has to learn of this node first.
MISSED_SECONDS = 6.0
# For how long one that failed is not asked: at first, and at most, doubled with each failure in a row.
ASIDE_SECONDS = 15.0
MAXIMUM_ASIDE_SECONDS = 240.0
# While so many come over the network, the cache is read.
BUSY = 2
_TICK_SECONDS = 0.25


@dataclass
class Peer:
    """A neighbour and what became of it. Times are of the monotonic clock."""

    neighbour: Neighbour
    holdings: Holdings = field(default_factory=Holdings)
    busy: int = 0
    late: bool = False
    lied: bool = False
    failures: int = 0
    aside_until: float = 0.0
    asked_at: float = 0.0
    told_at: float = 0.0
    silent_since: float | None = None
    # When it last had something new that is wanted here.
    moved_at: float = 0.0
    gone: Halt = field(default_factory=Halt)

    @property
    def name(self) -> str:
        """Its base URL."""
        return self.neighbour.url


class Swarm:
    """Any thread. `name` is this node's own base URL, which the server gives to the others."""

    def __init__(self, events: Events, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = ""
        self.changed = threading.Condition()
        self._events = events
        self._clock = clock
        # Whether the server was asked once.
        self._met = False
        self._closed = False
        self._peers: dict[str, Peer] = {}
        self._wishes: list[Wish] = []
        self._told: set[tuple[str, bool]] = set()
        self._patience = Patience(clock)

    # --- who there is ---

    def meet(self, neighbours: Iterable[Neighbour] | None) -> list[Peer]:
        """Know these from now on and no others; return those that are new. None where the server is away."""
        with self.changed:
            self._met = True
            self.changed.notify_all()
            if neighbours is None or self._closed:
                return []
            listed = {each.url: each for each in neighbours}
            for name in self._peers.keys() - listed.keys():
                self._peers.pop(name).gone.set()
            new = {name: Peer(each) for name, each in listed.items() if name not in self._peers}
            self._peers |= new
        return list(new.values())

    def close(self) -> None:
        """Know nobody any more."""
        with self.changed:
            self._closed = True
            for peer in self._peers.values():
                peer.gone.set()
            self._peers.clear()
            self.changed.notify_all()

    @property
    def is_alone(self) -> bool:
        """Whether no neighbour is known."""
        with self.changed:
            return not self._peers

    def knows(self, address: str) -> bool:
        """Say whether a neighbour has this address."""
        with self.changed:
            return any(peer.neighbour.address == address for peer in self._peers.values())

    def until_wanted(self, peer: Peer) -> None:
        """Wait while nothing is wanted, or while the neighbour is aside. Raises CancelledError."""
        with self.changed:
            while not self._wishes or not self._is_usable(peer, self._clock()):
                self.changed.wait(_TICK_SECONDS * 4)
                peer.gone.check()

    def heard(self, peer: Peer, holdings: Holdings) -> None:
        """Note what a neighbour says of itself."""
        with self.changed:
            now = peer.asked_at = self._clock()
            news = holdings.have - peer.holdings.have
            if any(digest in wish.open for digest in news for wish in self._wishes):
                peer.moved_at, peer.late = now, False
            peer.holdings, peer.silent_since = holdings, None
            self.changed.notify_all()

    def missed(self, peer: Peer, reason: str) -> None:
        """Note that a neighbour did not say what it has; one that goes on so is put aside."""
        with self.changed:
            now = peer.asked_at = self._clock()
            if peer.silent_since is None:
                peer.silent_since = now
            elif now - peer.silent_since >= MISSED_SECONDS:
                self._put_aside(peer, reason)
            self.changed.notify_all()

    def failed(self, peer: Peer, reason: str, *, lied: bool = False) -> None:
        """Put aside a neighbour that did not bring what it has, for good if it lied."""
        with self.changed:
            peer.lied = peer.lied or lied
            self._put_aside(peer, reason)
            self.changed.notify_all()

    def lacks(self, peer: Peer, digest: str) -> None:
        """Note that a neighbour has made room for other blobs meanwhile."""
        with self.changed:
            peer.holdings = replace(peer.holdings, have=peer.holdings.have - {digest})

    @contextmanager
    def asking(self, digest: str, but: Collection[str]) -> Iterator[Peer | None]:
        """Yield the neighbour to ask for a blob, None where nobody has it but who is named in `but`."""
        with self.changed:
            others = [other for other in self._others().values() if other.name not in but]
            having = holders(digest, others)
            peer = self._peers[having[0].name] if having else None
            if peer is not None:
                peer.busy += 1
        try:
            yield peer
        finally:
            if peer is not None:
                with self.changed:
                    peer.busy -= 1
                    self.changed.notify_all()

    # --- what is wanted ---

    @contextmanager
    def wish(self, blobs: Iterable[Blob], is_cached: Callable[[Blob], bool]) -> Iterator[Wish]:
        """Want blobs for the length of a with block; they are read as far ahead as is chosen among."""
        with self.changed:
            wish = Wish(iter(blobs), is_cached, self._clock())
            wish.look_ahead()
            self._wishes.append(wish)
            self.changed.notify_all()
        try:
            yield wish
        finally:
            with self.changed:
                self._wishes.remove(wish)

    def promise(self, wish: Wish) -> Wish | None:
        """Promise to pick one, and return where; None if there is none that is not promised."""
        with self.changed:
            return wish if wish.promise() else None

    def pick(self, wish: Wish, halt: Halt) -> tuple[Blob, From]:
        """Return what to get next, as was promised, and where; waits where a neighbour will soon have it.

        Raises CancelledError soon after `halt` is set.
        """
        with self.changed:
            while True:
                halt.check()
                found = self._choose(wish)
                if found is not None:
                    self._patience.goes_on()
                    return found
                self._wait_no_longer(wish)
                self.changed.wait(_TICK_SECONDS)

    def put_back(self, wish: Wish, blob: Blob) -> None:
        """Want a blob again that the neighbours did not bring, and promise to pick another."""
        with self.changed:
            wish.put_back(blob)

    @contextmanager
    def ending(self, digest: str) -> Iterator[None]:
        """Get what was picked from the server, or the cache, within a with block."""
        try:
            yield
        finally:
            with self.changed:
                self._patience.end(digest)
                self.changed.notify_all()

    def is_slow(self, seconds: float) -> bool:
        """Say whether that is too long for a neighbour to bring a blob."""
        with self.changed:
            return seconds > self._patience.seconds

    def told(self, address: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return what is being fetched from the server, and what is wanted, as a neighbour learns it now."""
        with self.changed:
            now = self._clock()
            for peer in self._peers.values():
                if peer.neighbour.address == address:
                    peer.told_at = now
            return self._patience.fetching, frozenset(sha for wish in self._wishes for sha in wish.open)

    # --- within the lock ---

    def _choose(self, wish: Wish) -> tuple[Blob, From] | None:
        others, fetching = self._others(), len(self._patience.fetching)
        found = None if self._settles(wish) else choose(self.name, wish.open, others, fetching)
        busy = fetching + sum(other.busy for other in others.values())
        if wish.cached and (found is None or busy >= BUSY):
            return wish.pick_cached(), From.CACHE
        if found is None:
            return None
        if found.place is From.SERVER:
            # At once, and not when the connection is made: others look what is being fetched.
            self._patience.begin(found.sha256)
        return wish.pick(found.sha256), found.place

    def _settles(self, wish: Wish) -> bool:
        """Say whether somebody has yet to be asked, or to ask, for the first time since this is wanted.

        Else two that begin together would each believe to be the first for the same blob.
        """
        now = self._clock()
        if now - wish.since >= SETTLE_SECONDS:
            return False
        usable = [peer for peer in self._peers.values() if self._is_usable(peer, now)]
        asking = [peer for peer in usable if peer.holdings.wants or peer.holdings.fetching]
        return (
            not self._met
            or any(peer.asked_at <= wish.since for peer in usable)
            or any(peer.told_at <= wish.since for peer in asking)
        )

    def _others(self) -> dict[str, Other]:
        now = self._clock()
        return {
            name: Other(name, peer.holdings, peer.busy, peer.late or self._patience.is_at_end)
            for name, peer in self._peers.items()
            if self._is_usable(peer, now)
        }

    def _wait_no_longer(self, wish: Wish) -> None:
        """Where nothing comes, find those who are waited for in vain."""
        now, others = self._clock(), self._others()
        if self._patience.fetching or any(other.busy for other in others.values()):
            self._patience.goes_on()
            return
        since = self._patience.idles()
        for name in {name for digest in wish.open for name in awaited(self.name, digest, others.values())}:
            peer = self._peers[name]
            if now - max(since, peer.moved_at) > self._patience.seconds:
                log.warning("%s is not waited for any more", name)
                peer.late = True

    def _put_aside(self, peer: Peer, reason: str) -> None:
        peer.failures += 1
        seconds = min(ASIDE_SECONDS * 2.0 ** (peer.failures - 1), MAXIMUM_ASIDE_SECONDS)
        peer.aside_until = self._clock() + seconds
        peer.silent_since, peer.holdings = None, Holdings()
        log.warning("the neighbour %s is put aside: %s", peer.name, reason)
        if (peer.name, peer.lied) not in self._told:
            self._told.add((peer.name, peer.lied))
            self._events.tell("neighbour.dropped", neighbour=peer.name, reason=reason, lied=peer.lied)

    @staticmethod
    def _is_usable(peer: Peer, now: float) -> bool:
        return not peer.lied and now >= peer.aside_until
