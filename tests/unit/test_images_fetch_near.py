"""Blobs from neighbours: what is asked of whom, what is given on, and how it is counted."""

import threading
from concurrent.futures import CancelledError

import pytest

from host.events import Events
from images.cache import Cache
from images.choice import rank
from images.fetch import Supply, Transfer
from images.manifest import Blob, sha256
from images.neighbours import Neighbours
from images.shelf import Shelf
from wire.neighbours import Holdings, Neighbour

CONTENTS = [b"%d" % number * 1000 for number in range(30)]
BLOBS = tuple(Blob(sha256(data), len(data)) for data in CONTENTS)
BY_NAME = {sha256(data): data for data in CONTENTS}
SIZE = sum(blob.size for blob in BLOBS)
A = Neighbour("10.0.0.2", 40000)
ME = "http://10.0.0.1:40000"


class Server:
    """A source that keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def get(self, digest, limit, halt):
        self.asked.append(digest)
        return BY_NAME[digest]


class Near(Neighbours):
    """One neighbour that has some blobs and brings them, but those that it has `lost`; no network."""

    def __init__(self, cache, have=(), lost=()):
        super().__init__("10.0.0.1", Shelf(cache, 10**6), None, [], Events("test"))
        self.swarm.name = ME
        self.lost, self.taken = set(lost), []
        (self.peer,) = self.swarm.meet([A])
        self.have = frozenset(blob.sha256 for blob in have)
        wish = self.swarm.wish
        # Asked at once when something is wanted.
        self.swarm.wish = lambda *words: self.hear(wish(*words))

    def hear(self, entering):
        near = self

        class Heard:
            def __enter__(self):
                wish = entering.__enter__()
                near.swarm.heard(near.peer, Holdings(near.have))
                return wish

            def __exit__(self, *what):
                return entering.__exit__(*what)

        return Heard()

    def take(self, digest, limit, halt):
        with self.swarm.asking(digest, ()) as peer:
            if peer is None:
                return None
            if digest in self.lost:
                self.swarm.lacks(peer, digest)
                return None
            self.taken.append(digest)
            return BY_NAME[digest]


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def nowhere():
    return Cache(None, Events("test"))


def bring(near, server, cache=None, blobs=BLOBS):
    with Supply(server, cache or nowhere(), near=near) as supply:
        found = dict(supply.as_they_come(blobs))
    assert found == dict(zip(BLOBS, CONTENTS, strict=True))
    return supply.transfer


def test_what_a_neighbour_has_does_not_come_from_the_server():
    near, server = Near(nowhere(), BLOBS[:20]), Server()
    near_bytes = sum(blob.size for blob in BLOBS[:20])
    assert bring(near, server) == Transfer(SIZE - near_bytes, 0, near_bytes)
    assert sorted(near.taken) == sorted(blob.sha256 for blob in BLOBS[:20])
    assert sorted(server.asked) == sorted(blob.sha256 for blob in BLOBS[20:])


def test_what_it_does_not_bring_comes_from_the_server():
    near, server = Near(nowhere(), BLOBS, [blob.sha256 for blob in BLOBS[:10]]), Server()
    bring(near, server)
    assert sorted(server.asked) == sorted(blob.sha256 for blob in BLOBS[:10])


def test_all_that_came_is_given_on():
    near = Near(nowhere(), BLOBS[:20])
    bring(near, Server())
    assert {digest: near.blob(digest) for digest in near.shelf.have()} == BY_NAME


def test_a_node_that_is_alone_keeps_its_memory():
    near = Near(nowhere())
    near.swarm.meet(())
    bring(near, Server())
    assert near.shelf.have() == frozenset()


def test_what_is_in_the_cache_is_given_and_not_asked_for(tmp_path):
    cache = Cache(tmp_path, Events("test"))
    bring(None, Server(), cache)
    near, server = Near(cache, BLOBS), Server()
    assert bring(near, server, cache) == Transfer(0, SIZE, 0)
    assert (near.taken, server.asked) == ([], [])
    assert near.shelf.have() == frozenset(BY_NAME)
    assert near.blob(BLOBS[3].sha256) == CONTENTS[3]


def test_a_damaged_copy_in_the_cache_comes_from_a_neighbour(tmp_path):
    cache = Cache(tmp_path, Events("test"))
    bring(None, Server(), cache)
    (cache.folder / "blobs" / BLOBS[2].sha256).write_bytes(b"0" * BLOBS[2].size)
    near, server = Near(cache, BLOBS), Server()
    assert bring(near, server, cache) == Transfer(0, SIZE - BLOBS[2].size, BLOBS[2].size)
    assert server.asked == []
    assert cache.get(BLOBS[2].sha256) == CONTENTS[2]


def test_bringing_for_later_takes_from_neighbours_too(tmp_path):
    cache = Cache(tmp_path, Events("test"))
    cache.put(BLOBS[0].sha256, CONTENTS[0])
    near, server = Near(cache, BLOBS[:20]), Server()
    with Supply(server, cache, near=near) as supply:
        assert sorted(blob.sha256 for blob in supply.bring_all(BLOBS)) == sorted(BY_NAME)
    assert sorted(server.asked) == sorted(blob.sha256 for blob in BLOBS[20:])
    assert supply.transfer.cache_bytes == BLOBS[0].size
    assert all(cache.has(blob) for blob in BLOBS)


def test_bringing_for_later_ends_where_the_cache_takes_no_more(tmp_path):
    cache = Cache(tmp_path, Events("test"), budget_bytes=3000)
    near = Near(cache, BLOBS[:20])
    with Supply(Server(), cache, [blob.sha256 for blob in BLOBS], near=near) as supply:
        assert len(list(supply.bring_all(BLOBS))) < len(BLOBS)
        assert supply.refused


def test_leaving_ends_the_waiting_for_a_neighbour():
    near, server = Near(nowhere()), Server()
    theirs = [blob for blob in BLOBS if rank(A.url, blob.sha256) > rank(ME, blob.sha256)]
    heard = near.swarm.heard
    near.swarm.heard = lambda peer, _: heard(peer, Holdings(wants=frozenset(BY_NAME)))
    near.swarm.told(A.address)

    def ask():
        with pytest.raises(CancelledError):
            next(stream)

    with Supply(server, nowhere(), near=near) as supply:
        stream = supply.as_they_come(theirs)
        asker = threading.Thread(target=ask)
        asker.start()
        while near.swarm.told(A.address)[1] == frozenset():
            pass
    asker.join(5)
    assert not asker.is_alive()
    assert server.asked == []


def test_without_neighbours_a_slow_one_is_not_waited_for():
    gate, found = threading.Event(), {}

    class Slow(Server):
        def get(self, digest, limit, halt):
            if digest == BLOBS[0].sha256:
                assert gate.wait(10)
            return super().get(digest, limit, halt)

    with Supply(Slow(), nowhere()) as supply:
        for blob, data in supply.as_they_come(BLOBS):
            found[blob] = data
            if len(found) == len(BLOBS) - 1:
                assert BLOBS[0] not in found
                gate.set()
    assert found == dict(zip(BLOBS, CONTENTS, strict=True))
