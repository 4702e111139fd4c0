"""Consoles: what is said goes to all, an answer comes from any, and one that is none stops nobody."""

import errno
import os

import pytest

from host.console import Console


@pytest.fixture
def serial_port_that_is_none(monkeypatch, tmp_path):
    """A device as the kernel has it for a serial port without hardware: it opens, and then only fails."""
    dead, real_open, dead_handles = tmp_path / "ttyS0", os.open, set()
    dead.write_text("")

    def opened(path, *how):
        handle = real_open(path, *how)
        # The test itself opens by name.
        (dead_handles.add if path == dead else dead_handles.discard)(handle)
        return handle

    def failing(real):
        def one(handle, *what):
            if handle in dead_handles:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(handle, *what)

        return one

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", failing(os.write))
    monkeypatch.setattr(os, "read", failing(os.read))
    return dead


def test_a_console_that_is_none_leaves_the_others(serial_port_that_is_none, tmp_path):
    screen = tmp_path / "tty1"
    screen.write_text("")
    Console([serial_port_that_is_none, screen, tmp_path / "absent" / "tty"]).say("hello")
    assert screen.read_text() == "hello\n"


def test_an_answer_comes_from_the_console_that_is_one(serial_port_that_is_none, tmp_path, monkeypatch):
    # What epoll takes: pipes. The dead one has something to read, and then fails; another was hung up.
    serial_port_that_is_none.unlink()
    hung_up, screen = tmp_path / "hvc0", tmp_path / "tty1"
    for pipe in (serial_port_that_is_none, hung_up, screen):
        os.mkfifo(pipe)
    ends = [os.open(str(pipe), os.O_RDWR) for pipe in (serial_port_that_is_none, hung_up, screen)]
    os.write(ends[0], b"noise")

    def typed():
        os.close(ends.pop(1))
        os.write(ends[-1], b" yes \n")

    console = Console([serial_port_that_is_none, tmp_path / "absent" / "tty", hung_up, screen])
    # A pipe would give back what was said.
    monkeypatch.setattr(console, "say", lambda text: None)
    assert console.ask("Sure?", listening=typed) == "yes"
    for end in ends:
        os.close(end)
