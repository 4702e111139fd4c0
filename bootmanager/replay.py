"""A report from the field, looked into on another machine: its inventory again, and what a plan makes of it.

The archive is untrusted: it is read in memory within bounds, nothing of it is unpacked, and no step runs that
would look at the machine it is replayed on.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootmanager.engine import Engine, Preview
from bootmanager.machine import State
from bootmanager.plan import steps_for
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Completed, Runner
from host.storage import CLAIM_MAGIC, Layout
from hwdetect.dongle import Dongle
from hwdetect.inventory import Inventory, describe, inventory_of
from hwdetect.media import Candidate, Media
from hwdetect.recording import Recording
from images.cache import Cache
from steps.base import Facts, Step
from wire.errors import VerificationError, quoted
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import KEY_BYTES, NodeKey
from wire.structure import MalformedMessage, structure_json

RECORDING, FACTS = "recording.json", "facts.json"
MAXIMUM_BYTES = 16 * 1024 * 1024
MAXIMUM_UNPACKED = 64 * 1024 * 1024
# zlib.decompressobj: a gzip header and checksum are wanted.
_GZIP = 31
# A header of tar (POSIX.1-1988, ustar): fields by their place in it.
_BLOCK, _NAME, _SIZE, _KIND = 512, slice(0, 100), slice(124, 136), slice(156, 157)
_PLAIN, _OCTAL = re.compile(rb"[a-z]+\.[a-z]+"), re.compile(rb"[0-7]{1,11}")
# Steps that decide by what is known alone; the others would look at this machine.
_BY_FACTS = ("check_hardware", "choose_disks", "confirm_new", "confirm_used", "partition")


class BadReport(VerificationError):
    """The file is no report that a node made."""

    code = "bad-report"
    title = "This is no report of a node"
    hint = "Fetch it again: bootserver node report NAME --to FILE. Do not trust what it says."


class NotInReport(VerificationError):
    """Only the machine itself could answer this."""

    code = "not-in-report"
    title = "This is not to be known from a report"
    hint = "Look at the machine itself: bootmanager plan STATE."


@dataclass(frozen=True)
class KeyFile:
    """Where a node configuration was found; what it holds is in no report."""

    device: str
    disk: str
    filename: str


@dataclass(frozen=True)
class KnownFacts:
    """What was known besides the hardware: media, and the node's configuration where the server gave it."""

    state: State
    boot: tuple[str, ...]
    marked: tuple[str, ...]
    keys: tuple[KeyFile, ...]
    dongles: tuple[Dongle, ...]
    details: tuple[NodeDetails, ...]


@dataclass(frozen=True)
class Replay:
    """What a report says of its machine; inventory and plan are made of it by the code that runs there."""

    recording: Recording
    known: KnownFacts

    def inventory(self) -> Inventory:
        """Return the machine's inventory. Raises BadReport."""
        try:
            found = inventory_of(self.recording)
            # A size that cannot be told is none.
            describe(found)
            return found
        except (ValueError, OverflowError, KeyError) as error:
            raise BadReport(f"{RECORDING}: {quoted(error)}") from None

    def plan(self, state: State) -> tuple[Preview, ...]:
        """Return what the plan of `state` makes of the machine, as far as facts decide. Raises BadReport."""
        host = Host(
            _NoCommands(), _RecordedDisks(), Events("replay"), Console([]), Options(), Path("/nowhere")
        )
        engine = Engine(host)
        engine.facts = self._facts(host.events)
        given = tuple(kind for step in steps_for(State.AUTO) for kind in step.gives)
        steps = steps_for(state, given)
        try:
            seen = engine.preview([step for step in steps if step.name in _BY_FACTS])
        except (ValueError, OverflowError) as error:
            raise BadReport(f"{FACTS}: {quoted(error)}") from None
        known = {preview.step: preview for preview in seen}
        return tuple(known.get(step.name) or _unknown(step) for step in steps)

    def _facts(self, events: Events) -> Facts:
        known = self.known
        candidates = tuple(Candidate(key.device, key.disk, key.filename, "") for key in known.keys)
        media = Media(known.boot, candidates, next(iter(known.dongles), None), known.marked)
        # No key is in a report, and nothing here needs one.
        node = NodeConfiguration(0, NodeKey(bytes(KEY_BYTES)), "", NetworkSettings())
        # Whether a disk holds what was noted for it is read from the disk.
        details = [replace(each, disk_records=()) for each in known.details]
        return Facts((self.inventory(), media, node, Cache(None, events), *details))


