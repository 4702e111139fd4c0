"""What a node's events make of an installation that is followed: up, failed, lost, or not over."""

import pytest

from bootserver.following import (
    MOST_STARTS,
    SETTLE_SECONDS,
    Following,
    NodeFailed,
    NodeNeverCameBack,
    WantedOtherwise,
)
from host.http import ServerUnreachable

RUN = "r" * 32


def row(name, program="bootmanager", received=100.0, **data):
    return {"event": name, "program": program, "run": RUN, "received": received, **data}


def followed(*rows, since=100.0, timeout=1000.0):
    following = Following(RUN, since, timeout)
    for each in rows:
        following.hear(each)
    return following


def test_the_intent_counts_as_well():
    up = followed(row("runlevel", "configmanager", run_level="boot"))
    assert not up.is_done(RUN, "rins", 101)
    assert up.is_done(RUN, "boot", 101)


def test_what_may_pass_is_waited_for():
    away = row("error", code=ServerUnreachable.code)
    stopped = followed(away, row("debug.entered", code=ServerUnreachable.code))
    assert not stopped.is_done(RUN, "rins", 100 + SETTLE_SECONDS)
    with pytest.raises(NodeFailed, match=ServerUnreachable.code):
        stopped.is_done(RUN, "rins", 101 + SETTLE_SECONDS)
    stopped.hear(row("state.entered", state="auto"))
    assert not stopped.is_done(RUN, "rins", 101 + SETTLE_SECONDS)


def test_an_installed_node_whose_sliver_fails_has_failed_once_it_stays_so():
    error = row(
        "error", "configmanager", code="corrupt-image", title="It is corrupt", detail="x", hint="Mend it."
    )
    level = row("runlevel", "configmanager", run_level="failboot")
    failed = followed(error, level)
    assert not failed.is_done(RUN, "boot", 101)
    with pytest.raises(NodeFailed, match="corrupt-image") as raised:
        failed.is_done(RUN, "boot", 101 + SETTLE_SECONDS)
    assert raised.value.advice == "Mend it."
    failed.hear(row("runlevel", "configmanager", run_level="boot"))
    assert failed.is_done(RUN, "boot", 101 + SETTLE_SECONDS)


@pytest.mark.parametrize(("run", "state"), [("q" * 32, "rins"), (RUN, "dbg")])
def test_somebody_who_wants_something_else_ends_it(run, state):
    with pytest.raises(WantedOtherwise):
        followed().is_done(run, state, 101)


def test_words_of_others_are_no_sign_of_life():
    told = [
        row("reinstall.ordered", "bootserver", 900.0),
        {**row("action", "configmanager", 900.0), "run": "old"},
    ]
    with pytest.raises(NodeNeverCameBack, match="of this run it has told nothing"):
        followed(*told).is_done(RUN, "rins", 1101)
    assert not followed(row("step.progress", received=900.0)).is_done(RUN, "rins", 1101)


def test_a_node_that_was_up_and_failed_since_is_not_up():
    up, error, debug = (
        row("runlevel", "configmanager", run_level="boot"),
        row("error", code="disk-not-found"),
        row("debug.entered"),
    )
    with pytest.raises(NodeFailed, match="disk-not-found"):
        followed(up, error, debug).is_done(RUN, "boot", 101)
    # A boot medium does not know its run before the server answers.
    assert not followed(up, {**row("program.started"), "run": ""}).is_done(RUN, "boot", 101)
    failing = followed(up, row("runlevel", "configmanager", run_level="failboot"))
    assert not failing.is_done(RUN, "boot", 101)
    with pytest.raises(NodeFailed):
        failing.is_done(RUN, "boot", 101 + SETTLE_SECONDS)


def test_a_node_that_was_up_and_started_again_is_up_again():
    level = row("runlevel", "configmanager", run_level="boot")
    started = [
        {**row("program.started"), "run": ""},
        row("state.entered", state="boot"),
        row("step.started", step="validate"),
        row("chain.started", how="kexec"),
        row("program.started", "configmanager"),
    ]
    assert not followed(level, *started).is_done(RUN, "boot", 101)
    assert followed(level, *started, level).is_done(RUN, "boot", 101)
    assert followed(*started, level).is_done(RUN, "boot", 101)


def starts(times):
    """What is told of so many starts, each a minute after the one before."""
    for minute in range(times):
        at = 100.0 + 60 * minute
        yield {**row("program.started", received=at), "run": ""}
        yield row("chain.started", received=at + 30, how="kexec")


@pytest.mark.parametrize("state", ["boot", "rins"])
def test_a_node_that_starts_over_and_over_never_came_up(state):
    with pytest.raises(NodeFailed, match=r"6 times and never came up; the last was chain\.started, 5 s ago"):
        followed(*starts(6)).is_done(RUN, state, 435)
    with pytest.raises(NodeFailed, match="started 4 times"):
        followed(*starts(MOST_STARTS + 1)).is_done(RUN, state, 435)
    assert not followed(*starts(2)).is_done(RUN, state, 435)
    assert not followed(*starts(MOST_STARTS)).is_done(RUN, state, 435)


def test_a_start_that_the_installed_system_told_of_counts_no_more():
    word = row("program.started", "configmanager")
    assert not followed(*starts(3), word, *starts(3)).is_done(RUN, "boot", 435)
    up = row("runlevel", "configmanager", run_level="boot")
    assert followed(*starts(6), up).is_done(RUN, "boot", 435)
    with pytest.raises(NodeFailed, match="started 4 times"):
        followed(up, *starts(4)).is_done(RUN, "boot", 435)


def test_starts_of_another_run_or_of_a_newer_medium_do_not_count():
    old = [{**each, "run": "old"} for each in starts(6)]
    # A medium that is replaced does not know its run yet.
    newer = [{**row("chain.started", how="medium"), "run": ""}] * 6
    assert not followed(*old, *newer, *starts(1)).is_done(RUN, "boot", 435)
    # Nor does a word of another run say that this one came up.
    other = {**row("runlevel", "configmanager", run_level="boot"), "run": "old"}
    with pytest.raises(NodeFailed, match="started 4 times"):
        followed(*starts(2), other, *starts(2)).is_done(RUN, "boot", 435)


def test_another_system_tells_nothing_however_often_it_starts():
    told = [row("program.started"), row("chain.started", how="disk")] * 6
    assert not followed(*told).is_done(RUN, "boot", 435)
