"""Canonical form, session keys and MACs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.canonical import MAXIMUM_DEPTH, canonical
from wire.session import BadNodeKey, NodeKey, Session, mac, same_mac

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def kind_of(value):
    """A value with its types written out, so that 1, 1.0 and True differ as they must."""
    if isinstance(value, dict):
        return ("dict", sorted((key, kind_of(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", [kind_of(item) for item in value])
    return (type(value).__name__, repr(value))


@given(values, values)
def test_different_values_have_different_bytes(one, other):
    assert (canonical(one) == canonical(other)) == (kind_of(one) == kind_of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (0, False),
        (None, ""),
        (["ab", "c"], ["a", "bc"]),
        (["a", ["b"]], ["a", "b"]),
        ({"a": "b"}, ["a", "b"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ],
)
def test_look_alikes_differ(one, other):
    assert canonical(one) != canonical(other)


def test_the_order_of_keys_does_not_matter():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})


def test_deep_nesting_is_refused():
    deep = []
    for _ in range(MAXIMUM_DEPTH + 1):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper"):
        canonical(deep)


def test_both_sides_derive_the_same_session_key():
    key = NodeKey.generate()
    one = Session.derive(key, 7, "s", "aa", "bb")
    assert one == Session.derive(NodeKey.from_text(key.to_text()), 7, "s", "aa", "bb")
    others = [
        Session.derive(key, 8, "s", "aa", "bb"),
        Session.derive(key, 7, "t", "aa", "bb"),
        Session.derive(key, 7, "s", "aab", "b"),
        Session.derive(NodeKey.generate(), 7, "s", "aa", "bb"),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5


def test_a_call_mac_covers_everything():
    session = Session.derive(NodeKey(bytes(32)), 7, "s", "aa", "bb")
    base = session.call_mac("GetSlivers", "10.0.2.15", 1, ["x"])
    others = [
        session.call_mac("ReportRunlevel", "10.0.2.15", 1, ["x"]),
        session.call_mac("GetSlivers", "10.0.2.16", 1, ["x"]),
        session.call_mac("GetSlivers", "10.0.2.15", 2, ["x"]),
        session.call_mac("GetSlivers", "10.0.2.15", 1, ["y"]),
        session.reply_mac(1, base, ["x"], 1),
    ]
    assert len({base, *others}) == 6


def test_macs_compare_by_value():
    assert same_mac(mac(b"k", 1), mac(b"k", 1))
    assert not same_mac(mac(b"k", 1), mac(b"k", 2))


@pytest.mark.parametrize("text", ["", "short", "AAAA", "*" * 44])
def test_a_bad_key_is_refused_without_being_quoted(text):
    with pytest.raises(BadNodeKey) as caught:
        NodeKey.from_text(text)
    assert not text or text not in str(caught.value)


def test_keys_are_not_shown():
    key = NodeKey.generate()
    session = Session.derive(key, 7, "s", "aa", "bb")
    assert str(key.secret) not in repr((key, session))
    assert str(session.key) not in repr(session)
