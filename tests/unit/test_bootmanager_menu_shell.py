"""A shell at the console: for whom it opens, and what guessing costs."""

import pytest

from bootmanager.menu import Menu
from host.terminal import TerminalEnded
from tests.unit.fake_terminal import FakeTerminal
from tests.unit.menu_desk import desk
from wire import password

SHELL = "9"


@pytest.fixture
def hashed(monkeypatch):
    monkeypatch.setattr(password, "_LOG2_N", 10)
    return password.hash_password("correct horse")


def talk(folder, *answers, **how):
    where, told = desk(folder, **how)
    person = FakeTerminal(*answers)
    with pytest.raises(TerminalEnded) as over:
        Menu(where).run(person)
    return person, told, str(over.value)


def test_without_a_password_there_is_no_shell_and_it_says_why(tmp_path):
    person, told, _ = talk(tmp_path, SHELL, "", SHELL)
    assert person.shells == 0
    assert "bootserver console-password" in person.text
    assert told == []


def test_the_right_password_opens_it_and_is_not_shown(tmp_path, hashed):
    person, told, _ = talk(tmp_path, SHELL, "correct horse", password=hashed)
    assert person.shells == 1
    assert person.hidden == ["correct horse"]
    assert "correct horse" not in person.text
    assert [name for name, _ in told] == ["shell.opened", "shell.closed"]
    assert told[1][1] == {"console": "ttyS0"}


def test_guessing_is_slow_and_told(tmp_path, hashed):
    tries = [word for _ in range(7) for word in (SHELL, "wrong horse", "")]
    person, told, _ = talk(tmp_path, *tries, password=hashed)
    assert person.shells == 0
    assert person.pauses == [2, 4, 8, 16, 32, 60, 60]
    assert told == [("shell.refused", {"tries": number}) for number in range(1, 8)]
    assert "wrong horse" not in str(told)


def test_nobody_is_let_in_with_the_hash_itself_or_with_nothing(tmp_path, hashed):
    assert talk(tmp_path, SHELL, hashed, SHELL, "", password=hashed)[0].shells == 0


def test_by_ssh_the_shell_is_below_the_menu(tmp_path, hashed):
    person, told, why = talk(tmp_path, SHELL, trusted=True, password=hashed)
    assert (person.shells, person.hidden, told) == (0, [], [])
    assert "bootmanager menu" in why
