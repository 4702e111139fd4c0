"""The manifest: one sequence of bytes for one image, and nothing else is let in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import manifest as module
from images.manifest import (
    MAXIMUM_BLOB_BYTES,
    Blob,
    ImageKind,
    MalformedManifest,
    Manifest,
    Pack,
    Piece,
    is_digest,
    parse,
    sha256,
)

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
blobs = st.builds(Blob, digests, st.integers(1, MAXIMUM_BLOB_BYTES))
sizes = st.integers(1, module.MAXIMUM_UNPACKED_BYTES)
pieces = st.builds(Piece, blobs, sizes, st.lists(st.builds(Pack, blobs, sizes), max_size=4).map(tuple))
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
manifests = st.builds(
    Manifest, names, st.just(ImageKind.TREE), st.lists(pieces, min_size=1, max_size=3).map(tuple)
)

PACK = Pack(Blob("b" * 64, 5), 8)
GOOD = Manifest(
    "base",
    ImageKind.TREE,
    (
        Piece(Blob("a" * 64, 10), 100, (PACK, PACK)),
        Piece(Blob("c" * 64, 1), 7, (Pack(Blob("d" * 64, 2), 3),)),
    ),
)


@given(manifests)
def test_what_is_written_is_read_again(manifest):
    raw = manifest.to_bytes()
    assert parse(raw) == manifest
    assert manifest.digest == sha256(raw)


def test_the_bytes_are_as_documented():
    assert Manifest("base", ImageKind.TREE, (Piece(Blob("a" * 64, 10), 100, (PACK,)),)).to_bytes() == (
        b'{"disk_bytes":0,"format":2,"kind":"tree","name":"base","pieces":[{"blob":{"sha256":"'
        + b"a" * 64
        + b'","size":10},"index_bytes":100,"packs":[{"blob":{"sha256":"'
        + b"b" * 64
        + b'","size":5},"data_bytes":8}]}]}'
    )


def test_sums():
    assert GOOD.size == 10 + 5 + 5 + 1 + 2
    assert GOOD.data_bytes == 8 + 8 + 3
    assert [blob.size for blob in GOOD.blobs] == [10, 5, 5, 1, 2]


def changed(path, value):
    """Return the good manifest's bytes, canonical, with one value replaced or (None) removed."""
    plain = json.loads(GOOD.to_bytes())
    place = plain
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


BLOB = ("pieces", 0, "packs", 1, "blob")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"format":1}',
        b" " + GOOD.to_bytes(),
        GOOD.to_bytes() + b"\n",
        GOOD.to_bytes().replace(b'"name":"base"', b'"name":"other","name":"base"'),
        GOOD.to_bytes()[:-1] + b',"more":1}',
        b" " * (module.MAXIMUM_MANIFEST_BYTES + 1),
        changed(("format",), 1),
        changed(("format",), True),
        changed(("name",), ""),
        changed(("name",), "../etc"),
        changed(("name",), "Base"),
        changed(("name",), "n" * 65),
        changed(("name",), None),
        changed(("kind",), "zip"),
        changed(("kind",), "disk"),
        changed(("disk_bytes",), 512),
        changed(("pieces",), []),
        changed(("pieces", 0, "index_bytes"), 0),
        changed(("pieces", 0, "index_bytes"), module.MAXIMUM_UNPACKED_BYTES + 1),
        changed(("pieces", 0, "packs", 0, "data_bytes"), -1),
        changed(("pieces", 0, "packs", 0, "data_bytes"), "100"),
        changed(("pieces", 0, "packs", 0, "data_bytes"), 2**60),
        changed((*BLOB, "size"), 0),
        changed((*BLOB, "size"), -1),
        changed((*BLOB, "size"), MAXIMUM_BLOB_BYTES + 1),
        changed((*BLOB, "size"), 1.0),
        changed((*BLOB, "sha256"), "A" * 64),
        changed((*BLOB, "sha256"), "a" * 63),
        changed((*BLOB, "sha256"), "a" * 64 + "\n"),
        changed((*BLOB, "sha256"), "../" * 21 + "a"),
    ],
)
def test_malformed_manifests_are_refused(raw):
    with pytest.raises(MalformedManifest) as caught:
        parse(raw)
    assert caught.value.code == "malformed-manifest"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_another_error(raw):
    with pytest.raises(MalformedManifest):
        parse(raw)


def test_digests():
    assert is_digest("0" * 64)
    assert not is_digest("0" * 64 + "\n")
    assert not is_digest("g" * 64)
    # A digit to Python, but not to a file system or a server.
    assert not is_digest("\u0661" * 64)
