"""Where blobs come from, in which order and how far ahead, and what is believed of them."""

import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import count

import pytest

from host.events import Events
from host.http import NotAtServer, ServerUnreachable
from images.cache import Cache
from images.fetch import AHEAD, CONNECTIONS, STORING, CorruptImage, Supply
from images.manifest import MalformedManifest
from tests.unit.shelf import BLOBS, CONTENTS, Shelf, nowhere

MOST = CONNECTIONS + AHEAD
SOON = 10.0


class Failing(Shelf):
    """Some blobs are errors."""

    def get(self, digest, limit, halt):
        found = super().get(digest, limit, halt)
        if isinstance(found, Exception):
            raise found
        return found


class Counted(bytes):
    """Contents that know how many of them are in memory."""

    alive = peak = 0
    lock = threading.Lock()

    def __new__(cls, data):
        with Counted.lock:
            Counted.alive += 1
            Counted.peak = max(Counted.peak, Counted.alive)
        return super().__new__(cls, data)

    def __del__(self):
        with Counted.lock:
            Counted.alive -= 1


class Fresh(Shelf):
    """Makes each content anew, as a network does."""

    def get(self, digest, limit, halt):
        return Counted(super().get(digest, limit, halt))


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Events("test"))


@pytest.fixture
def counted():
    Counted.alive = Counted.peak = 0
    return Counted


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def ended(stream):
    with suppress(CancelledError):
        next(stream)


def until(condition):
    give_up = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_contents_come_in_order_though_the_first_comes_last():
    shelf = Shelf()
    shelf.gate(BLOBS[0])
    with Supply(shelf, nowhere()) as supply:
        stream = supply.ahead(BLOBS)
        threading.Thread(
            target=lambda: (until(lambda: len(shelf.asked) > 4), shelf.gate(BLOBS[0]).set())
        ).start()
        assert list(stream) == CONTENTS
    assert sorted(shelf.asked) == sorted(blob.sha256 for blob in BLOBS), "each once"


def test_several_are_fetched_at_once():
    shelf = Shelf()
    meeting = threading.Barrier(CONNECTIONS)
    plain = shelf.get
    shelf.get = lambda *words: (meeting.wait(SOON), plain(*words))[1]
    with Supply(shelf, nowhere()) as supply:
        assert len(list(supply.ahead(BLOBS[: 2 * CONNECTIONS]))) == 2 * CONNECTIONS


def test_memory_is_bounded_while_the_consumer_is_slow(counted):
    shelf = Fresh()
    with Supply(shelf, nowhere()) as supply:
        for _ in supply.ahead(BLOBS):
            time.sleep(0.003)
        del _
    assert CONNECTIONS < counted.peak <= MOST
    assert counted.alive == 0


def test_memory_is_bounded_while_the_dongle_is_slow(counted, cache, monkeypatch):
    put = cache.put
    monkeypatch.setattr(cache, "put", lambda *words: (time.sleep(0.005), put(*words))[1])
    with Supply(Fresh(), cache) as supply:
        for _ in supply.ahead(BLOBS):
            pass
    assert counted.peak <= MOST
    assert all(cache.has(blob) for blob in BLOBS)


def test_what_the_consumer_is_done_with_counts_until_the_dongle_has_it(counted, cache, monkeypatch):
    """The first three come last, so that they wait for the dongle when later ones are there long since."""
    shelf, put, may_store = Fresh(), cache.put, threading.Event()
    first = {blob.sha256 for blob in BLOBS[:3]}
    for blob in BLOBS[:3]:
        shelf.gate(blob)

    def slow(digest, *words):
        assert digest not in first or may_store.wait(SOON)
        return put(digest, *words)

    def release():
        until(lambda: all(cache.has(blob) for blob in BLOBS[3 : MOST - 1]))
        for gate in shelf.gates.values():
            gate.set()

    monkeypatch.setattr(cache, "put", slow)
    with Supply(shelf, cache) as supply:
        stream = supply.ahead(BLOBS)
        releaser = threading.Thread(target=release)
        releaser.start()
        for _ in range(4):
            next(stream)
        releaser.join(SOON)
        time.sleep(0.05)
        may_store.set()
    assert counted.peak <= MOST


def test_leaving_begins_no_more_storing(cache, monkeypatch):
    shelf, may_store, stored = Shelf(), threading.Event(), []

    def slow(digest, *_):
        stored.append(digest)
        return may_store.wait(SOON)

    monkeypatch.setattr(cache, "put", slow)
    with Supply(shelf, cache) as supply:
        stream = supply.ahead(BLOBS)
        next(stream)
        # The fetching threads all have one that the storing thread has no room for.
        until(lambda: len(shelf.asked) > STORING + 1)
        time.sleep(0.05)
        threading.Timer(0.05, may_store.set).start()
    assert len(stored) == STORING


