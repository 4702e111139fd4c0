"""One configmanager at a time, and how another one asks it to work now."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from configmanager import passes
from configmanager.passes import Outcome
from wire.errors import TransientError

RUNTIME_FOLDER = Path("/run/configmanager")
DAEMON = "daemon"
LOOK_SECONDS = 0.2
# An image that comes over a slow line takes its time.
PASS_SECONDS = 3600.0


class Busy(TransientError):
    """Another configmanager is at work."""

    code = "configmanager-busy"
    title = "configmanager is at work already"
    hint = "Somebody else's `configmanager apply` is at work; wait for its end."


class NoPass(TransientError):
    """The daemon did not do what it was asked to."""

    code = "no-pass"
    title = "The daemon made no pass"
    hint = "See `configmanager logs` and `systemctl status configmanager`."


@contextmanager
def alone(role: str, folder: Path = RUNTIME_FOLDER) -> Iterator[None]:
    """Exclude another configmanager for the length of the block. Raises Busy."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"it holds {lock.name}") from None
        lock.truncate(0)
        lock.write(f"{role} {os.getpid()}\n")
        lock.flush()
        yield


def daemon(folder: Path = RUNTIME_FOLDER) -> int:
    """Return the process id of the daemon that holds the lock, 0 if something else holds it."""
    role, _, number = (folder / "lock").read_text().strip().partition(" ")
    return int(number) if role == DAEMON and number.isdigit() else 0


def ask(process: int, meanwhile: Callable[[], None], file: Path = passes.FILE) -> Outcome:
    """Let the daemon make a pass now, and return what came of it. Raises NoPass."""
    asked = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        os.kill(process, signal.SIGHUP)
        # Never a pass that was under way already: it may have asked the server before the change.
        while (outcome := passes.last(file)) is None or outcome.began < asked:
            meanwhile()
            if time.clock_gettime(time.CLOCK_BOOTTIME) > asked + PASS_SECONDS:
                raise NoPass(f"waited {PASS_SECONDS:.0f} s")
            os.kill(process, 0)
            time.sleep(LOOK_SECONDS)
    except ProcessLookupError:
        raise NoPass(f"process {process} has ended") from None
    meanwhile()
    return outcome
