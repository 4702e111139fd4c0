"""Pipelines that are fed: whoever fails first is blamed, and nothing waits for ever."""

import time

import pytest

from host.run import CommandFailed, CommandMissing, CommandTimedOut, Runner

pytestmark = pytest.mark.host

RUN = Runner()
MIB = b"x" * 1024 * 1024


def feed(*stages, data=MIB, times=8, timeout=30.0):
    with RUN.feeding(*stages, timeout=timeout) as stdin:
        for _ in range(times):
            stdin.write(data)


def test_what_is_written_goes_through_all(tmp_path):
    feed(["cat"], ["gzip", "-1"], ["dd", f"of={tmp_path / 'out'}"])
    assert RUN(["sh", "-c", f"gzip -dc {tmp_path / 'out'} | wc -c"]).stdout.strip() == str(8 * len(MIB))


def test_the_reader_that_gave_up_is_blamed_not_the_writer():
    with pytest.raises(CommandFailed) as caught:
        feed(["cat"], ["sh", "-c", "head -c 10 >/dev/null; echo no room >&2; exit 3"])
    assert caught.value.status == 3
    assert caught.value.stderr == "no room\n"


def test_the_writer_that_failed_is_blamed_not_the_reader():
    with pytest.raises(CommandFailed) as caught:
        feed(["gzip", "-dc"], ["sh", "-c", "cat >/dev/null; exit 4"])
    assert "not in gzip format" in caught.value.stderr


def test_a_command_that_complains_a_lot_does_not_stall():
    loud = "while read -r line; do echo $line complains >&2; done; exit 5"
    with pytest.raises(CommandFailed) as caught:
        feed(["sh", "-c", loud], data=b"line of input\n" * 1000, times=10)
    assert caught.value.stderr.endswith("complains\n")
    assert len(caught.value.stderr) <= 2000


def test_the_time_limit_holds_while_it_is_fed_and_after():
    started = time.monotonic()
    with pytest.raises(CommandTimedOut):
        feed(["sleep", "60"], timeout=0.5)
    with pytest.raises(CommandTimedOut):
        feed(["cat"], ["sleep", "60"], times=0, timeout=0.5)
    assert time.monotonic() - started < 20


def test_an_error_of_the_caller_ends_all():
    with pytest.raises(ZeroDivisionError), RUN.feeding(["cat"], ["sleep", "60"]):
        raise ZeroDivisionError


def test_a_missing_command_is_named():
    with pytest.raises(CommandMissing, match="no-such-command"):
        feed(["cat"], ["no-such-command"])
