"""The classic scheme by its vectors, and what is always true of it, its holes among that."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.plc import classic_key, classic_mac, hmac_auth, serialize_params, session_auth
from wire.session import BadNodeKey, NodeKey

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/plc-bootauth.json").read_text())["vectors"]
KEY = classic_key("0123456789abcdef0123456789abcdef")

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories="C"))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vector(vector):
    assert serialize_params(vector["params"]) == vector["canonical"]
    assert classic_mac(classic_key(vector["key_utf8"]), vector["params"]) == vector["hmac_sha1_hex"]


def test_there_are_vectors():
    assert len(VECTORS) == 17


def test_without_parameters_the_text_is_two_brackets():
    assert serialize_params([]) == "[]"


def flatten(value):
    """The definition, by recursion."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in flatten(item)]
    if isinstance(value, list):
        return [text for item in value for text in flatten(item)]
    return [str(value)]


@given(st.lists(VALUES, max_size=5))
def test_it_is_what_the_definition_says(params):
    assert serialize_params(params) == "[" + "".join(sorted(flatten(params))) + "]"


@given(st.lists(VALUES, max_size=5), st.binary(min_size=1))
def test_the_value_is_an_hmac_sha1_in_lower_case_hex(params, secret):
    wanted = hmac.new(secret, serialize_params(params).encode(), hashlib.sha1).hexdigest()
    assert classic_mac(NodeKey(secret), params) == wanted


@given(
    st.lists(VALUES, max_size=5).flatmap(lambda params: st.tuples(st.just(params), st.permutations(params)))
)
def test_order_is_not_covered(both):
    params, permuted = both
    assert classic_mac(KEY, params) == classic_mac(KEY, permuted)


@given(st.text("abc"), st.text("def"))
def test_borders_and_names_are_not_covered(one, other):
    assert classic_mac(KEY, [one, other]) == classic_mac(KEY, [one + other])
    assert classic_mac(KEY, [{"boot_state": one}]) == classic_mac(KEY, [{"ssh_host_key": one}])


def test_types_are_not_covered():
    assert classic_mac(KEY, [1]) == classic_mac(KEY, ["1"])
    assert classic_mac(KEY, [True]) == classic_mac(KEY, ["True"])


def test_the_address_is_not_covered():
    assert hmac_auth(KEY, 7, "10.0.0.1", [1])["value"] == hmac_auth(KEY, 7, "10.9.9.9", [1])["value"]


def test_nesting_has_no_limit_of_its_own():
    value = "x"
    for _ in range(100_000):
        value = [value]
    assert serialize_params([value]) == "[x]"


@pytest.mark.parametrize("value", [b"x", {1, 2}, object()])
def test_what_has_no_text_is_refused(value):
    with pytest.raises(ValueError, match="no classic form"):
        serialize_params([[{"a": value}]])


def test_the_key_is_the_text_and_never_decoded():
    assert classic_key("QUJDREVGRw==").secret == b"QUJDREVGRw=="
    assert classic_key("a+b/c=d.é"[:8]).secret == b"a+b/c=d."


@pytest.mark.parametrize("text", ["", "short", "with space here", "tab\there....", "ümlauts...", "x" * 1025])
def test_a_key_that_a_file_cannot_hold_is_refused_and_not_quoted(text):
    with pytest.raises(BadNodeKey) as refused:
        classic_key(text)
    assert not text or text not in str(refused.value)


def test_auth_structs():
    assert hmac_auth(KEY, 7, "10.0.0.1", []) == {
        "AuthMethod": "hmac",
        "node_id": 7,
        "node_ip": "10.0.0.1",
        "value": classic_mac(KEY, []),
    }
    assert session_auth("abc") == {"AuthMethod": "session", "session": "abc"}
