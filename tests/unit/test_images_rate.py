"""What is said of the time left is what the last seconds show."""

import pytest

from images.rate import Estimate, Rate, Rates

MIB = 1024 * 1024


def run(rate, clock, seconds, per_second, step=0.1):
    for _ in range(round(seconds / step)):
        clock.now += step
        rate.add(round(per_second * step))


def test_a_steady_speed(clock):
    rate = Rate(100 * MIB, clock=clock)
    run(rate, clock, 5, 2 * MIB)
    found = rate.estimate()
    assert found.bytes_per_second == pytest.approx(2 * MIB, rel=0.1)
    assert found.seconds_left == pytest.approx(45, rel=0.1)
    assert found.fraction == pytest.approx(0.1, rel=0.01)


def test_only_the_last_seconds_count(clock):
    rate = Rate(100 * MIB, window=10, clock=clock)
    run(rate, clock, 30, MIB)
    run(rate, clock, 11, 4 * MIB)
    assert rate.estimate().bytes_per_second == pytest.approx(4 * MIB, rel=0.1)


def test_a_standstill_shows(clock):
    rate = Rate(100 * MIB, window=10, clock=clock)
    run(rate, clock, 20, MIB)
    clock.now += 5
    assert rate.estimate().bytes_per_second == pytest.approx(MIB / 2, rel=0.2)
    clock.now += 6
    assert rate.estimate() == Estimate(rate.estimate().done, 100 * MIB, 0.0, None)


def test_nothing_is_said_of_the_first_moments(clock):
    rate = Rate(100 * MIB, clock=clock)
    assert rate.estimate().seconds_left is None
    clock.now += 0.1
    rate.add(50 * MIB)
    assert rate.estimate().seconds_left is None


def test_many_small_pieces_are_no_burden(clock):
    rate = Rate(10**9, clock=clock)
    run(rate, clock, 60, 10**6, step=0.001)
    assert len(rate._samples) < 60
    assert rate.estimate().bytes_per_second == pytest.approx(10**6, rel=0.1)


def test_the_end(clock):
    rate = Rate(10 * MIB, clock=clock)
    run(rate, clock, 10, MIB)
    assert rate.estimate().seconds_left == pytest.approx(0, abs=0.01)
    assert Rate(0, clock=clock).estimate().fraction == 1.0


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(10 * MIB, 100 * MIB, 1.5 * MIB, 60.4), "10 of 100 MiB, 1.5 MiB/s, 1:00 left"),
        (Estimate(10 * MIB, 100 * MIB, 2048, 3725), "10 of 100 MiB, 2 KiB/s, 1:02:05 left"),
        (Estimate(0, 100 * MIB, 0.0, None), "0 of 100 MiB"),
    ],
)
def test_in_words(estimate, text):
    assert estimate.text() == text


def test_what_is_at_hand_does_not_make_the_rest_seem_quick(clock):
    """An update: first what the dongle has, then a little over a slow line."""
    rates = Rates(100 * MIB, 20 * MIB, clock=clock)
    for _ in range(40):
        clock.now += 0.05
        rates.add(round(2.5 * MIB), afar=False)
    found = rates.estimate()
    assert (found.done, found.total) == (100 * MIB, 120 * MIB)
    assert found.seconds_left is None
    for _ in range(40):
        clock.now += 0.5
        rates.add(MIB // 8, afar=True)
    assert rates.estimate().seconds_left == pytest.approx(60, rel=0.1)
