"""The menu's terminal and the consoles on real ones: a password, a shell, a console that is held up."""

import os
import pty
import select
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootmanager.menu_run import ConsoleMenu
from bootmanager.standing import Standing
from host import console as console_module
from host import held_up
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Runner
from host.terminal import Lines, TerminalEnded, open_lines
from tests.unit.menu_desk import FAILED

pytestmark = pytest.mark.host

SECONDS = 20.0
CTRL_S, CTRL_Q = "\x13", "\x11"


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

    def holds(self, text):
        """Type Ctrl-S or Ctrl-Q, and wait until the kernel has heard it."""
        self.types(text)
        until = time.monotonic() + SECONDS
        while bool(select.select([], [self._keeper], [], 0)[1]) is (text == CTRL_S):
            assert time.monotonic() < until
            time.sleep(0.01)

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


@pytest.fixture
def started_in_the_background():
    """As by a script that ends with `&`: such a program and all that it starts ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("started_in_the_background")
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


def test_a_console_that_is_held_up_is_waited_for_once(consoles, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(held_up, "STUCK_SECONDS", 0.2)
    held, screen = consoles[0], tmp_path / "tty1"
    screen.write_text("")
    console = Console([held.device, screen])
    console.say("before")
    held.sees("before")
    held.holds(CTRL_S)
    began = time.monotonic()
    saying = threading.Thread(target=console.say, args=["meanwhile"], daemon=True)
    saying.start()
    saying.join(SECONDS)
    assert screen.read_text() == "meanwhile\n"
    for number in range(50):
        console.say(f"event {number}")
    assert time.monotonic() - began < 5
    assert [str(held.device) in each.getMessage() for each in caplog.records] == [True]
    held.holds(CTRL_Q)
    console.say("after")
    held.sees("after")
    assert "event" not in held.seen


def test_a_slow_console_gets_every_byte(consoles, monkeypatch):
    monkeypatch.setattr(held_up, "STUCK_SECONDS", 0.5)
    slow, text = consoles[0], "x" * 60_000
    saying = threading.Thread(target=Console([slow.device]).say, args=[text])
    began = time.monotonic()
    saying.start()
    while "\n" not in slow.seen:
        time.sleep(0.03)
        assert select.select([slow.hand], [], [], SECONDS)[0]
        slow.seen += os.read(slow.hand, 1024).decode()
    saying.join()
    assert time.monotonic() - began > 1, "longer than what is waited for a console that takes nothing"
    assert slow.seen == text + "\r\n"


def test_a_question_comes_to_a_console_when_it_is_no_longer_held_up(consoles, monkeypatch):
    monkeypatch.setattr(held_up, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(console_module, "AGAIN_SECONDS", 0.1)
    held, other = consoles
    held.holds(CTRL_S)
    console, answers, heard = Console([held.device, other.device]), [], threading.Event()
    asking = threading.Thread(
        target=lambda: answers.append(console.ask("Sure?", listening=heard.set)), daemon=True
    )
    asking.start()
    other.sees("Sure?")
    assert heard.wait(SECONDS)
    held.holds(CTRL_Q)
    held.sees("Sure?")
    held.types("yes\r")
    asking.join(SECONDS)
    assert answers == ["yes"]
