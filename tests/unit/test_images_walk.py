"""A hostile index: whatever a name or a number could do to a tree is refused, with the name of the entry."""

import json
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import index
from images.entries import Entry, Kind
from images.index import Index, Segment, dump, load
from images.manifest import Blob, MalformedManifest, Pack, Piece, check_values
from images.walk import Walk
from tests.unit.image_trees import ROOT, file, folder, trees

LINK = Entry("l", Kind.LINK, 0o777, 0, 0, 0, target="/etc")
BLOB = Blob("a" * 64, 1)


def judged(*pieces):
    walk = Walk()
    for frame, *packs in pieces:
        walk.judge(Index(tuple(frame), tuple(tuple(pack) for pack in packs)))
    walk.end()


def whole(entry):
    return Segment(entry, 0, entry.size)


def test_a_good_one():
    big = file("z", b"12345")
    judged(
        ([ROOT, folder("a"), LINK], [whole(file("a/f", b"1"))], [whole(file("b", b"2"))]),
        ([folder("m")], [Segment(big, 0, 2)], [Segment(big, 2, 3)]),
    )


HARD = Entry("h", Kind.HARD, 0, 0, 0, 0, target="f")
BAD_FRAMES = {
    "absolute": folder("/etc"),
    "up": folder("../etc"),
    "up inside": folder("a/../../etc"),
    "dot": folder("./a"),
    "empty part": folder("a//b"),
    "trailing": folder("a/"),
    "nul": folder("a\0b"),
    "long name": folder("n" * 256),
    "long path": folder("/".join(["n" * 200] * 21)),
    "long in bytes": folder("\N{GRINNING FACE}" * 64),
    "below nothing": folder("x/y"),
    "below a link": folder("l/y"),
    "root no folder": replace(LINK, path=""),
    "link to nowhere": replace(LINK, target=""),
    "link with nul": replace(LINK, target="a\0"),
    "long link": replace(LINK, target="t" * 4096),
    "folder with target": folder("t", target="x"),
    "hard link up": replace(HARD, target="../etc/passwd"),
    "hard link absolute": replace(HARD, target="/etc/passwd"),
    "hard link below a link": replace(HARD, target="l/passwd"),
    "device without one": folder("d", device=5),
    "size of a folder": folder("d", size=5),
    "hash of a folder": folder("d", sha256="a" * 64),
    "file without hash": replace(file("f"), sha256=""),
    "file without data": file("f", b"12"),
    "hole beyond": replace(file("f", bytes(5)), holes=((0, 6),)),
    "holes that overlap": replace(file("f", bytes(5)), holes=((0, 3), (2, 3))),
    "attribute twice": folder("d", xattrs=(("user.a", b""), ("user.a", b""))),
    "attribute unsorted": folder("d", xattrs=(("user.b", b""), ("user.a", b""))),
    "attribute nul": folder("d", xattrs=(("user.\0", b""),)),
    "attribute name": folder("d", xattrs=(("user." + "n" * 255, b""),)),
    "attribute value": folder("d", xattrs=(("user.a", bytes(65537)),)),
}


@pytest.mark.parametrize("entry", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_entries_are_named(entry):
    frame = [ROOT, LINK]
    frame.insert(2 if entry.path > "l" else 1, entry)
    with pytest.raises(MalformedManifest) as refused:
        judged((frame,))
    assert repr(entry.path)[1:20] in refused.value.detail


F = file("f", b"12345")


@pytest.mark.parametrize(
    "packs",
    [
        [[Segment(F, 0, 4)]],
        [[Segment(F, 1, 4)]],
        [[Segment(F, 0, 6)]],
        [[Segment(F, 0, 2)], [Segment(F, 3, 2)]],
        [[Segment(F, 0, 3)], [Segment(F, 2, 3)]],
        [[Segment(F, 0, 2)], [Segment(replace(F, mode=0o777), 2, 3)]],
        [[Segment(F, 0, 2)], [whole(file("g", b"1"))]],
        [[whole(F)], [whole(F)]],
        [[whole(file("g", b"1"))], [whole(F)]],
        [[whole(replace(F, path="x/f"))]],
        [[whole(replace(F, path="../f"))]],
        [[whole(replace(F, sha256="A" * 64))]],
        [[Segment(folder("f"), 0, 1)]],
    ],
)
def test_bad_segments(packs):
    with pytest.raises(MalformedManifest):
        judged(([ROOT], *packs))


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [([folder("a")],)],
        [([ROOT, folder("a"), folder("a")],)],
        [([ROOT, folder("b"), folder("a")],)],
        [([ROOT, folder("b")],), ([folder("a")],)],
        [([ROOT, folder("b")],), ([folder("b")],)],
        [([ROOT, folder("f")], [whole(F)])],
        [([ROOT], [whole(F)]), ([ROOT],)],
        [([ROOT, folder("\udcc3\udca9")], [whole(replace(F, path="\u00e9"))])],
    ],
)
def test_bad_orders(pieces):
    with pytest.raises(MalformedManifest):
        judged(*pieces)


