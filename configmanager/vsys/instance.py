"""A service that runs for a slice: its process, what that starts, and what it says on its standard error.

Its standard input and output are the slice's FIFOs themselves, so whoever floods or does not read stops
nobody but itself, and nothing passes through this program but errors for the log, within bounds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from configmanager.vsys.bucket import Bucket
from configmanager.vsys.groups import Group

log = logging.getLogger(__name__)

_CHUNK = 4096
_PIPE = 64 * 1024
_MOST_LINE = 1000
_FIRST_LOOK_SECONDS = 0.01
_LAST_LOOK_SECONDS = 2.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
# It enters the group before it becomes the service, so that nothing of that is ever outside; and has as many
# files as programs expect, not as many as this one.
_ENTER = 'ulimit -S -n 1024; echo 0 > "$1" && shift && exec "$@"'


class Words:
    """What comes on a standard error, in lines for the log, as fast as `bucket` has bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: int, name: str, bucket: Bucket) -> None:
        self._loop = loop
        self._file = file
        self._name = name
        self._bucket = bucket
        self._line = b""
        self._timer: asyncio.TimerHandle | None = None
        os.set_blocking(file, False)
        loop.add_reader(file, self._read)

    def _read(self) -> None:
        delay = self._bucket.delay()
        if delay:
            # Who says too much waits: the pipe is full then.
            self._loop.remove_reader(self._file)
            self._timer = self._loop.call_later(delay, self._loop.add_reader, self._file, self._read)
            return
        if not self._take():
            self._loop.remove_reader(self._file)

    def _take(self) -> bool:
        """Log what is there, and return whether there may be more."""
        try:
            raw = os.read(self._file, _CHUNK)
        except BlockingIOError:
            return True
        self._bucket.spend(len(raw))
        *lines, self._line = (self._line + raw).split(b"\n")
        if not raw or len(self._line) > _MOST_LINE:
            lines.append(self._line)
            self._line = b""
        for line in filter(None, lines):
            log.info("%s: %s", self._name, _printable(line))
        return bool(raw)

    def close(self) -> None:
        """Log the last of it."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._file)
        # A pipe holds no more than that; one that was handed on may never end.
        for _ in range(_PIPE // _CHUNK):
            if not self._take():
                break
        if self._line:
            log.info("%s: %s", self._name, _printable(self._line))
        os.close(self._file)


class Instance:
    """A running service; `ended` is called when it has, and nothing of it is left."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Group,
        words: list[str],
        files: tuple[int, int],
        bucket: Bucket,
        ended: Callable[[], None],
    ) -> None:
        """Start it; `words` are the executable and its argument, `files` its standard input and output.

        Raises OSError.
        """
        self._loop = loop
        self._group = group
        self._ended = ended
        self._killed = False
        self._name = f"{Path(words[0]).name} for {words[1]}"
        ours, its = os.pipe()
        try:
            self._process = _spawn(words, group, (*files, its))
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(its)
        self._words = Words(loop, ours, self._name, bucket)
        self._bucket = bucket
        self._handle = os.pidfd_open(self._process)
        loop.add_reader(self._handle, self._reap)

    def kill(self) -> None:
        """End it; `ended` is called as ever."""
        self._killed = True
        self._group.kill()

    def _reap(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        _, status = os.waitpid(self._process, 0)
        code = os.waitstatus_to_exitcode(status)
        # By SIGPIPE ends what nobody listens to any more.
        if code not in (0, -signal.SIGPIPE) and not self._killed and not self._bucket.delay():
            how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            log.warning("%s %s", self._name, how)
        # What it left in the background would read the next one's input.
        self._group.kill()
        self._settle(_FIRST_LOOK_SECONDS)

    def _settle(self, pause: float) -> None:
        if not self._group.empty:
            self._loop.call_later(pause, self._settle, min(2 * pause, _LAST_LOOK_SECONDS))
            return
        self._words.close()
        self._group.remove()
        self._ended()


def _spawn(words: list[str], group: Group, files: tuple[int, int, int]) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _ENTER, "sh", str(group.door), *words],
        _ENVIRONMENT,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        # Python ignores these, and a program that is started would go on doing so.
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def _printable(line: bytes) -> str:
    text = line[:_MOST_LINE].decode(errors="replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
