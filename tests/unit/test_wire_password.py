"""The console password: what is kept of it, and what is none."""

import pytest

from wire import password
from wire.password import BadPassword, hash_password, is_password

SECRET = "four words that nobody guesses"


COST = password._LOG2_N, password._R


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """A try shall not take a tenth of a second here; the hash says itself what it costs."""
    monkeypatch.setattr(password, "_LOG2_N", 10)


def test_the_right_one_and_no_other():
    hashed = hash_password(SECRET)
    assert is_password(SECRET, hashed)
    for other in ("", SECRET[:-1], SECRET + " ", SECRET.upper(), hashed):
        assert not is_password(other, hashed)


def test_one_password_has_many_hashes_and_is_in_none():
    hashes = {hash_password(SECRET) for _ in range(3)}
    assert len(hashes) == 3
    assert not any(SECRET in hashed for hashed in hashes)


def test_a_guess_costs_32_mib():
    log2_n, r = COST
    assert 2**log2_n * 128 * r == 32 * 2**20


@pytest.mark.parametrize(
    "bad",
    ["", "short", " " * 20, " spaces around it ", "ümlaute überall", "x" * 201, "a\tb" * 9],
)
def test_what_is_no_password_is_refused_without_being_quoted(bad):
    with pytest.raises(BadPassword) as caught:
        hash_password(bad)
    assert not bad.strip() or bad not in str(caught.value)


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "scrypt",
        "scrypt:10:8:1::",
        "md5:10:8:1:aa:bb",
        "scrypt:30:8:1:" + "A" * 22 + "==:" + "A" * 43 + "=",
        "x" * 10000,
    ],
)
def test_what_is_no_hash_lets_nobody_in_and_costs_nothing(hashed):
    assert not is_password(SECRET, hashed)
    assert not is_password("", hashed)