@given(trees())
def test_entries_are_read_as_they_were_written(tree):
    assert load(dump(tree.entries, []), Piece(BLOB, 1, ())).frame == tuple(tree.entries)


GOOD = json.loads(dump([ROOT], [[whole(F)]]))
PIECE = Piece(BLOB, 1, (Pack(BLOB, 5),))


def test_a_piece_that_would_fill_the_memory_is_not_read(monkeypatch):
    monkeypatch.setattr(index, "check_values", partial(check_values, most=10))
    assert load(dump([ROOT, folder("a")], []), Piece(BLOB, 1, ()))
    with pytest.raises(MalformedManifest, match="more than 10"):
        load(b"[[" + b"[]," * 10 + b"{}],[]]", Piece(BLOB, 1, ()))


def test_the_form_is_as_documented():
    assert dump([ROOT], [[whole(F)]]) == (
        b'[[["","d",493,0,0,0,{}]],[[["f","f",420,0,0,0,{"h":"' + F.sha256.encode() + b'","s":5},0,5]]]]'
    )
    assert load(json.dumps(GOOD).encode(), PIECE).packs == ((whole(F),),)


def test_packs_and_data_must_be_those_of_the_manifest():
    raw = json.dumps(GOOD).encode()
    for piece in (Piece(BLOB, 1, ()), replace(PIECE, packs=(Pack(BLOB, 4),))):
        with pytest.raises(MalformedManifest):
            load(raw, piece)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_whatever_it_is_has_one_error(value):
    with pytest.raises(MalformedManifest):
        load(json.dumps(value).encode(), PIECE)


@given(st.integers(0, 6), plain | st.sampled_from([-1, 2**70, True, "x", "zz"]))
def test_any_value_of_an_entry_that_is_wrong_is_refused_or_read(place, value):
    row = list(GOOD[0][0])
    row[place] = value
    try:
        (entry,) = load(json.dumps([[row], GOOD[1]]).encode(), PIECE).frame
    except MalformedManifest:
        return
    assert type(entry.path) is str
    assert type(entry.mode) is int
    assert 0 <= entry.mode <= 0o7777


@given(st.sampled_from("xtdsho"), plain)
def test_the_same_for_what_is_rare(key, value):
    row = [*GOOD[0][0][:6], {key: value}]
    try:
        (entry,) = load(json.dumps([[row], GOOD[1]]).encode(), PIECE).frame
    except MalformedManifest:
        return
    assert type(entry.size) is type(entry.device) is int
    assert type(entry.target) is type(entry.sha256) is str
    assert all(type(name) is str and type(content) is bytes for name, content in entry.xattrs)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"[" * 100_000, b"[[],[[]]]x", b"[1]", b'[[["\\ud800","d",0,0,0,0,{}]],[]]']
)
def test_what_is_no_json(raw):
    with pytest.raises(MalformedManifest):
        load(raw, PIECE)


def test_a_number_that_is_wrong_is_told_with_its_entrys_name():
    raw = dump([ROOT, folder("late", mtime_ns=2**63)], [])
    with pytest.raises(MalformedManifest, match=r"'late'.*9223372036854775808"):
        load(raw, Piece(BLOB, 1, ()))
