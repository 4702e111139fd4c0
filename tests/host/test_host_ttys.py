"""The menu's terminal on real ones: a password is not echoed, a shell runs and ends with the stay."""

import os
import pty
import select
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootmanager.menu_run import ConsoleMenu
from bootmanager.standing import Standing
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Runner
from host.terminal import Lines, TerminalEnded, open_lines
from tests.unit.menu_desk import FAILED

pytestmark = pytest.mark.host

SECONDS = 20.0


class Tty:
    """A terminal, and the person at its other end."""

    def __init__(self):
        self.hand, self._keeper = pty.openpty()
        self.device = Path(os.ttyname(self._keeper))
        self.seen = ""

    def types(self, text):
        os.write(self.hand, text.encode())

    def sees(self, text):
        """Wait until the person sees a text."""
        until = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.hand], [], [], 0.2)[0]:
                self.seen += os.read(self.hand, 4096).decode()

    def close(self):
        os.close(self.hand)
        os.close(self._keeper)


class Talk:
    """A conversation in a thread, as debug mode has it."""

    def __init__(self, consoles, script):
        self.over, self.result = "", None
        self._consoles, self._script = consoles, script
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        with open_lines([console.device for console in self._consoles]) as lines:
            try:
                self.result = self._script(Lines(lines, lambda: self.over))
            except TerminalEnded as ended:
                self.result = str(ended)

    def wait(self):
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def consoles():
    with ExitStack() as stack:
        made = [Tty(), Tty()]
        for console in made:
            stack.callback(console.close)
        yield made


def test_a_question_on_two_consoles_is_answered_on_one(consoles):
    serial, screen = consoles
    talk = Talk(consoles, lambda terminal: terminal.ask("Which?"))
    serial.sees("Which?")
    screen.sees("Which?")
    screen.types("this one\r")
    assert talk.wait() == "this one"


def test_a_password_is_not_echoed_and_what_follows_is(consoles):
    def script(terminal):
        return terminal.ask("Password:", hidden=True), terminal.ask("Name:")

    serial, screen = consoles
    talk = Talk(consoles, script)
    serial.sees("Password:")
    serial.types("secret words\r")
    serial.sees("Name:")
    serial.types("somebody\r")
    assert talk.wait() == ("secret words", "somebody")
    serial.sees("somebody")
    screen.sees("Name:")
    assert "secret" not in serial.seen + screen.seen


def test_a_shell_runs_where_it_was_asked_for_with_its_own_control_characters(consoles):
    def script(terminal):
        terminal.ask("?")
        terminal.shell(Runner())
        return terminal.ask("back?")

    serial, screen = consoles
    talk = Talk(consoles, script)
    screen.sees("?")
    screen.types("x\r")
    screen.types("tty; echo $((6*7))\r")
    screen.sees(str(screen.device))
    screen.sees("42")
    # Ctrl-C ends what runs there, and not the menu. It is said by the one that has the terminal then: what is
    # typed before that, or before the shell has it back, is lost.
    screen.types("PS1='rea''dy'; sh -c 'echo be\"\"gun; exec sleep 100'\r")
    screen.sees("begun")
    screen.types("\x03")
    screen.sees("ready")
    screen.types("exit\r")
    screen.sees("back?")
    serial.sees("back?")
    assert "42" not in serial.seen
    screen.types("yes\r")
    assert talk.wait() == "yes"


def test_a_console_that_goes_away_during_a_shell_ends_nothing_else(consoles):
    def script(terminal):
        terminal.ask("?")
        name = terminal.shell(Runner())
        return name, terminal.ask("still here?")

    serial, screen = consoles
    gone = Tty()
    talk = Talk([gone, serial, screen], script)
    gone.sees("?")
    gone.types("x\r")
    gone.types("echo be''gun\r")
    gone.sees("begun")
    gone.close()
    serial.sees("still here?")
    screen.types("yes\r")
    assert talk.wait() == (gone.device.name, "yes")


def test_a_shell_ends_with_the_stay(consoles, tmp_path):
    def script(terminal):
        terminal.ask("?")
        terminal.shell(Runner())
        terminal.say("more")

    serial = consoles[0]
    talk = Talk(consoles[:1], script)
    serial.sees("?")
    serial.types("x\r")
    serial.types(f"echo $$ > {tmp_path}/pid; echo so$((40+2))far; sleep 1000\r")
    serial.sees("so42far")
    talk.over = "The node goes on: the operator asked for boot."
    assert talk.wait() == talk.over
    shell = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(shell, 0)


def test_the_menu_of_a_stay_is_at_every_console_until_it_is_over(consoles, tmp_path):
    FAILED.save(tmp_path)
    devices = [Path("/dev/no-such-console"), *(console.device for console in consoles)]
    host = Host(Runner(), None, Events("t"), Console(devices), Options(), tmp_path)
    menu = ConsoleMenu(host, 1, lambda: "")
    menu.start()
    for console in consoles:
        console.sees("Type a number")
    consoles[1].types("9\r")
    for console in consoles:
        console.sees("bootserver console-password")
    # Somebody leaves in the middle of a question.
    consoles[0].types("7\r")
    consoles[0].sees("Which state")
    Standing(1, "inst", ended="The node goes on: the operator asked for boot.").save(tmp_path)
    for console in consoles:
        console.sees("The node goes on: the operator asked for boot.")
    began = time.monotonic()
    menu.leave()
    assert time.monotonic() - began < 2
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("menu")] == []
