"""Lets a slice's account into its sliver: one process for each session, as root, started by its socket.

The kernel says who asks (SO_PEERCRED), and the slot's number whose sliver that is; nothing that the client
says decides it. systemd-run(1) enters: with a terminal of the sliver's own where there is one outside, as
the slice's user, by PAM, in the sliver's control group. It gets the client's terminal or pipes as its own,
which is why it is started here and not by host.run.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from configmanager.shell_client import NO_WAY, RESIZED
from configmanager.slots import Slots
from wire.errors import TrustError
from wire.slivers import machine_name

# A command is one argument to the program in the sliver (see MAX_ARG_STRLEN in execve(2)).
_MOST_BYTES = 1024 * 1024
_LISTENING = 3
_SECONDS = 30.0
_TERM = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_MACHINES = Path("/run/systemd/machines")
# systemd-run says 0 when all went well, when a signal ended the command, and when it lost sight of it because
# the sliver ended; so the shell says something else, and never ends by a signal itself.
_WELL = 253
_SHELL = f"""trap 'exit 143' TERM
"$SHELL" "$@"
status=$?
case $status in
    0) exit {_WELL} ;;
    {_WELL}) exit 1 ;;
    *) exit $status ;;
esac"""


class NoWayIn(TrustError):
    """Somebody cannot be let into a sliver."""

    code = "no-way-into-sliver"
    title = "There is no way into the sliver"
    hint = "A sliver that was stopped, or is starting, cannot be entered; ask the node's operator otherwise."


@dataclass(frozen=True)
class Request:
    """What the client wants; `command` None is a login shell."""

    command: str | None
    term: str

    @classmethod
    def parse(cls, line: bytes) -> Request:
        """Read a request. Raises NoWayIn."""
        try:
            known = json.loads(line)
            command, term = known["command"], known["term"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NoWayIn("the request is malformed") from None
        if not isinstance(command, str | None) or not isinstance(term, str) or "\0" in (command or ""):
            raise NoWayIn("the request is malformed")
        return cls(command, term if _TERM.fullmatch(term) else "dumb")


def entering(name: str, request: Request, *, terminal: bool) -> list[str]:
    """Return the command that enters the sliver of slice `name`."""
    words = ["systemd-run", f"--machine={machine_name(name)}", f"--uid={name}", "--quiet", "--collect"]
    words += ["--wait", "--service-type=exec", "--expand-environment=no", "--property=PAMName=login"]
    words += ["--property=WorkingDirectory=-~", "--pty" if terminal else "--pipe"]
    if terminal:
        words.append(f"--setenv=TERM={request.term}")
    arguments = ["-l"] if request.command is None else ["-c", request.command]
    return [*words, "--", "/bin/sh", "-c", _SHELL, "sh", *arguments]


def slice_of(user: int) -> str:
    """Return the slice whose account that user is. Raises NoWayIn."""
    for name, slot in Slots().all().items():
        if slot.account == user:
            return name
    raise NoWayIn("this account has no sliver")


def main() -> None:
    """Serve the connection that systemd has handed over."""
    with socket.socket(fileno=_LISTENING) as door:
        door.settimeout(_SECONDS)
        try:
            answer: dict[str, object] = {"status": _serve(door)}
        except NoWayIn as refused:
            answer = {"error": str(refused), "status": NO_WAY}
        try:
            door.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return  # The client has gone.


def _serve(door: socket.socket) -> int:
    _, user, _ = struct.unpack("3i", door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    name = slice_of(user)
    request, files = _receive(door)
    if not (_MACHINES / machine_name(name)).exists():
        raise NoWayIn(f"the sliver {name} does not run now")
    words = entering(name, request, terminal=os.isatty(files[0]))
    # "dumb" is for systemd-run itself, which would colour the terminal and give it a title.
    environment = {"PATH": "/usr/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    lent = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
    child = os.posix_spawnp(words[0], words, environment, file_actions=lent, setsid=True)
    for file in files:
        os.close(file)
    status = _wait(door, child)
    if status == 0:
        raise NoWayIn(f"the sliver {name} has ended")
    return 0 if status == _WELL else status


def _receive(door: socket.socket) -> tuple[Request, list[int]]:
    try:
        line, files, _, _ = socket.recv_fds(door, _MOST_BYTES, 3)
        while not line.endswith(b"\n") and len(line) < _MOST_BYTES:
            more = door.recv(_MOST_BYTES)
            if not more:
                break
            line += more
    except OSError as error:
        raise NoWayIn(f"the request did not arrive: {error}") from None
    if len(files) != 3:
        raise NoWayIn("the request came without a terminal")
    return Request.parse(line), files


def _wait(door: socket.socket, child: int) -> int:
    """Return the child's exit status; end it when the client goes, tell it when the terminal is resized."""
    ended = os.pidfd_open(child)
    with selectors.DefaultSelector() as waiting:
        waiting.register(ended, selectors.EVENT_READ)
        waiting.register(door, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            if ended in ready:
                os.close(ended)
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF
            said = _said(door)
            if said == b"":
                waiting.unregister(door)
                os.kill(child, signal.SIGTERM)
            elif RESIZED in said:
                os.kill(child, signal.SIGWINCH)


def _said(door: socket.socket) -> bytes:
    try:
        return door.recv(64)
    except OSError:
        return b""
