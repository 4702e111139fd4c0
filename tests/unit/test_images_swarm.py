"""What is picked next among neighbours that come, go, lie, boast and fall silent."""

from concurrent.futures import CancelledError
from contextlib import ExitStack

import pytest

from host.events import Events
from host.halt import Halt
from images import patience, swarm
from images.choice import From, rank
from images.manifest import Blob, sha256
from images.swarm import ASIDE_SECONDS, MISSED_SECONDS, SETTLE_SECONDS, Swarm
from images.wish import WINDOW
from wire.neighbours import Holdings, Neighbour

BLOBS = [Blob(sha256(b"%d" % number), 1000) for number in range(40)]
ALL = frozenset(blob.sha256 for blob in BLOBS)
A, B = Neighbour("10.0.0.2", 40000), Neighbour("10.0.0.3", 40000)
ME = "http://10.0.0.1:40000"


class Node:
    """A swarm whose waiting takes no time: the clock goes on instead, and `meanwhile` is called."""

    def __init__(self, clock):
        self.clock, self.told = clock, []
        self.meanwhile = lambda: None
        self.swarm = Swarm(
            Events("test", (lambda event: self.told.append((event.event, event.data)),)), clock
        )
        self.swarm.name = ME
        self.swarm.changed.wait = self.wait
        self.halt = Halt()
        self.stack = ExitStack()

    def wait(self, seconds):
        self.clock.now += seconds
        self.meanwhile()

    def meet(self, *neighbours):
        return self.swarm.meet(neighbours)

    def wish(self, blobs=BLOBS, is_cached=lambda _: False):
        wish = self.stack.enter_context(self.swarm.wish(blobs, is_cached))
        self.clock.now += 0.01
        return wish

    def pick(self, wish):
        assert self.swarm.promise(wish) is wish
        return self.swarm.pick(wish, self.halt)

    def picked(self, wish, count):
        return [self.pick(wish) for _ in range(count)]

    def fetch(self, wish, count):
        """Pick blobs that come from the server, each after the other."""
        for _ in range(count):
            blob, place = self.pick(wish)
            assert place is From.SERVER
            with self.swarm.ending(blob.sha256):
                pass


@pytest.fixture
def node(clock):
    made = Node(clock)
    with made.stack:
        yield made


def wanting(*, have=(), fetching=()):
    return Holdings(frozenset(have), frozenset(fetching), ALL - frozenset(have) - frozenset(fetching))


def theirs(neighbour):
    return [blob for blob in BLOBS if rank(neighbour.url, blob.sha256) > rank(ME, blob.sha256)]


def test_alone_nothing_is_waited_for(node, clock):
    node.meet()
    begun = clock.now
    wish = node.wish()
    picked = node.picked(wish, len(BLOBS))
    assert {blob for blob, _ in picked} == set(BLOBS)
    assert {place for _, place in picked} == {From.SERVER}
    assert node.swarm.promise(wish) is None
    assert clock.now - begun < 0.1


def test_where_the_server_does_not_answer_it_is_not_waited_for_long(node, clock):
    begun = clock.now
    node.pick(node.wish())
    assert SETTLE_SECONDS <= clock.now - begun < SETTLE_SECONDS + 1


def test_neighbours_are_asked_before_the_first_is_picked(node):
    (peer,) = node.meet(A)
    wish = node.wish()
    node.meanwhile = lambda: node.swarm.heard(peer, Holdings(have=frozenset([BLOBS[3].sha256])))
    assert [place for _, place in node.picked(wish, 3)].count(From.NEIGHBOUR) == 1


def test_who_begins_too_has_to_know_of_it_before_the_first_is_picked(node, clock):
    (peer,) = node.meet(A)
    wish, begun = node.wish(), clock.now
    node.swarm.heard(peer, wanting())
    asked = []

    def meanwhile():
        if clock.now - begun > 0.4 and not asked:
            asked.append(node.swarm.told(A.address))

    node.meanwhile = meanwhile
    node.pick(wish)
    assert asked == [(frozenset(), ALL)]
    assert 0.4 < clock.now - begun < SETTLE_SECONDS


def test_each_fetches_its_own_and_waits_for_the_others(node):
    (peer,) = node.meet(A)
    wish = node.wish()
    node.swarm.heard(peer, wanting())
    own = len(BLOBS) - len(theirs(A))
    node.fetch(wish, own)
    node.meanwhile = lambda: node.swarm.heard(peer, wanting(have=[theirs(A)[0].sha256]))
    assert node.pick(wish) == (theirs(A)[0], From.NEIGHBOUR)


def test_who_brings_nothing_is_not_waited_for_for_ever(node, clock):
    (peer,) = node.meet(A)
    wish = node.wish()
    node.swarm.heard(peer, wanting())
    node.fetch(wish, len(BLOBS) - len(theirs(A)))
    begun = clock.now
    node.meanwhile = lambda: node.swarm.heard(peer, wanting())
    node.fetch(wish, len(theirs(A)))
    assert patience.LEAST_SECONDS <= clock.now - begun < patience.LEAST_SECONDS + 1


def test_who_is_slow_because_the_server_is_has_the_time(node, clock):
    (peer,) = node.meet(A)
    wish = node.wish()
    node.swarm.heard(peer, wanting())
    for _ in range(len(BLOBS) - len(theirs(A))):
        blob, _ = node.pick(wish)
        with node.swarm.ending(blob.sha256):
            clock.now += 30
    begun = clock.now
    node.pick(wish)
    assert 60 <= clock.now - begun < 61


