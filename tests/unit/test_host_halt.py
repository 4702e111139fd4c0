"""A signal to give up reaches who pauses and who waits."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from host.halt import Halt


def test_a_pause_ends():
    halt = Halt()
    halt.pause(0)
    threading.Timer(0.02, halt.set).start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        halt.pause(60)
    assert time.monotonic() - begun < 30


def test_what_waits_is_cut_and_its_error_is_the_signal():
    halt, cut = Halt(), threading.Event()

    def broken_by_the_cut():
        with halt.cutting(cut.set):
            assert cut.wait(30)
            raise OSError("connection lost")

    threading.Timer(0.02, halt.set).start()
    with pytest.raises(CancelledError):
        broken_by_the_cut()


def test_an_error_of_its_own_stays_what_it_was():
    halt = Halt()
    with pytest.raises(OSError, match="mine"), halt.cutting(pytest.fail):
        raise OSError("mine")
    halt.set()


def test_once_given_nothing_begins():
    halt = Halt()
    halt.set()
    with pytest.raises(CancelledError):
        halt.check()
    with pytest.raises(CancelledError), halt.cutting(pytest.fail):
        pytest.fail("begun")
