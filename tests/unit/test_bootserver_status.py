"""The line that the dashboard shows, folded from events."""

import pytest

from bootserver.status import Status, fold
from tests.unit.bootserver_deployment import event


def after(*events):
    status = Status()
    for number, item in enumerate(events, 1):
        status = fold(status, item, received=100.0 * number)
    return status


START = event(name="program.started")
STEP = event(name="step.started", step="unpack", title="Unpack the base filesystem")
ERROR = event(
    name="error", code="no-disk", title="No disk", detail="none", hint="plug one in", step="x", state="inst"
)


def test_a_step_begins_at_nothing():
    status = after(START, STEP)
    assert (status.step, status.title, status.fraction) == ("unpack", "Unpack the base filesystem", 0.0)
    assert status.since == 200.0


def test_progress_moves_the_bar_and_keeps_the_time():
    status = after(STEP, event(name="step.progress", step="unpack", fraction=0.25, detail="3 MiB/s"))
    assert (status.fraction, status.detail, status.since) == (0.25, "3 MiB/s", 100.0)


@pytest.mark.parametrize(("said", "shown"), [(7, 1.0), (-3, 0.0), ("x", -1.0), (True, -1.0), (None, -1.0)])
def test_a_strange_fraction_does_not_break_the_bar(said, shown):
    assert after(STEP, event(name="step.progress", fraction=said)).fraction == shown


@pytest.mark.parametrize("name", ["step.done", "step.kept"])
def test_a_step_that_is_done_is_full(name):
    assert after(STEP, event(name=name)).fraction == 1.0


def test_an_error_stays_while_the_node_is_in_debug_mode():
    status = after(STEP, ERROR, event(name="state.entered", state="dbg", reason="no-disk"))
    assert status.state == "dbg"
    assert status.error["code"] == "no-disk"
    assert status.error["hint"] == "plug one in"


@pytest.mark.parametrize("next_event", [START, STEP])
def test_an_error_goes_when_the_node_tries_again(next_event):
    assert after(ERROR, next_event).error == {}


def test_waiting_is_shown_until_it_ends():
    assert after(STEP, event(name="wait.started", **{"for": "the network"})).waiting == "the network"
    again = after(STEP, event(name="step.retry", step="unpack", detail="no answer", attempt=1, seconds=2.0))
    assert again.waiting == "the next try, no answer"
    asked = after(STEP, event(name="confirm.asked", question="?", disks=[]))
    assert "technician" in asked.waiting
    assert after(event(name="confirm.asked"), event(name="confirm.answered")).waiting == ""


def test_the_run_level_boot_ends_all_business():
    status = after(STEP, ERROR, event(name="runlevel", run_level="boot"))
    assert (status.title, status.error, status.fraction) == ("", {}, -1.0)


def test_an_unknown_event_is_only_named():
    assert after(STEP, event(name="something.new", step=5)).title == "Unpack the base filesystem"


@pytest.mark.parametrize(
    ("how", "shown"),
    [
        ("kexec", "starting the installed system (kexec)"),
        ("disk", "another system runs"),
        ("medium", "starting a newer boot medium"),
    ],
)
def test_the_last_word_of_the_medium_says_what_runs_then(how, shown):
    assert after(STEP, event(name="chain.started", how=how)).title == shown
