"""The manifest: one sequence of bytes for one image, and nothing else is let in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import manifest as module
from images.manifest import BLOB_BYTES, Blob, Layer, MalformedManifest, Manifest, is_digest, parse, sha256

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
blobs = st.builds(Blob, digests, st.integers(1, BLOB_BYTES))
layers = st.builds(
    Layer, st.lists(blobs, min_size=1, max_size=4).map(tuple), st.integers(0, module.MAXIMUM_UNPACKED_BYTES)
)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
manifests = st.builds(Manifest, names, st.lists(layers, min_size=1, max_size=3).map(tuple))

GOOD = Manifest("base", (Layer((Blob("a" * 64, 10), Blob("b" * 64, 5)), 100), Layer((Blob("c" * 64, 1),), 7)))


@given(manifests)
def test_what_is_written_is_read_again(manifest):
    raw = manifest.to_bytes()
    assert parse(raw) == manifest
    assert manifest.digest == sha256(raw)


def test_the_bytes_are_as_documented():
    assert Manifest("base", (Layer((Blob("a" * 64, 10),), 100),)).to_bytes() == (
        b'{"format":1,"layers":[{"blobs":[{"sha256":"' + b"a" * 64 + b'","size":10}],'
        b'"compression":"zstd","unpacked_bytes":100}],"name":"base"}'
    )


def test_sums():
    assert GOOD.size == 16
    assert GOOD.unpacked_bytes == 107
    assert [blob.size for blob in GOOD.blobs] == [10, 5, 1]


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


BLOB = ("layers", 0, "blobs", 0)


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
        changed(("format",), 2),
        changed(("format",), True),
        changed(("name",), ""),
        changed(("name",), "../etc"),
        changed(("name",), "Base"),
        changed(("name",), "n" * 65),
        changed(("name",), None),
        changed(("layers",), []),
        changed(("layers",), [json.loads(GOOD.to_bytes())["layers"][0]] * (module.MAXIMUM_LAYERS + 1)),
        changed(("layers", 0, "compression"), "xz"),
        changed(("layers", 0, "compression"), None),
        changed(("layers", 0, "unpacked_bytes"), -1),
        changed(("layers", 0, "unpacked_bytes"), "100"),
        changed(("layers", 0, "unpacked_bytes"), 2**60),
        changed(("layers", 0, "blobs"), []),
        changed((*BLOB, "size"), 0),
        changed((*BLOB, "size"), -1),
        changed((*BLOB, "size"), BLOB_BYTES + 1),
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
