"""What the units and settings of a node come to, by arithmetic alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configmanager.backends import quota, sliver_tree
from configmanager.manager import POLL_SECONDS, POLL_SPREAD_SECONDS

NODE = Path(__file__).parents[2] / "build/project/node/usr/lib"
SSHD = NODE.parents[1] / "etc/ssh/sshd_config.d"
SECONDS = {"s": 1, "min": 60, "h": 3600, "": 1}


def settings(file: str) -> dict[str, str]:
    text = (NODE / file).read_text()
    return dict(re.findall(r"^([\w.]+) ?= ?(.*)$", text, re.MULTILINE))


def seconds(value: str) -> int:
    return int(value.rstrip("sminh")) * SECONDS[value.lstrip("0123456789")]


def test_a_sliver_that_never_comes_up_and_never_ends_reaches_the_watchdogs_limit():
    unit = settings("systemd/system/sliver@.service")
    start, stop, pause = (seconds(unit[name]) for name in ("TimeoutStartSec", "TimeoutStopSec", "RestartSec"))
    # It is told to end, and killed; then what comes after it has as long.
    cycle = start + 2 * stop + pause
    assert seconds(unit["StartLimitIntervalSec"]) > int(unit["StartLimitBurst"]) * cycle


def test_a_manager_that_waits_or_works_is_not_taken_for_one_that_hangs():
    patience = seconds(settings("systemd/system/configmanager.service")["WatchdogSec"])
    # The longest wait between two passes; the longest commands of one action.
    assert patience > 2 * (POLL_SECONDS + POLL_SPREAD_SECONDS)
    assert patience > quota._WALK_SECONDS + sliver_tree._REMOVE_SECONDS + sliver_tree._SYNC_SECONDS


@pytest.mark.parametrize("group", ["slivers", "delegates"])
def test_a_connection_of_no_use_ends_and_leads_nowhere(group):
    lines = (SSHD / f"{group}.conf").read_text().splitlines()
    first, *words = [line.split(maxsplit=1) for line in lines if not line.strip().startswith("#")]
    # All of it is of that group alone: the operator's connections are as they were.
    assert first == ["Match", f"Group {group}"]
    said = dict(words)
    assert len(said) == len(words)
    # Long enough for a client on a slow line to ask for its session (sshd_config(5)).
    assert 10 <= seconds(said["UnusedConnectionTimeout"]) <= 60
    assert 0 < seconds(said["ClientAliveInterval"]) * int(said["ClientAliveCountMax"]) <= 300
    assert said["AuthenticationMethods"] == "publickey"
    assert said["AuthorizedKeysFile"] == f"/etc/ssh/{group}/%u"
    assert said["ForceCommand"].startswith("/usr/bin/")
    assert said["DisableForwarding"] == "yes"


def test_one_slices_sessions_leave_room_for_others():
    socket = settings("systemd/system/sliver-shell.socket")
    assert int(socket["MaxConnections"]) >= 8 * int(socket["MaxConnectionsPerSource"])


def test_no_sliver_takes_what_all_slivers_are_counted_for_together():
    limits = settings("sysctl.d/50-slivers.conf")
    assert {int(limits[f"fs.inotify.max_user_{what}"]) for what in ("instances", "watches")} == {2**31 - 1}
