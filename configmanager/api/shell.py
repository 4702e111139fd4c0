"""The shell of a delegate's account: forwards one call to the node's API, and does nothing else.

It has no rights of its own; the API knows by the kernel whose account it is. Without a command, the body of a
call of XML-RPC comes by standard input and the answer's goes to standard output, as with the original. With
one it is a call in words: `GetLoans demo_one`. Exit status: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from configmanager.api.client import send
from configmanager.api.server import MAXIMUM_BYTES, SOCKET
from wire.structure import MalformedMessage
from wire.xmlrpc import Fault, dump_call, load_reply

STDIN = "-"


def main() -> None:
    """Forward what ssh brings."""
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if not command:
        sys.exit(forward())
    try:
        words = shlex.split(command)
    except ValueError as error:
        sys.exit(_failed(str(error), 2))
    sys.exit(call(words))


def forward(path: Path = SOCKET) -> int:
    """Bring a body from standard input to the API and its answer back; returns the exit status."""
    try:
        body = sys.stdin.buffer.read(MAXIMUM_BYTES + 1)
        sys.stdout.buffer.write(send(body, path))
    except (OSError, http.client.HTTPException) as error:
        return _failed(f"the node's API does not answer: {error}")
    return 0


def call(words: list[str], path: Path = SOCKET) -> int:
    """Make a call given in words, print its result; returns the exit status."""
    if not words:
        return _failed("a call is its name and its arguments; Help lists them", 2)
    try:
        answer = load_reply(send(dump_call(words[0], [_argument(word) for word in words[1:]]), path))
    except Fault as fault:
        return _failed(f"{fault.faultString} [{fault.faultCode}]")
    except (OSError, http.client.HTTPException) as error:
        return _failed(f"the node's API does not answer: {error}")
    except (MalformedMessage, ValueError, RecursionError) as error:
        return _failed(str(error), 2)
    print(answer.rstrip("\n") if isinstance(answer, str) else json.dumps(answer, indent=1))
    return 0


def _argument(word: str) -> Any:
    """Return a list for JSON of one, what comes by standard input for "-", else the text itself."""
    if word == STDIN:
        return sys.stdin.read(MAXIMUM_BYTES).strip()
    return json.loads(word) if word.startswith("[") else word


def _failed(text: str, status: int = 1) -> int:
    print(text, file=sys.stderr)
    return status
