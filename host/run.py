"""The one door for running commands.

Clean environment, C locale, no standard input unless given, argv logged once, exit status checked,
the end of standard error kept in the error, always a time limit.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from wire.errors import CommandError

log = logging.getLogger(__name__)

_KEPT_STDERR = 2000
_PIPE_BYTES = 1024 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
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
                env=_environment(env),
                cwd=cwd,
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

    @contextmanager
    def feeding(self, *stages: Sequence[Argument], timeout: float = 3600.0) -> Iterator[IO[bytes]]:
        """Run a pipeline of commands and yield the first one's standard input, for the caller to write to.

        On leaving, that input is closed, the end of all awaited and each status checked. An exception in
        the caller kills them first, and so do `timeout` seconds, counted from the start.
        Raises CommandFailed, CommandTimedOut, CommandMissing.
        """
        with closing(Pipeline([_words(argv, None) for argv in stages])) as pipeline:
            log.info("run: %s", pipeline)
            started = time.monotonic()
            watch = threading.Timer(timeout, pipeline.time_out)
            watch.daemon = True
            watch.start()
            try:
                yield pipeline.stdin
            except BrokenPipeError:
                pass  # One ended early; its status and last words say why.
            except BaseException:
                pipeline.kill()
                raise
            finally:
                pipeline.wait()
                watch.cancel()
            if pipeline.timed_out:
                raise CommandTimedOut(f"`{pipeline}` had {timeout:.0f} seconds")
            pipeline.check()
            log.info("done: %s: %.1f s", pipeline, time.monotonic() - started)


class Pipeline:
    """Commands that each read what the one before them writes; started when made."""

    def __init__(self, argvs: Sequence[list[str]]) -> None:
        self._argvs = argvs
        self.timed_out = False
        # Not a pipe: nobody reads while the caller writes, and a command with much to say would stop.
        self._stderrs = [tempfile.TemporaryFile() for _ in argvs]  # noqa: SIM115
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for argv, stderr in zip(argvs, self._stderrs, strict=True):
                self._start(argv, stderr)
        except FileNotFoundError as error:
            self.kill()
            self.wait()
            self.close()
            raise CommandMissing(error.filename) from None
        self.stdin = cast("IO[bytes]", self._processes[0].stdin)
        # Fewer turns between writer and reader than with the usual 64 KiB.
        fcntl.fcntl(self.stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def __str__(self) -> str:
        return " | ".join(" ".join(argv) for argv in self._argvs)

    def _start(self, argv: list[str], stderr: IO[bytes]) -> None:
        before = self._processes[-1].stdout if self._processes else None
        last = len(self._processes) == len(self._argvs) - 1
        self._processes.append(
            subprocess.Popen(
                argv,
                stdin=before if before is not None else subprocess.PIPE,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                stderr=stderr,
                env=_environment(None),
            )
        )
        if before is not None:
            # Only the reader may hold it, so that its end is noticed by the writer.
            before.close()

    def time_out(self) -> None:
        """Kill all because the time is over."""
        self.timed_out = True
        self.kill()

    def kill(self) -> None:
        """Kill all."""
        for process in self._processes:
            process.kill()

    def wait(self) -> None:
        """Close the input and wait for all to end."""
        for process in self._processes:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            process.wait()

    def close(self) -> None:
        """Forget what they said."""
        for stderr in self._stderrs:
            stderr.close()

    def check(self) -> None:
        """Raise CommandFailed of the first that failed for a reason of its own."""
        failed = [index for index, process in enumerate(self._processes) if process.returncode != 0]
        # Who is killed for writing to a command that ended is not the one to blame.
        own = [index for index in failed if self._processes[index].returncode != -signal.SIGPIPE]
        for index in own or failed:
            stderr = _tail(self._stderrs[index])
            raise CommandFailed(self._argvs[index], self._processes[index].returncode, stderr)


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _KEPT_STDERR))
    return stderr.read().decode(errors="replace")


def _words(argv: Sequence[Argument], root: Path | None) -> list[str]:
    words = [os.fspath(word) for word in argv]
    return ["chroot", os.fspath(root), *words] if root is not None else words


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        **(extra or {}),
    }