def test_who_boasts_again_and_again_is_waited_for_within_bounds(node, clock):
    """It says each time that it has another blob, which it then does not bring."""
    (peer,) = node.meet(A)
    wish = node.wish()
    node.swarm.heard(peer, wanting())
    node.fetch(wish, len(BLOBS) - len(theirs(A)))
    begun, claimed = clock.now, []

    def meanwhile():
        if clock.now - begun > 9 * (len(claimed) + 1):
            claimed.append(theirs(A)[len(claimed)].sha256)
            node.swarm.heard(peer, wanting(have=claimed))

    node.meanwhile = meanwhile
    left = len(theirs(A))
    while left:
        blob, place = node.pick(wish)
        if place is From.NEIGHBOUR:
            node.swarm.lacks(peer, blob.sha256)
            node.swarm.put_back(wish, blob)
            wish.promised -= 1
            continue
        left -= 1
        with node.swarm.ending(blob.sha256):
            pass
    assert clock.now - begun < patience.IDLE_SECONDS + 30


def test_one_that_failed_is_put_aside_for_longer_each_time_and_told_of_once(node, clock):
    (peer,) = node.meet(A)
    wish = node.wish()
    waits = []
    for _ in range(6):
        node.swarm.heard(peer, Holdings(have=ALL))
        node.swarm.failed(peer, "x")
        failed_at = clock.now
        node.swarm.until_wanted(peer)
        waits.append(clock.now - failed_at)
    assert [wait // ASIDE_SECONDS for wait in waits] == [1, 2, 4, 8, 16, 16]
    assert [name for name, _ in node.told] == ["neighbour.dropped"]
    with node.swarm.asking(BLOBS[0].sha256, ()) as asked:
        assert asked is None, "what it had is asked for anew"
    assert wish.open.keys() == ALL


def test_a_liar_is_left_alone_for_good(node, clock):
    (peer,) = node.meet(A)
    node.wish()
    node.swarm.failed(peer, "wrong bytes", lied=True)
    clock.now += 1e6
    node.swarm.heard(peer, Holdings(have=ALL))
    with node.swarm.asking(BLOBS[0].sha256, ()) as asked:
        assert asked is None
    assert node.told[0][1] == {"neighbour": A.url, "reason": "wrong bytes", "lied": True}


def test_one_that_is_silent_for_a_moment_is_not_put_aside(node, clock):
    (peer,) = node.meet(A)
    wish = node.wish(BLOBS[:1])
    node.swarm.heard(peer, Holdings(have=ALL))
    for _ in range(3):
        node.swarm.missed(peer, "silent")
        clock.now += MISSED_SECONDS / 4
    assert node.pick(wish) == (BLOBS[0], From.NEIGHBOUR)
    node.swarm.put_back(wish, BLOBS[0])
    clock.now += MISSED_SECONDS
    node.swarm.missed(peer, "silent")
    assert node.swarm.pick(wish, node.halt) == (BLOBS[0], From.SERVER)
    assert len(node.told) == 1


def test_who_is_not_on_the_list_any_more_is_cut_off(node):
    one, other = node.meet(A, B)
    assert node.meet(B) == []
    assert not node.swarm.knows(A.address)
    assert node.swarm.knows(B.address)
    with pytest.raises(CancelledError):
        one.gone.check()
    other.gone.check()
    node.swarm.close()
    assert node.meet(A) == []
    assert not node.swarm.knows(B.address)


def test_the_list_stays_where_the_server_is_away(node):
    node.meet(A)
    assert node.swarm.meet(None) == []
    assert node.swarm.knows(A.address)


def test_what_is_fetched_and_wanted_is_told(node):
    node.meet()
    wish = node.wish(BLOBS[:3])
    blob, _ = node.pick(wish)
    names = {each.sha256 for each in BLOBS[:3]}
    assert node.swarm.told("") == ({blob.sha256}, names - {blob.sha256})
    with node.swarm.ending(blob.sha256):
        pass
    assert node.swarm.told("") == (frozenset(), names - {blob.sha256})


def test_the_cache_is_read_while_there_is_nothing_better(node):
    node.meet()
    cached = set(BLOBS[:20])
    wish = node.wish(BLOBS, lambda blob: blob in cached)
    places = [place for _, place in node.picked(wish, len(BLOBS))]
    assert places == [*[From.SERVER] * swarm.BUSY, *[From.CACHE] * 20, *[From.SERVER] * (20 - swarm.BUSY)]


def test_what_is_wanted_twice_is_picked_twice(node):
    node.meet()
    wish = node.wish([BLOBS[0], BLOBS[1], BLOBS[0]])
    assert sorted(blob.sha256 for blob, _ in node.picked(wish, 3)) == sorted(
        [BLOBS[0].sha256, BLOBS[0].sha256, BLOBS[1].sha256]
    )
    assert node.swarm.promise(wish) is None


def test_no_further_than_the_window_is_looked(node):
    node.meet()
    read = []

    def blobs():
        for number in range(1000):
            read.append(number)
            yield Blob(sha256(b"%d" % number), 10)

    wish = node.wish(blobs())
    node.picked(wish, 10)
    assert len(read) <= WINDOW + 10


def test_who_waits_gives_up_when_told_to(node):
    (peer,) = node.meet(A)
    wish = node.wish(theirs(A))
    node.swarm.heard(peer, wanting())
    node.meanwhile = node.halt.set
    with pytest.raises(CancelledError):
        node.pick(wish)
