"""The errors of all programs: documented groups, each leaf with a stable code.

A person reads these at 3 a.m. over a serial line, so each class says what kind of thing failed
(`title`), the instance says on what and why (`detail`), and `hint` says what to do about it.
Leaves stand next to the code that raises them and register themselves by their code.
"""

from __future__ import annotations

import re
from typing import ClassVar

# Of what somebody said whom nobody vouches for, more is not repeated.
MOST_QUOTED = 300
# Ends of lines, what steers a terminal, and what turns the direction of writing.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def unsteered(line: str) -> str:
    """Return a line without what could steer a terminal."""
    return _STEERING.sub("?", line)


def quoted(text: object) -> str:
    """Return what a peer said as a short line for logs and consoles, without what could steer a terminal."""
    found = str(text)
    return unsteered(found[:MOST_QUOTED]) + ("..." if len(found) > MOST_QUOTED else "")


class BootError(Exception):
    """Base of every expected failure.

    `code` is stable and lower-case with dashes: it is what a program, a manual or a search engine
    is given. A class without a code of its own is a group and is not raised itself.
    """

    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    hint: ClassVar[str] = ""
    registry: ClassVar[dict[str, type[BootError]]] = {}

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = hint if hint is not None else self.hint

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        code = cls.__dict__.get("code")
        if not code:
            return
        if not cls.title or not cls.hint:
            raise TypeError(f"error class {cls.__name__} needs a title and a hint")
        if code in BootError.registry:
            raise TypeError(f"error code {code} is used by {BootError.registry[code].__name__} already")
        BootError.registry[code] = cls

    def __str__(self) -> str:
        return f"{self.title}: {self.detail} [{self.code}]"


class ConfigurationError(BootError):
    """The node's or the deployment's configuration is wrong; trying again cannot help."""


class TrustError(BootError):
    """Somebody could not prove who they are; no further calls are made."""


class UnsupportedHardware(BootError):
    """The machine lacks what the node needs, or has it in a form that must not be touched."""


class VerificationError(BootError):
    """Content is not what its name, hash or mark says."""


class JournalError(BootError):
    """The record of what was done cannot be read or written."""


class TransientError(BootError):
    """May go away by itself: the engine, and only the engine, tries again."""


class CommandError(BootError):
    """An outside command failed or did not end in time."""


class InternalError(BootError):
    """A programming error, caught once, at the command line."""

    code = "internal"
    title = "A fault in the program"
    hint = "Send the log to the developers; set the intent again at the server to retry."
