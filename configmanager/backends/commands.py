"""Commands that the server gives: each in a unit of its own, with a time-out, its words in the journal."""

from __future__ import annotations

import hashlib

from configmanager.backends import units
from host.run import CommandFailed, CommandTimedOut, Runner
from wire.conf_files import ConfFile
from wire.errors import CommandError

SECONDS = 120
_GRACE_SECONDS = 60.0


class NodeCommandFailed(CommandError):
    """A command that belongs to a file or a service of the node failed."""

    code = "node-command-failed"
    title = "A command of a file or service failed"
    hint = "Correct the command at the server; `journalctl -u UNIT` on the node has all that it said."


def run_command(run: Runner, name: str, text: str, seconds: int = SECONDS) -> None:
    """Let sh run `text` as the unit `name`, for so long. Raises NodeCommandFailed.

    What it leaves in the background ends with it. One of that name that still runs, from before the manager
    was ended, is stopped.
    """
    units.stop(run, name)
    units.forget_failure(run, name)
    words = ["systemd-run", "--quiet", "--wait", "--collect", "--expand-environment=no"]
    limits = [f"--property=RuntimeMaxSec={seconds}", "--property=TimeoutStopSec=5"]
    try:
        # The output goes to the journal, which has a bound.
        run(
            [*words, *limits, f"--unit={name}", "--", "/bin/sh", "-c", text], timeout=seconds + _GRACE_SECONDS
        )
    except (CommandFailed, CommandTimedOut):
        said = units.last_words(run, name) or "it said nothing"
        raise NodeCommandFailed(f"{_short(text)} ({name}): {said}") from None


def before(run: Runner, file: ConfFile) -> bool:
    """Run preinstall_cmd; returns whether it failed. Raises NodeCommandFailed where that matters."""
    return _run(run, file, "preinstall", file.preinstall_cmd)


def after(run: Runner, file: ConfFile) -> bool:
    """Run postinstall_cmd; returns whether it failed. Raises NodeCommandFailed where that matters."""
    return _run(run, file, "postinstall", file.postinstall_cmd)


def _run(run: Runner, file: ConfFile, what: str, command: str) -> bool:
    unit = f"configmanager-{what}-{key(file.dest)}.service"
    try:
        if command:
            run_command(run, unit, command)
    except NodeCommandFailed as error:
        failure = error
        try:
            if file.error_cmd:
                run_command(run, f"configmanager-error-{key(file.dest)}.service", file.error_cmd)
        except NodeCommandFailed as second:
            failure = NodeCommandFailed(f"{error.detail}; error_cmd too: {second.detail}")
        if file.ignore_cmd_errors:
            return True
        raise failure from None
    return False


def key(dest: str) -> str:
    """Return a file's path as a part of a name."""
    return hashlib.sha256(dest.encode()).hexdigest()[:32]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line[:100]}{'...' if len(line) > 100 else ''}`"
