"""The shell of a slice's account on the node: asks to be let into the sliver, and lends its terminal.

It has no rights of its own, and does nothing with what the user says but hand it over. Exit status: that of
the command in the sliver; 255 if there is no way in, as ssh(1) has it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

SOCKET = "/run/sliver-shell"
RESIZED = b"w"
NO_WAY = 255


def main() -> None:
    """Run what ssh was asked to run, or a login shell, in the sliver."""
    request = {"command": os.environ.get("SSH_ORIGINAL_COMMAND"), "term": os.environ.get("TERM", "")}
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(SOCKET)
            line = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(door, [line], [0, 1, 2])
            door.sendall(line[sent:])
            signal.signal(signal.SIGWINCH, lambda *_: door.send(RESIZED))
            # Whoever lends a terminal and then reads from it as well would take half of what is typed.
            with door.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        answer = {"error": f"there is no way into the sliver: {error}"}
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
    sys.exit(answer.get("status", NO_WAY))
