"""Where a person is asked: one line of text at a time, on one terminal or on all consoles at once.

Nothing but lines of 7-bit ASCII goes out, so the dumbest serial line will do; where texts are translated,
other letters do too, in UTF-8. What is said goes to every line that is open; what is typed counts from
whichever comes first. A line that hangs, or is none, stops nobody.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from host.held_up import write_all
from host.run import Runner
from host.texts import _, is_translated, shown

log = logging.getLogger(__name__)

COLUMNS, ROWS = 80, 24
# How often it is looked whether the conversation is over.
LOOK_SECONDS = 0.25
MOST_TYPED = 1000
_SHELL = ("bash",)
NOBODY = _("Nobody is there any more.")


class TerminalEnded(Exception):
    """The conversation is over; the text says why."""


class Terminal(Protocol):
    """What a conversation needs. Everything raises TerminalEnded once it is over."""

    def say(self, text: str) -> None:
        """Write lines."""

    def ask(self, question: str, *, hidden: bool = False) -> str:
        """Return the next line typed, without its ends; `hidden`: it is not shown. Waits for ever."""

    def pause(self, seconds: float) -> None:
        """Take no input for a while."""

    def shell(self, run: Runner) -> str:
        """Run a shell where the last line was typed, and return the name of that place."""


@dataclass
class Line:
    """One way to and from a person: a name, open file descriptors, and what was typed ahead.

    `is_held_up`: it took nothing the last time.
    """

    name: str
    reading: int
    writing: int
    typed: bytearray = field(default_factory=bytearray)
    is_held_up: bool = False


class Lines:
    """A Terminal over several lines."""

    def __init__(self, lines: Sequence[Line], ended: Callable[[], str]) -> None:
        """`ended` returns why the conversation is over, "" as long as it is not."""
        self._lines = list(lines)
        self._ended = ended
        self._last = self._lines[0] if self._lines else None

    def say(self, text: str) -> None:
        """Write lines to every line."""
        self._go_on()
        for line in self._lines:
            _write(line, f"{_plain(text)}\n".encode())

    def ask(self, question: str, *, hidden: bool = False) -> str:
        """Ask on every line; the first one that ends a line with Enter answers."""
        # Hidden first: somebody may be typing already when the question is on its slow way.
        with self._hidden(hidden):
            self.say(question)
            while True:
                self._go_on()
                for line in self._lines:
                    text, end, rest = line.typed.partition(b"\n")
                    if end:
                        # What comes after it is a person's who types ahead, or a script's.
                        line.typed, self._last = rest, line
                        return text.decode(errors="replace").strip()
                self._listen()

    def pause(self, seconds: float) -> None:
        """Wait; what is typed meanwhile is forgotten."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._go_on()
            time.sleep(min(left, LOOK_SECONDS))
        for line in self._lines:
            line.typed.clear()
            _flush(line)

    def shell(self, run: Runner) -> str:
        """Run a shell on the console that answered last; it ends with the conversation.

        A console that went away meanwhile is no longer listened to.
        """
        self._go_on()
        line = self._last
        if line is None:
            raise TerminalEnded(NOBODY)
        device = Path(os.ttyname(line.reading))
        before = _settings(line)
        run.interactive(_SHELL, device, until=lambda: bool(self._ended()))
        # The end of a session hangs up its terminal, and with it what others had opened of that.
        try:
            again = _open(device)
        except OSError as error:
            log.warning("console %s: %s", device, error)
            self._lines.remove(line)
            return line.name
        os.close(line.reading)
        line.reading = line.writing = again
        _restore(line, before)
        return line.name

    def _go_on(self) -> None:
        why = self._ended() or ("" if self._lines else NOBODY)
        if why:
            for line in self._lines:
                _write(line, f"\n{_plain(why)}\n".encode())
            raise TerminalEnded(why)

    def _listen(self) -> None:
        """Wait a moment for something to be typed. A place that is gone is no longer listened to."""
        with selectors.DefaultSelector() as selector:
            for line in self._lines:
                selector.register(line.reading, selectors.EVENT_READ, line)
            for key, _ in selector.select(LOOK_SECONDS):
                line = key.data
                try:
                    more = os.read(line.reading, 1024)
                except OSError as error:
                    log.warning("nobody types on %s: %s", line.name, error)
                    more = b""
                if not more:
                    self._lines.remove(line)
                line.typed += more
                # Noise on a line that nobody is at has no end.
                del line.typed[:-MOST_TYPED]

    @contextmanager
    def _hidden(self, hidden: bool) -> Iterator[None]:
        if not hidden:
            yield
            return
        before = [(line, _settings(line)) for line in self._lines]
        try:
            for line, settings in before:
                if settings is not None:
                    _restore(line, [*settings[:3], settings[3] & ~termios.ECHO, *settings[4:]])
            yield
        finally:
            for line, settings in before:
                _restore(line, settings)


@contextmanager
def open_lines(devices: Sequence[Path]) -> Iterator[list[Line]]:
    """Open consoles for a conversation; one that cannot be opened is passed over."""
    opened = []
    try:
        for device in devices:
            try:
                handle = _open(device)
            except OSError as error:
                log.warning("console %s: %s", device, error)
                continue
            opened.append(Line(device.name, handle, handle))
            # What was typed before is no answer to anything.
            _flush(opened[-1])
        yield opened
    finally:
        for line in opened:
            os.close(line.reading)


def page(terminal: Terminal, text: str) -> None:
    """Say a long text a screen at a time: Enter goes on, anything else ends it."""
    rows = [
        line[start : start + COLUMNS - 1]
        for line in shown(text).splitlines()
        for start in range(0, max(len(line), 1), COLUMNS - 1)
    ]
    for start in range(0, len(rows), ROWS - 1):
        terminal.say("\n".join(rows[start : start + ROWS - 1]))
        more = len(rows) - start - (ROWS - 1)
        if more > 0 and terminal.ask(_("-- {n} more lines: Enter goes on, q and Enter ends --", n=more)):
            return


def _plain(text: str) -> str:
    """Return what people are to see, without what could steer a terminal."""
    letters = str.isprintable if is_translated() else lambda each: each.isascii() and each.isprintable()
    return "".join(each if each == "\n" or letters(each) else "?" for each in shown(text).rstrip("\n"))


def _open(device: Path) -> int:
    return os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)


def _write(line: Line, raw: bytes) -> None:
    """Write all of it, or give up on a line that takes nothing; it is not waited for again until it does."""
    try:
        line.is_held_up = not write_all(line.writing, raw, patient=not line.is_held_up)
    except OSError as error:
        # The kernel lists a serial port also where there is none.
        if error.errno != errno.EIO:
            log.warning("console %s: %s", line.name, error)


def _flush(line: Line) -> None:
    with suppress(termios.error):
        termios.tcflush(line.reading, termios.TCIFLUSH)


def _settings(line: Line) -> list[Any] | None:
    try:
        return termios.tcgetattr(line.reading)
    except termios.error:
        return None


def _restore(line: Line, settings: list[Any] | None) -> None:
    if settings is not None:
        with suppress(termios.error):
            termios.tcsetattr(line.reading, termios.TCSANOW, settings)
