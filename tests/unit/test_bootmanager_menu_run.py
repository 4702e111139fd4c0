"""The menu by ssh: what is typed ahead counts, and it ends when the stay does or nobody is there."""

import os
import sys

import pytest

from bootmanager.menu_run import by_ssh
from bootmanager.standing import NOT_HERE
from tests.unit.menu_desk import desk, end


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Have a conversation by ssh; return all that is seen of it."""

    class End:
        def __init__(self, handle):
            self.fileno = lambda: handle

    def one(typed, before=lambda: None):
        where, _ = desk(tmp_path)
        before()
        reading, hand = os.pipe()
        eye, writing = os.pipe()
        os.write(hand, typed.encode())
        os.close(hand)
        monkeypatch.setattr(sys, "stdin", End(reading))
        monkeypatch.setattr(sys, "stdout", End(writing))
        by_ssh(where.host, where.connect)
        os.close(writing)
        seen = os.read(eye, 65536).decode()
        os.close(eye)
        os.close(reading)
        return seen, where

    return one


def test_what_is_typed_ahead_is_done_and_the_shell_is_below(session):
    seen, where = session("6\n9\n")
    assert "DEBUG MODE" in seen
    assert "Trying again." in seen
    assert "The shell is where the menu was started" in seen
    assert "password" not in seen
    assert where.host.run.ran[0][0] == "systemctl"


def test_it_ends_with_its_standard_input(session):
    seen, _ = session("no number\n")
    assert "There is no 'no number' in the menu." in seen


@pytest.mark.parametrize("how", ["over", "never"])
def test_of_a_node_that_is_not_in_debug_mode_it_says_so(session, tmp_path, how):
    def before():
        if how == "over":
            end(tmp_path)
        else:
            (tmp_path / "debug.json").unlink()

    seen, _ = session("7\nrins\nyes\n", before)
    assert ("operator asked for boot" if how == "over" else NOT_HERE) in seen
    assert "Which state" not in seen
