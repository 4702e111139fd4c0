"""What is believed of blobs, and what comes from the cache: manifests, damaged copies, bringing for later."""

import pytest

from host.events import Events
from images.cache import Cache
from images.fetch import CorruptImage, Supply, Transfer, pins
from images.manifest import Blob, MalformedManifest, SignedImage, sha256
from tests.unit.shelf import BLOBS, CONTENTS, MANIFEST, Shelf, nowhere
from wire.errors import BootError


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Events("test"))


def test_a_blob_of_another_size_than_signed_is_found_out():
    lying = Blob(BLOBS[0].sha256, BLOBS[0].size + 1)
    with Supply(Shelf(), nowhere()) as supply, pytest.raises(CorruptImage):
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
    with Supply(Shelf(), cache) as supply:
        list(supply.ahead(BLOBS))
    (cache.folder / "blobs" / BLOBS[2].sha256).write_bytes(b"0" * BLOBS[2].size)
    shelf = Shelf()
    with Supply(shelf, cache) as supply:
        assert list(supply.ahead(BLOBS)) == CONTENTS
    assert shelf.asked == [BLOBS[2].sha256]
    assert cache.get(BLOBS[2].sha256) == CONTENTS[2]


def test_what_failed_in_the_storing_thread_is_not_lost(cache, monkeypatch):
    def fault(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(cache, "put", fault)
    with Supply(Shelf(), cache) as supply, pytest.raises(ZeroDivisionError):
        list(supply.ahead(BLOBS))


def test_bringing_twice_fetches_once(cache):
    shelf = Shelf()
    with Supply(shelf, cache) as supply:
        assert set(supply.bring_all(BLOBS)) == set(BLOBS)
    assert supply.transfer == Transfer(MANIFEST.size, 0)
    with Supply(shelf, cache) as supply:
        assert set(supply.bring_all(BLOBS)) == set(BLOBS)
        assert list(supply.bring_all(BLOBS[:1])) == [BLOBS[0]]
    assert supply.transfer == Transfer(0, MANIFEST.size + BLOBS[0].size)
    assert len(shelf.asked) == len(BLOBS)


def test_bringing_ends_where_the_cache_takes_no_more(cache):
    cache.budget_bytes = 2500
    shelf = Shelf()
    with Supply(shelf, cache, pins([MANIFEST])) as supply:
        list(supply.bring_all(BLOBS))
        assert supply.refused
    assert len(shelf.asked) < len(BLOBS)
    shelf = Shelf()
    with Supply(shelf, nowhere()) as supply:
        assert list(supply.bring_all(BLOBS)) == []
    assert shelf.asked == []


RAW = MANIFEST.to_bytes()


def test_manifests_are_cached_and_verified(cache):
    signed = SignedImage("base", MANIFEST.digest, len(RAW))
    for shelf, moved in ((Shelf([RAW]), Transfer(len(RAW), 0)), (Shelf([]), Transfer(0, len(RAW)))):
        with Supply(shelf, cache) as supply:
            assert supply.manifest(signed) == MANIFEST
        assert supply.transfer == moved


def test_a_pinned_manifest_is_known_by_its_hash_alone(cache):
    with Supply(Shelf([RAW]), cache) as supply:
        assert supply.manifest(SignedImage("base", MANIFEST.digest, None)) == MANIFEST


@pytest.mark.parametrize(
    ("signed", "contents", "error"),
    [
        (SignedImage("base", MANIFEST.digest, len(RAW) + 1), [RAW], CorruptImage),
        (SignedImage("sliver", MANIFEST.digest, len(RAW)), [RAW], MalformedManifest),
        (SignedImage("base", BLOBS[0].sha256, BLOBS[0].size), CONTENTS, MalformedManifest),
        (SignedImage("base", MANIFEST.digest, 2**40), [], MalformedManifest),
        (SignedImage("base", "../../x", 10), [], MalformedManifest),
    ],
    ids=["length", "name", "no manifest", "size", "digest"],
)
@pytest.mark.parametrize("warm", [False, True])
def test_wrong_manifests(cache, warm, signed, contents, error):
    for data in contents if warm else ():
        cache.put(sha256(data), data)
    with Supply(Shelf(contents), cache) as supply, pytest.raises(error) as caught:
        supply.manifest(signed)
    assert isinstance(caught.value, BootError)


def test_pins_name_manifests_too():
    assert pins([MANIFEST]) == {MANIFEST.digest, *(blob.sha256 for blob in BLOBS)}
