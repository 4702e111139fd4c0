"""Who may use a service: one slice a line, with `r`, `rw`, or nothing, which is `rw`.

An ACL only ever lets in whom it names, so a line that is not understood lets in nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wire.slivers import check_name

MOST_BYTES = 64 * 1024
_SHOWN = 60


class Mode(StrEnum):
    """What a slice may do with a service."""

    READ = "r"
    WRITE = "rw"


@dataclass(frozen=True)
class Acl:
    """What an ACL says; `faults` are its lines that do not count, and why."""

    modes: Mapping[str, Mode]
    faults: tuple[str, ...] = ()


def parse(raw: bytes) -> Acl:
    """Read an ACL: what is well-formed counts, the rest is a fault."""
    if len(raw) > MOST_BYTES:
        return Acl({}, (f"it is over {MOST_BYTES} bytes",))
    modes: dict[str, Mode] = {}
    faults = []
    # Only \n ends a line: what else Python takes for an end could make two slices of one line.
    for number, line in enumerate(raw.split(b"\n"), 1):
        words = line.partition(b"#")[0].split()
        if not words:
            continue
        try:
            name, mode = _entry([word.decode("ascii") for word in words])
            if name in modes:
                raise ValueError(f"{name} is there twice, the first counts")
            modes[name] = mode
        except ValueError as error:
            why = "it is not ASCII" if isinstance(error, UnicodeError) else str(error)
            faults.append(f"line {number}: {why}")
    return Acl(modes, tuple(faults))


def _entry(words: list[str]) -> tuple[str, Mode]:
    if len(words) > 2 or words[1:] not in ([], ["r"], ["rw"]):
        raise ValueError(f"{' '.join(words)[:_SHOWN]!r} is not a slice with r or rw")
    return check_name(words[0][:_SHOWN]), Mode(words[1]) if words[1:] else Mode.WRITE
