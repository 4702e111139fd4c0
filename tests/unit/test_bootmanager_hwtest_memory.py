"""Memory: how much of it is tested and for how long, and what the tool's words mean."""

import pytest

from bootmanager.hwtest import memory as module
from bootmanager.hwtest.memory import RESERVE_BYTES, check
from bootmanager.hwtest.result import Outcome
from host.run import Completed

# The last words of stressapptest 1.0.11.
PASSED = """Stats: Found 0 hardware incidents
Stats: Completed: 60416.00M in 25.00s 2416.35MB/s, with 0 hardware incidents, 0 errors
Stats: Memory Copy: 60416.00M at 2416.43MB/s

Status: PASS - please verify no corrected errors
"""
FAILED = PASSED.replace("Found 0 hardware", "Found 3 hardware").replace("PASS", "FAIL")
MIB = 2**20


@pytest.fixture
def tested(monkeypatch, clock):
    """Test a machine with so much free memory; return the result and the commands."""

    def one(free, said=PASSED, status=0, long=False):
        ran = []

        def run(argv, *, timeout, ok):
            ran.append(argv)
            clock.now += int(argv[argv.index("-s") + 1])
            assert status in ok
            return Completed(tuple(argv), status, said, "", 1.0)

        monkeypatch.setattr(module.memory, "available", lambda: free)
        monkeypatch.setattr(module.time, "monotonic", clock)
        return check(run, long=long, progress=lambda text: None), ran

    return one


def test_what_is_free_beside_the_reserve_is_tested(tested):
    result, (line,) = tested(1000 * MIB + RESERVE_BYTES)
    assert result.outcome is Outcome.PASSED
    assert "1000 MiB, 2416 MB/s" in result.detail
    assert line[line.index("-M") + 1] == "1000"
    assert line[0] == "choom"


def test_a_long_test_goes_on_for_half_an_hour_in_slices(tested):
    _, ran = tested(1000 * MIB, long=True)
    assert sum(int(line[line.index("-s") + 1]) for line in ran) == pytest.approx(1800, abs=30)


@pytest.mark.parametrize(("said", "status"), [(FAILED, 1), (FAILED, 0), (PASSED, 1), ("", 1)])
def test_any_error_fails_it_at_once(tested, said, status):
    result, ran = tested(1000 * MIB, said, status, long=True)
    assert result.outcome is Outcome.FAILED
    assert "errors in" in result.detail
    assert len(ran) == 1


def test_a_machine_that_has_no_memory_to_spare_is_left_alone(tested):
    result, ran = tested(RESERVE_BYTES + 10 * MIB)
    assert (result.outcome, ran) == (Outcome.NOT_POSSIBLE, [])
