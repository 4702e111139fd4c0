"""Where blobs come from and what is believed of them."""

import threading

import pytest

from host.events import Events
from host.http import AnswerTooLong, NotAtServer
from images import fetch
from images.cache import Cache
from images.fetch import CorruptImage, HttpSource, Supply, Transfer
from images.manifest import Blob, Layer, MalformedManifest, Manifest, SignedImage, sha256
from images.unpack import load_manifest, pins, prefetch

CONTENTS = [b"%d" % number * 1000 for number in range(8)]
BLOBS = tuple(Blob(sha256(data), len(data)) for data in CONTENTS)
MANIFEST = Manifest("base", (Layer(BLOBS, 9000),))


class Shelf:
    """A source with a dictionary behind it, which counts."""

    def __init__(self, contents=CONTENTS):
        self.blobs = {sha256(data): data for data in contents}
        self.asked = []

    def get(self, digest, limit):
        self.asked.append(digest)
        return self.blobs[digest]


class FakeHttp:
    """An HttpClient that answers with one thing."""

    base_url = "http://server"

    def __init__(self, answer):
        self.answer = answer

    def get(self, path, *, limit, retry):
        self.path, self.limit, self.retry = path, limit, retry
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Events("test"))


def test_a_blob_is_asked_for_by_its_digest_within_its_size():
    http = FakeHttp(CONTENTS[1])
    assert HttpSource(http).get(BLOBS[1].sha256, BLOBS[1].size) == CONTENTS[1]
    assert http.path == f"/images/blobs/{BLOBS[1].sha256}"
    assert http.limit == BLOBS[1].size
    assert http.retry.total > 0


@pytest.mark.parametrize("answer", [b"", b"wrong", CONTENTS[1][:-1], AnswerTooLong("more")])
def test_what_the_server_sends_is_verified(answer):
    with pytest.raises(CorruptImage) as caught:
        HttpSource(FakeHttp(answer)).get(BLOBS[1].sha256, BLOBS[1].size)
    assert caught.value.code == "corrupt-image"
    assert "publish" in caught.value.advice.lower()


def test_a_manifest_that_lies_about_a_size_is_found_out(cache):
    lying = Blob(BLOBS[0].sha256, BLOBS[0].size + 1)
    with Supply(Shelf(), cache) as supply, pytest.raises(CorruptImage):
        supply.blob(lying)


def test_first_from_the_source_then_from_the_cache(cache):
    with Supply(Shelf(), cache) as supply:
        assert list(supply.ahead(BLOBS)) == CONTENTS
    assert supply.transfer == Transfer(MANIFEST.size, 0)
    nothing = Shelf([])
    with Supply(nothing, cache) as supply:
        assert list(supply.ahead(BLOBS)) == CONTENTS
    assert supply.transfer == Transfer(0, MANIFEST.size)
    assert nothing.asked == []


def test_a_damaged_copy_is_fetched_and_stored_again(cache):
    prefetch(MANIFEST, Shelf(), cache)
    (cache.folder / "blobs" / BLOBS[2].sha256).write_bytes(b"0" * BLOBS[2].size)
    shelf = Shelf()
    with Supply(shelf, cache) as supply:
        assert list(supply.ahead(BLOBS)) == CONTENTS
    assert shelf.asked == [BLOBS[2].sha256]
    assert cache.get(BLOBS[2].sha256) == CONTENTS[2]


def test_reading_ahead_is_bounded(monkeypatch):
    shelf = Shelf([b"%d" % number for number in range(100)])
    blobs = [Blob(digest, len(data)) for digest, data in shelf.blobs.items()]
    with Supply(shelf, Cache(None, Events("test"))) as supply:
        stream = supply.ahead(blobs)
        next(stream)
        threading.Event().wait(0.1)
        assert len(shelf.asked) <= fetch.AHEAD + 2
        stream.close()
    assert len(shelf.asked) <= fetch.AHEAD + 2


def test_an_error_ahead_arrives_in_order():
    shelf = Shelf(CONTENTS[:2])
    with Supply(shelf, Cache(None, Events("test"))) as supply:
        stream = supply.ahead(BLOBS)
        assert [next(stream), next(stream)] == CONTENTS[:2]
        with pytest.raises(KeyError):
            next(stream)


def test_prefetching_twice_fetches_once(cache):
    shelf = Shelf()
    assert prefetch(MANIFEST, shelf, cache) == Transfer(MANIFEST.size, 0)
    assert prefetch(MANIFEST, shelf, cache) == Transfer(0, MANIFEST.size)
    assert len(shelf.asked) == len(BLOBS)


def test_prefetching_ends_where_the_cache_takes_no_more(cache):
    cache.budget_bytes = 2500
    shelf = Shelf()
    prefetch(MANIFEST, shelf, cache)
    assert len(shelf.asked) < len(BLOBS)
    shelf = Shelf()
    assert prefetch(MANIFEST, shelf, Cache(None, Events("test"))) == Transfer()
    assert shelf.asked == []


def test_manifests_are_cached_and_verified(cache):
    shelf = Shelf([MANIFEST.to_bytes()])
    size = len(MANIFEST.to_bytes())
    signed = SignedImage("base", MANIFEST.digest, size)
    assert load_manifest(signed, shelf, cache) == (MANIFEST, Transfer(size, 0))
    assert load_manifest(signed, Shelf([]), cache) == (MANIFEST, Transfer(0, size))


@pytest.mark.parametrize("wrong", [-1, 1])
@pytest.mark.parametrize("warm", [False, True])
def test_a_manifest_with_the_right_hash_and_another_length_is_refused(cache, wrong, warm):
    raw = MANIFEST.to_bytes()
    if warm:
        cache.put(MANIFEST.digest, raw)
    source = HttpSource(FakeHttp(raw if wrong > 0 else AnswerTooLong("more than allowed")))
    with pytest.raises(CorruptImage):
        load_manifest(SignedImage("base", MANIFEST.digest, len(raw) + wrong), source, cache)


def test_a_manifest_under_another_images_name_is_refused(cache):
    raw = MANIFEST.to_bytes()
    with pytest.raises(MalformedManifest, match="signed as sliver is the manifest of base"):
        load_manifest(SignedImage("sliver", MANIFEST.digest, len(raw)), Shelf([raw]), cache)


def test_a_manifest_that_is_signed_to_fill_the_memory_is_not_fetched(cache):
    shelf = Shelf()
    with pytest.raises(MalformedManifest):
        load_manifest(SignedImage("base", MANIFEST.digest, 2**40), shelf, cache)
    assert shelf.asked == []


def test_a_blob_that_is_no_manifest(cache):
    with pytest.raises(MalformedManifest):
        load_manifest(SignedImage("base", BLOBS[0].sha256, BLOBS[0].size), Shelf(), cache)


def test_what_the_server_does_not_have_is_its_own_error():
    with pytest.raises(NotAtServer):
        HttpSource(FakeHttp(NotAtServer("url"))).get(BLOBS[0].sha256, 1)


def test_pins_name_manifests_too():
    assert pins([MANIFEST]) == {MANIFEST.digest, *(blob.sha256 for blob in BLOBS)}
