"""The way into slivers: who asks decides which sliver, and what they say is only ever an argument."""

from __future__ import annotations

import json

import pytest

from configmanager import shell_server
from configmanager.shell_server import NoWayIn, Request, entering, slice_of
from configmanager.slots import Slots

HOSTILE = "x; $(reboot) `id` %h ${HOME} --machine=.host\n' \""


def test_a_command_is_one_argument_and_comes_last() -> None:
    words = entering("demo_one", Request(HOSTILE, "xterm"), terminal=False)
    assert words[-1] == HOSTILE
    assert [word for word in words[: words.index("--")] if "x;" in word] == []
    assert {"--machine=demo-one", "--uid=demo_one", "--pipe", "--expand-environment=no"} <= set(words)


def test_no_command_is_a_login_shell_with_a_terminal() -> None:
    words = entering("demo_one", Request(None, "xterm"), terminal=True)
    assert words[-1] == "-l"
    assert {"--pty", "--setenv=TERM=xterm"} <= set(words)


@pytest.mark.parametrize("term", ["", "x y", "$HOME", "a" * 65, "x\n--machine=.host"])
def test_a_terminal_of_no_name_is_a_dumb_one(term: str) -> None:
    assert Request.parse(json.dumps({"command": None, "term": term}).encode()).term == "dumb"


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b"\xff", b'{"command": 1, "term": ""}', b'{"command": "a\\u0000", "term": ""}'],
)
def test_a_malformed_request_is_refused(line: bytes) -> None:
    with pytest.raises(NoWayIn):
        Request.parse(line)


def test_an_account_leads_to_its_own_sliver(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(tmp_path)
    one, two = slots.take("one", "test"), slots.take("two", "test")
    monkeypatch.setattr(shell_server, "Slots", lambda: slots)
    assert (slice_of(one.account), slice_of(two.account)) == ("one", "two")
    for stranger in (0, 1000, one.first_user, two.account + 1):
        with pytest.raises(NoWayIn):
            slice_of(stranger)