def test_what_to_fetch_is_read_no_further_than_is_fetched():
    read = []

    def blobs():
        for blob in BLOBS:
            read.append(blob)
            yield blob

    with Supply(Shelf(), nowhere()) as supply:
        stream = supply.ahead(blobs())
        next(stream)
        assert len(read) <= MOST
        stream.close()


def test_an_endless_list_is_left_without_waiting_for_it():
    shelf = Shelf()
    with Supply(shelf, nowhere()) as supply:
        stream = supply.ahead(BLOBS[number % 30] for number in count())
        next(stream)
    assert len(shelf.asked) <= MOST


def test_an_error_ends_the_others_and_arrives_as_it_was():
    shelf = Failing()
    for blob in BLOBS[:3]:
        # Only the signal to give up ends these.
        shelf.gate(blob)
    shelf.blobs[BLOBS[3].sha256] = CorruptImage("the fourth")
    with Supply(shelf, nowhere()) as supply:
        stream = supply.ahead(BLOBS)
        with pytest.raises(CorruptImage, match="the fourth"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)
        assert len(shelf.asked) <= MOST


def test_an_error_ends_the_others_while_the_consumer_is_busy():
    shelf = Failing()
    shelf.blobs[BLOBS[3].sha256] = NotAtServer("x")
    for blob in BLOBS[1:4]:
        shelf.gate(blob)
    with Supply(shelf, nowhere()) as supply:
        stream = supply.ahead(BLOBS[:4])
        assert next(stream) == CONTENTS[0]
        shelf.gate(BLOBS[3]).set()
        until(lambda: len(shelf.given_up) == 2)
        with pytest.raises(NotAtServer):
            next(stream)


def test_leaving_an_iterator_ends_what_it_began():
    shelf = Shelf()
    for blob in BLOBS[1:4]:
        shelf.gate(blob)
    with Supply(shelf, nowhere()) as supply:
        stream = supply.ahead(BLOBS[:4])
        next(stream)
        # What has not begun when the iterator is left need not be ended.
        until(lambda: len(shelf.asked) == 4)
        stream.close()
        until(lambda: len(shelf.given_up) == 3)


def test_after_an_error_the_supply_is_of_use_still():
    shelf = Failing()
    shelf.blobs[BLOBS[3].sha256] = NotAtServer("x")
    with Supply(shelf, nowhere()) as supply:
        with pytest.raises(NotAtServer):
            list(supply.ahead(BLOBS))
        assert supply.blob(BLOBS[4]) == CONTENTS[4]
        assert list(supply.ahead(BLOBS[4:9])) == CONTENTS[4:9]


# With more than there are threads, and with so few that none waits for one.
@pytest.mark.parametrize("number", [len(BLOBS), CONNECTIONS // 2])
@pytest.mark.parametrize("error", [None, ServerUnreachable("x"), KeyboardInterrupt()])
def test_leaving_ends_what_hangs(error, number):
    shelf = Shelf()
    for blob in BLOBS:
        shelf.gate(blob)
    begun = time.monotonic()

    def leave():
        with Supply(shelf, nowhere()) as supply:
            for _ in range(2):
                # Not closed by anybody.
                stream = supply.ahead(BLOBS[:number])
                asker = threading.Thread(target=ended, args=(stream,))
                asker.start()
                askers.append(asker)
            until(lambda: len(shelf.asked) >= CONNECTIONS)
            if error is not None:
                raise error

    askers = []
    if error is None:
        leave()
    else:
        with pytest.raises(type(error)):
            leave()
    for asker in askers:
        asker.join(SOON)
        assert not asker.is_alive()
    assert time.monotonic() - begun < SOON


def test_an_error_of_what_names_the_blobs_is_the_consumers():
    def blobs():
        yield BLOBS[0]
        raise MalformedManifest("broken")

    with Supply(Shelf(), nowhere()) as supply, pytest.raises(MalformedManifest, match="broken"):
        list(supply.ahead(blobs()))


def test_single_blobs_may_be_asked_for_by_any_thread():
    with Supply(Shelf(), nowhere()) as supply:
        found = []
        threads = [
            threading.Thread(target=lambda blob=blob: found.append(supply.blob(blob))) for blob in BLOBS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    assert sorted(found) == sorted(CONTENTS)
    assert supply.transfer.network_bytes == sum(blob.size for blob in BLOBS)
