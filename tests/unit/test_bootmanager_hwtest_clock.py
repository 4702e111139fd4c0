"""The system's clock against the server's, the battery's against the processor's and the system's."""

import pytest

from bootmanager.hwtest import clock as module
from bootmanager.hwtest.clock import Tick, check_battery, check_system, tick
from bootmanager.hwtest.result import Outcome
from host.http import ServerUnreachable


@pytest.fixture
def time_stands(monkeypatch, clock):
    """Both clocks of this machine are `clock`; sleeping moves it."""
    monkeypatch.setattr(module.time, "monotonic", clock)

    def sleep(seconds):
        clock.now += seconds

    monkeypatch.setattr(module.time, "sleep", sleep)
    return clock


@pytest.mark.parametrize(
    ("took_by_rtc", "off", "outcome", "said"),
    [
        (60, 0, Outcome.PASSED, "+0.00 s in 60 s"),
        (60, 7200, Outcome.PASSED, "off by 7200 s"),
        (61, 0, Outcome.FAILED, "+1.00 s in 60 s"),
        (58, 0, Outcome.FAILED, "-2.00 s"),
        (60, -86400 * 9000, Outcome.FAILED, "off by -9000 days: its battery is flat"),
    ],
)
def test_the_battery_clock(time_stands, took_by_rtc, off, outcome, said):
    first = Tick(int(1000 + off), 1000.0)
    last = Tick(int(1000 + off + took_by_rtc), 1060.0)
    time_stands.now = 1060.0
    result = check_battery(first, last, now=lambda: 1060.0 + (took_by_rtc - 60))
    assert result.outcome is outcome
    assert said in result.detail


def test_a_tick_is_the_change_of_a_second(time_stands, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_second", lambda rtc: int(time_stands.now + 0.4))
    found = tick(tmp_path)
    assert found.second == 1001
    assert found.at == pytest.approx(1000.6, abs=0.02)


@pytest.mark.parametrize("text", [None, "standing\n", "1000\n"])
def test_no_clock_or_one_that_stands_still(time_stands, tmp_path, text):
    if text is not None:
        (tmp_path / "since_epoch").write_text(text)
    assert tick(tmp_path / "since_epoch") is None
    assert check_battery(None, None).outcome is Outcome.NOT_POSSIBLE


class Server:
    """A server whose proven time is 1000."""

    server_time = 1000

    def __init__(self, error=None):
        self.error = error

    def open(self):
        if self.error:
            raise self.error

    def server_now(self):
        return 1000.0


@pytest.mark.parametrize(
    ("now", "outcome"), [(1000, "passed"), (1029, "passed"), (900, "failed"), (1e9, "failed")]
)
def test_the_systems_clock(now, outcome):
    assert check_system(Server(), "", now=lambda: now).outcome == outcome


def test_without_a_server_or_its_time_there_is_nothing_to_compare():
    silent = Server()
    silent.server_time = 0
    for client in (None, Server(ServerUnreachable("x")), silent):
        assert check_system(client, "no key medium").outcome is Outcome.NOT_POSSIBLE