def _unknown(step: Step) -> Preview:
    return Preview(step.name, step.title, step.effect, False, blocked="not to be known from a report")


class _NoCommands(Runner):
    """Refuses: whatever it said would be about another machine."""

    def __call__(self, argv: Sequence[Any], **_: Any) -> Completed:
        raise NotInReport(f"what `{argv[0]}` says")


class _RecordedDisks:
    """What is recorded of disks, as steps ask of them."""

    def matches(self, layout: Layout) -> bool:
        """Say no where a disk does not carry the claim of this run. Raises NotInReport otherwise."""
        if all(disk.claimed_by_this_run for disk in layout.disks):
            raise NotInReport("whether partitions and volumes are as this run made them")
        return False

    def keeps(self, layout: Layout) -> bool:
        """Say no where a disk was not ours before. Raises NotInReport otherwise."""
        if all(disk.found.startswith(CLAIM_MAGIC) for disk in layout.disks):
            raise NotInReport("whether partitions and volumes of the former installation fit")
        return False

    def apply(self, layout: Layout) -> None:
        """Refuse. Raises NotInReport."""
        raise NotInReport("nothing is written in a replay")

    def activate(self, disks: tuple[str, ...]) -> None:
        """Refuse. Raises NotInReport."""
        raise NotInReport("no volumes appear in a replay")


def open_report(path: Path) -> Replay:
    """Read a report. Raises BadReport, OSError."""
    with path.open("rb") as file:
        packed = file.read(MAXIMUM_BYTES + 1)
    members = _members(packed)
    try:
        return Replay(
            structure_json(members[RECORDING], Recording), structure_json(members[FACTS], KnownFacts)
        )
    except KeyError as error:
        raise BadReport(f"{path}: no {error.args[0]} in it") from None
    except MalformedMessage as error:
        raise BadReport(f"{path}: {quoted(error.detail)}") from None


def _members(packed: bytes) -> dict[str, bytes]:
    """Return the files of an archive, all in memory. Raises BadReport."""
    if len(packed) > MAXIMUM_BYTES:
        raise BadReport(f"more than {MAXIMUM_BYTES} bytes")
    try:
        plain = zlib.decompressobj(_GZIP).decompress(packed, MAXIMUM_UNPACKED + 1)
    except zlib.error as error:
        raise BadReport(f"not packed by gzip: {error}") from None
    if len(plain) > MAXIMUM_UNPACKED:
        raise BadReport(f"more than {MAXIMUM_UNPACKED} bytes when unpacked")
    # Plain files with short names are all that a report has. tarfile would read extended headers too, for
    # which Python 3.11 can be made to take hours.
    found: dict[str, bytes] = {}
    at = 0
    while any(header := plain[at : at + _BLOCK]):
        name, size, kind = header[_NAME].rstrip(b"\0"), header[_SIZE].rstrip(b"\0 "), header[_KIND]
        if not _PLAIN.fullmatch(name) or not _OCTAL.fullmatch(size) or kind != b"0":
            raise BadReport(f"at {at} of the archive is no plain file")
        begin = at + _BLOCK
        content = plain[begin : begin + int(size, 8)]
        if len(content) < int(size, 8):
            raise BadReport("the archive was cut off")
        found[name.decode()] = content
        at = begin + -(-len(content) // _BLOCK) * _BLOCK
    return found
