"""Documents on the dongle: forged, damaged or older ones are none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.events import Events
from images.cache import Cache
from images.documents import MAXIMUM_BYTES, Document, Documents
from wire.session import NodeKey

KEY = NodeKey(b"k" * 32)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Events("test"))


@pytest.fixture
def documents(cache):
    return Documents(cache, KEY)


def file(cache, name="node"):
    return cache.folder / "documents" / f"{name}.json"


def test_what_was_written_is_read(documents):
    body = {"hostname": "a", "n": [1, 2.5, None, True, "ü"]}
    assert documents.read("node") is None
    assert documents.write("node", Document(3, body))
    assert documents.read("node") == Document(3, body)


def test_the_key_is_not_in_the_file(documents, cache):
    documents.write("node", Document(1, {"a": "b"}))
    raw = file(cache).read_bytes()
    assert KEY.secret not in raw
    assert KEY.to_text().encode() not in raw


def test_another_nodes_document_is_none(cache, documents):
    Documents(cache, NodeKey(b"x" * 32)).write("node", Document(9, {}))
    assert documents.read("node") is None
    assert documents.write("node", Document(1, {}))


@pytest.mark.parametrize("value", ["", "\ud800", "\0", "ü" * 64, "0" * 64])
def test_no_mac_is_more_than_a_wrong_one(documents, cache, value):
    """JSON can write half of a surrogate pair, which has no UTF-8."""
    documents.write("node", Document(1, {}))
    file(cache).write_text(json.dumps({"generation": 2, "body": {}, "mac": value}))
    assert documents.read("node") is None
    assert documents.write("node", Document(1, {}))


def test_the_generation_never_goes_back(documents):
    assert documents.write("node", Document(5, "new"))
    assert not documents.write("node", Document(4, "old"))
    assert documents.read("node") == Document(5, "new")
    assert documents.read("node", at_least=5) == Document(5, "new")
    assert documents.read("node", at_least=6) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("generation", 6), ("generation", True), ("body", "other"), ("mac", "0" * 64), ("mac", None)],
)
def test_a_changed_document_is_none(documents, cache, key, value):
    documents.write("node", Document(1, "body"))
    plain = json.loads(file(cache).read_bytes())
    plain[key] = value
    file(cache).write_text(json.dumps(plain))
    assert documents.read("node") is None


def test_a_document_under_another_name_is_none(documents, cache):
    documents.write("node", Document(5, "body"))
    file(cache).rename(file(cache, "other"))
    assert documents.read("other") is None


@given(st.binary(max_size=100))
def test_any_bytes_are_none(tmp_path_factory, raw):
    cache = Cache(tmp_path_factory.mktemp("dongle"), Events("test"))
    file(cache).parent.mkdir()
    file(cache).write_bytes(raw)
    assert Documents(cache, KEY).read("node") is None


def test_a_giant_file_is_none(documents, cache):
    file(cache).parent.mkdir()
    file(cache).write_bytes(b"[" * (MAXIMUM_BYTES + 1))
    assert documents.read("node") is None
    file(cache).write_bytes(b"[" * (MAXIMUM_BYTES - 1))
    assert documents.read("node") is None


@pytest.mark.parametrize("name", ["../x", "A", "", "a" * 40, "a.b"])
def test_names_are_bounded(documents, name):
    with pytest.raises(ValueError, match="cannot name a document"):
        documents.write(name, Document(1, {}))


def test_no_dongle():
    documents = Documents(Cache(None, Events("test")), KEY)
    assert not documents.write("node", Document(1, {}))
    assert documents.read("node") is None


def test_what_a_power_cut_left_half_written_goes_away(documents, cache):
    documents.write("node", Document(1, "a"))
    torn = file(cache).with_name(".node.json.abcdefgh")
    torn.write_bytes(b"half")
    other = file(cache).with_name(".notes")
    other.write_bytes(b"")
    assert documents.write("node", Document(2, "b"))
    assert not torn.exists()
    assert other.exists()
