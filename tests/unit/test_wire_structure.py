"""Plain data to messages: types are checked, never coerced."""

import pytest

from configmanager.records import Records
from host import mark
from host.classic_run import ClassicRun
from host.events import Events
from images import run_memory
from images.cache import Cache
from images.documents import Documents
from wire.messages import DiskPolicy, ImageRef, NodeDetails, TargetState
from wire.session import NodeKey
from wire.structure import MalformedMessage, structure, structure_json, unstructure

DETAILS = NodeDetails(7, "n1", TargetState.INST, "r1", 3, ImageRef("base", "ab"), ssh_keys=("k",))


def test_there_and_back():
    plain = unstructure(DETAILS)
    assert type(plain["boot_state"]) is str
    assert type(plain["ssh_keys"]) is list
    assert structure(plain, NodeDetails) == DETAILS


def test_mirrors_and_a_bound_for_images():
    plain = {**unstructure(DETAILS), "mirrors": ["http://a:81/x", "https://[fe80::1]"], "bandwidth_kib": 500}
    assert structure(plain, NodeDetails).mirrors == ("http://a:81/x", "https://[fe80::1]")


def test_newer_peers_may_say_more():
    assert structure({**unstructure(DETAILS), "new_key": 1}, NodeDetails) == DETAILS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node_id", "7"),
        ("node_id", True),
        ("node_id", 7.0),
        ("hostname", 7),
        ("boot_state", "gone"),
        ("base_image", "base"),
        ("ssh_keys", [1]),
        ("mirrors", "http://a"),
        ("mirrors", ["ftp://a"]),
        ("mirrors", ["http://user:password@a"]),
        ("mirrors", ["http://a\r\nX: y"]),
        ("mirrors", ["http://a/"]),
        ("mirrors", [f"http://m{number}" for number in range(17)]),
        ("bandwidth_kib", -1),
        ("neighbours", "off"),
        ("bandwidth_kib", 1.5),
    ],
)
def test_a_wrong_type_is_refused(key, value):
    with pytest.raises(MalformedMessage, match="NodeDetails"):
        structure({**unstructure(DETAILS), key: value}, NodeDetails)


@pytest.mark.parametrize("data", [None, [], "x", 1, {}])
def test_what_is_no_struct_is_refused(data):
    with pytest.raises(MalformedMessage):
        structure(data, NodeDetails)


def test_defaults_are_filled_in():
    assert structure({}, DiskPolicy) == DiskPolicy("", "auto")


@pytest.mark.parametrize("text", ["", "{", b"\xff", '"x"', "[" * 100_000, '{"system":' * 100_000])
def test_json_that_is_none_or_too_deep_is_refused(text):
    with pytest.raises(MalformedMessage, match="DiskPolicy"):
        structure_json(text, DiskPolicy)


def test_every_file_of_ours_that_is_nested_without_end_is_as_any_damaged_one(tmp_path, monkeypatch):
    deep = "[" * 100_000
    monkeypatch.setattr(mark, "read_installed", lambda run, path: deep)
    with pytest.raises(mark.NotInstalled, match="damaged"):
        mark.read_mark(None)
    (tmp_path / f"{run_memory.NAME}.json").write_text(deep)
    documents = Documents(Cache(None, Events("test")), NodeKey(b"k" * 32))
    assert run_memory.RunRecord(documents, tmp_path).load() == ClassicRun()
    (tmp_path / "record.json").write_text(deep)
    assert Records(tmp_path / "record.json").load() is None
