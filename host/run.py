"""The one door for running commands.

Clean environment, C locale, no standard input unless given, argv logged once, exit status checked,
the end of standard error kept in the error, always a time limit.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wire.errors import CommandError

log = logging.getLogger(__name__)

_KEPT_STDERR = 2000
# For a person's command at a terminal: how often it is looked whether it shall end, how long that may take.
LOOK_SECONDS = 0.25
HANG_UP_SECONDS = 5.0
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}

Argument = str | os.PathLike[str]


class CommandFailed(CommandError):
    """A command ended with a status that was not expected."""

    code = "command-failed"
    title = "A command failed"
    hint = "Look at its last words above; `bootmanager plan STATE` shows what the disks hold now."

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        tail = stderr.strip()[-_KEPT_STDERR:]
        super().__init__(f"`{' '.join(argv)}` ended with status {status}: {tail or 'it said nothing'}")
        self.status = status
        self.stderr = stderr


class CommandTimedOut(CommandError):
    """A command did not end in time and was killed."""

    code = "command-timed-out"
    title = "A command took too long"
    hint = "A dying disk or a hanging driver is the usual cause; look at the kernel's messages."


class CommandMissing(CommandError):
    """A command is not installed."""

    code = "command-missing"
    title = "A command is not installed"
    hint = "The boot medium is incomplete; make it again."


@dataclass(frozen=True)
class Completed:
    """A command that ended as expected."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


class Runner:
    """Runs commands. There is no shell; an argument is never split or expanded."""

    def __call__(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | None = None,
        timeout: float = 60.0,
        root: Path | None = None,
        ok: Collection[int] = (0,),
    ) -> Completed:
        """Run to the end and return what it said; `root` runs it inside that tree (chroot).

        `timeout` is in seconds. Raises CommandFailed, CommandTimedOut, CommandMissing.
        """
        words = _words(argv, root)
        started = time.monotonic()
        log.info("run: %s", " ".join(words))
        try:
            done = subprocess.run(
                words,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                timeout=timeout,
                env=_ENVIRONMENT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandTimedOut(f"`{' '.join(words)}` had {timeout:.0f} seconds") from None
        except FileNotFoundError:
            raise CommandMissing(words[0]) from None
        seconds = time.monotonic() - started
        stderr = done.stderr.decode(errors="replace")
        if done.returncode not in ok:
            log.error("failed: %s: status %d after %.1f s", words[0], done.returncode, seconds)
            raise CommandFailed(words, done.returncode, stderr)
        log.info("done: %s: %.1f s", words[0], seconds)
        stdout = done.stdout.decode(errors="replace")
        return Completed(tuple(words), done.returncode, stdout, stderr, seconds)

    def interactive(self, argv: Sequence[Argument], device: Path, *, until: Callable[[], bool]) -> None:
        """Run a command for the person at a terminal, in a session of its own, until it ends.

        It is hung up as soon as `until` says so. Raises CommandMissing, OSError.
        """
        # Whoever started this program may ignore Ctrl-C; who ignores it at the start does so for ever.
        words = ["env", "--default-signal", "setsid", "--ctty", *_words(argv, None)]
        log.info("run at %s: %s", device, " ".join(words))
        handle = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            running = subprocess.Popen(
                words, stdin=handle, stdout=handle, stderr=handle, env={**_ENVIRONMENT, "TERM": "vt102"}
            )
        except FileNotFoundError:
            raise CommandMissing(words[0]) from None
        finally:
            os.close(handle)
        while not until():
            with suppress(subprocess.TimeoutExpired):
                running.wait(LOOK_SECONDS)
                return
        running.send_signal(signal.SIGHUP)
        try:
            running.wait(HANG_UP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _words(argv: Sequence[Argument], root: Path | None) -> list[str]:
    words = [os.fspath(word) for word in argv]
    return ["chroot", os.fspath(root), *words] if root is not None else words
