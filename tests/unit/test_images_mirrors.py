"""Whom to ask next, and how much of the line to take."""

from collections import Counter
from contextlib import ExitStack

import pytest

from images.mirrors import ASIDE_SECONDS, MAXIMUM_ASIDE_SECONDS, Mirrors
from images.source import Bandwidth

SERVER, A, B = "http://server", "http://a", "http://b"


@pytest.fixture
def mirrors(clock):
    return Mirrors(SERVER, [A, B], clock)


def ask(mirrors, already=None):
    with mirrors.one(Counter() if already is None else already) as url:
        return url


def test_work_is_spread(mirrors):
    assert Counter(ask(mirrors) for _ in range(10)) == {A: 5, B: 5}


def test_the_least_busy_is_asked(mirrors):
    with mirrors.one(Counter()) as busy:
        assert {ask(mirrors) for _ in range(4)} == {A, B} - {busy}


def test_one_that_fails_is_put_aside_and_comes_back(mirrors, clock):
    mirrors.failed(A, "x")
    assert {ask(mirrors) for _ in range(4)} == {B}
    clock.now += ASIDE_SECONDS - 1
    assert {ask(mirrors) for _ in range(4)} == {B}
    clock.now += 1
    assert A in {ask(mirrors) for _ in range(4)}


def test_after_each_failure_in_a_row_for_longer(mirrors, clock):
    waits = []
    for _ in range(6):
        mirrors.failed(A, "x")
        failed_at = clock.now
        while A not in {ask(mirrors) for _ in range(9)}:
            clock.now += ASIDE_SECONDS
        waits.append(clock.now - failed_at)
    assert waits == [60, 120, 240, 480, 600, 600]
    mirrors.worked(A)
    mirrors.failed(A, "x")
    clock.now += ASIDE_SECONDS
    assert A in {ask(mirrors) for _ in range(9)}


def test_a_liar_is_put_aside_for_long_at_once(mirrors, clock):
    mirrors.failed(A, "x", lied=True)
    clock.now += MAXIMUM_ASIDE_SECONDS - 1
    assert {ask(mirrors) for _ in range(4)} == {B}


def test_one_alone_finds_out_whether_it_works_again(mirrors, clock):
    for url in (A, B):
        mirrors.failed(url, "x")
    clock.now += ASIDE_SECONDS
    with ExitStack() as stack:
        assert [stack.enter_context(mirrors.one(Counter())) for _ in range(4)] == [A, B, SERVER, SERVER]
        mirrors.worked(A)
        assert stack.enter_context(mirrors.one(Counter())) == A


def test_the_server_is_the_last_resort_and_never_aside(mirrors):
    for url in (A, B, SERVER):
        mirrors.failed(url, "x", lied=True)
    assert ask(mirrors) == SERVER


def test_for_one_blob_each_is_asked_twice_at_most(mirrors):
    already = Counter()
    assert sorted(ask(mirrors, already) for _ in range(4)) == [A, A, B, B]
    assert already == {A: 2, B: 2}
    assert ask(mirrors, already) == SERVER


def test_the_server_as_a_mirror_remains_the_last_resort():
    assert ask(Mirrors(SERVER, [SERVER, A])) == A


def test_the_bandwidth_is_one_for_all(clock):
    bandwidth = Bandwidth(1000, clock)
    assert [bandwidth.pause_after(500) for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]
    clock.now += 2.5
    assert bandwidth.pause_after(100) == pytest.approx(0.1), "time that was not used is not saved up"


def test_without_a_limit_nobody_pauses(clock):
    assert Bandwidth(0, clock).pause_after(10**9) == 0
