"""The consoles: every one that the kernel talks to, VGA and serial at the same time."""

from __future__ import annotations

import logging
import os
import selectors
import termios
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from host.held_up import write_all
from host.texts import shown

log = logging.getLogger(__name__)

# A console that is held up is shown a question again so often.
AGAIN_SECONDS = 1.0
ACTIVE = Path("/sys/class/tty/console/active")


class Console:
    """Plain text to all consoles, and answers from whichever one somebody types on."""

    def __init__(self, devices: Sequence[Path]) -> None:
        self.devices = tuple(devices)
        # Those that took nothing the last time.
        self._held_up: set[Path] = set()

    @classmethod
    def of_kernel(cls, active: Path = ACTIVE) -> Console:
        """Return the consoles that the kernel was booted with (console= arguments)."""
        names = active.read_text().split() if active.exists() else []
        return cls([Path("/dev") / ("tty1" if name == "tty0" else name) for name in names])

    def say(self, text: str) -> None:
        """Write lines to every console; one that cannot be written, or takes nothing, is passed over.

        The log says so. One that took nothing is not waited for again until it takes something.
        """
        self._say(text, self.devices)

    def _say(self, text: str, devices: Iterable[Path]) -> None:
        raw = (shown(text).rstrip("\n") + "\n").encode()
        for device in devices:
            try:
                handle = os.open(device, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
                try:
                    self._write(device, handle, raw)
                finally:
                    os.close(handle)
            except OSError as error:
                # The medium names a serial port: the kernel lists and opens it also where there is none.
                log.warning("console %s: %s", device, error)
                self._held_up.discard(device)

    def _write(self, device: Path, handle: int, raw: bytes) -> None:
        was_held_up = device in self._held_up
        if write_all(handle, raw, patient=not was_held_up):
            self._held_up.discard(device)
        elif not was_held_up:
            # Once: whoever types Ctrl-S there may leave it so for days.
            self._held_up.add(device)
            log.warning("console %s takes nothing: passed over until it does", device)

    def ask(self, question: str, *, listening: Callable[[], None]) -> str:
        """Ask on every console and return the first line typed on any, without its end. Waits for ever.

        A console that is held up gets the question when it takes text again. `listening` is called when what
        is typed counts from now on.
        """
        self.say(question)
        with selectors.DefaultSelector() as selector:
            handles = self._open_for_reading()
            try:
                for handle in handles:
                    # What was typed before the question is not an answer to it.
                    if os.isatty(handle):
                        termios.tcflush(handle, termios.TCIFLUSH)
                    selector.register(handle, selectors.EVENT_READ, bytearray())
                listening()
                return self._first_line(selector, question)
            finally:
                for handle in handles:
                    os.close(handle)

    def _open_for_reading(self) -> list[int]:
        handles = []
        for device in self.devices:
            try:
                handles.append(os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
            except OSError as error:
                log.warning("console %s: %s", device, error)
        return handles

    def _first_line(self, selector: selectors.BaseSelector, question: str) -> str:
        while True:
            self._say(question, tuple(self._held_up))
            for key, _ in selector.select(AGAIN_SECONDS if self._held_up else None):
                typed: bytearray = key.data
                try:
                    more = os.read(key.fd, 1024)
                except OSError as error:
                    log.warning("nobody types on console %d: %s", key.fd, error)
                    more = b""
                if not more:
                    # It is gone, or never was there; the others are listened to as long as it takes.
                    selector.unregister(key.fileobj)
                typed += more
                line, end, _ = typed.partition(b"\n")
                if end:
                    return line.decode(errors="replace").strip()
