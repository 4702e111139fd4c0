"""Waiting for what another process brings about."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], *, seconds: float = 60.0, what: str) -> T:
    """Return what `look` returns as soon as that is true; fail after `seconds`, saying `what` was missed."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)
    return found


def forked(work: Callable[..., object], *arguments: object, seconds: float) -> int:
    """Do it in a process that begins as a copy of this one; return its status, below 0 for a signal.

    What is to be killed is so: a new interpreter would take an emulated machine seconds each time.
    """
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"waited {seconds:.0f} s for process {process.pid}")
    return process.exitcode
