"""A report from the field: one archive of all that helps to see why a machine failed, without its secrets.

| in it | |
|---|---|
| `about.json` | when, which kernel, which failure, what could not be had |
| `recording.json`, `facts.json` | what a replay is made of: raw hardware, media, the server's configuration |
| `configuration.json` | what the key medium says, without its secrets |
| `inventory.json`, `plan.json` | what this machine made of them |
| `steps.jsonl`, `events.jsonl`, `bootmanager.log` | the journal of steps; of this boot events and commands |
| the rest | what commands and the kernel say |
"""

from __future__ import annotations

import gzip
import io
import json
import platform
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bootmanager.machine import State
from bootmanager.preview import plan_data
from bootmanager.replay import FACTS, RECORDING, KeyFile, KnownFacts, Replay
from host.journal import Journal
from host.ports import Host
from host.redact import Redactor
from hwdetect.media import Media
from hwdetect.recording import Recording, record
from steps.base import Facts
from wire.errors import BootError, CommandError
from wire.messages import NodeDetails
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration
from wire.reports import MAXIMUM_BYTES
from wire.structure import unstructure

FORMAT = 1
# Of each text the end is kept, and less of it where the archive would be too large.
_TEXT_BYTES = 4 * 1024 * 1024
_LEAST_BYTES = 4 * 1024
_SECONDS = 30.0
# What of a node's configuration is in no report.
_SECRET = ("key", "token")
_COMMANDS = {
    "journal.txt": ("journalctl", "--boot", "--output=short-monotonic", "--no-pager", "--lines=20000"),
    "dmesg.txt": ("dmesg",),
    "lsblk.json": ("lsblk", "--json", "--output-all"),
    "lspci.txt": ("lspci", "-nnk"),
    "modules.txt": ("lsmod",),
    "addresses.txt": ("ip", "address"),
    "routes.txt": ("ip", "route"),
    "units.txt": ("systemctl", "--failed", "--no-pager", "--plain"),
}
_LOGS = ("events.jsonl", "bootmanager.log")
_FILES = {"cmdline.txt": Path("/proc/cmdline"), "meminfo.txt": Path("/proc/meminfo")}


def make_report(host: Host, facts: Facts, *, state: State, cause: BootError | None) -> bytes:
    """Return the archive; `state` is where the machine was on its way to.

    Raises CommandFailed, CommandTimedOut where the hardware is not known yet and cannot be read.
    """
    recording = facts.get(Recording) or record(host.run)
    replay = Replay(recording, _known(facts, state))
    redactor = Redactor(_secrets(facts))
    cut, missing = _texts(host)
    about = {
        "format": FORMAT,
        "made": time.time(),
        "kernel": platform.release(),
        "state": str(state),
        "code": cause.code if cause is not None else "",
        "detail": cause.detail if cause is not None else "",
        "missing": missing,
    }
    journal = facts.get(Journal)
    steps = journal.records() if journal is not None else []
    whole = {
        "about.json": about,
        RECORDING: unstructure(replay.recording),
        FACTS: unstructure(replay.known),
        "inventory.json": unstructure(replay.inventory()),
        "configuration.json": _configuration(facts),
        "plan.json": plan_data(replay.plan(replay.known.state)),
    }
    texts = {name: _json(redactor.data(data)) for name, data in whole.items()}
    cut["steps.jsonl"] = "".join(json.dumps(step) + "\n" for step in steps)
    logs = {name: _without_secrets(redactor, name, text) for name, text in cut.items()}
    return _fitting(texts, logs)


def _fitting(texts: dict[str, str], logs: dict[str, str]) -> bytes:
    limit = _TEXT_BYTES
    while True:
        ends = {name: text[-limit:] for name, text in logs.items()}
        packed = _packed({**texts, **ends})
        if len(packed) <= MAXIMUM_BYTES or limit <= _LEAST_BYTES:
            return packed
        limit //= 2


def _packed(members: dict[str, str]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in members.items():
            content = text.encode(errors="replace")
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


def _known(facts: Facts, state: State) -> KnownFacts:
    media, details = facts.get(Media) or Media(), facts.get(NodeDetails)
    if details is not None and state in (State.AUTO, State.DBG):
        state = State(details.boot_state)
    return KnownFacts(
        state=state,
        boot=media.boot,
        marked=media.marked,
        keys=tuple(KeyFile(key.device, key.disk, key.filename) for key in media.candidates),
        dongles=(media.dongle,) if media.dongle is not None else (),
        details=(details,) if details is not None else (),
    )


def _configuration(facts: Facts) -> dict[str, Any]:
    """Return what the key medium says besides its secrets."""
    found = facts.get(NodeConfiguration) or facts.get(EnrolmentConfiguration)
    return {
        name: unstructure(value)
        for name, value in (vars(found) if found else {}).items()
        if name not in _SECRET
    }


def _secrets(facts: Facts) -> Iterable[bytes]:
    node, enrolment = facts.get(NodeConfiguration), facts.get(EnrolmentConfiguration)
    if node is not None:
        yield node.key.secret
    if enrolment is not None and enrolment.token is not None:
        yield enrolment.token.secret.encode()
        yield enrolment.token.key()


def _texts(host: Host) -> tuple[dict[str, str], list[str]]:
    """Return what commands and files say, and what there is none of."""
    found, missing = {}, []
    logs = {name: host.state_dir / name for name in _LOGS}
    sources: dict[str, tuple[str, ...] | Path] = {**_COMMANDS, **logs, **_FILES}
    for name, source in sources.items():
        try:
            text = _end_of(source) if isinstance(source, Path) else host.run(source, timeout=_SECONDS).stdout
        except (CommandError, OSError) as error:
            missing.append(f"{name}: {error}")
        else:
            found[name] = text
    return found, missing


def _end_of(path: Path) -> str:
    return path.read_bytes()[-_TEXT_BYTES:].decode(errors="replace")


def _without_secrets(redactor: Redactor, name: str, text: str) -> str:
    if not name.endswith(".jsonl"):
        return redactor.text(text)
    return "".join(_line(redactor, line) for line in text.splitlines())


def _line(redactor: Redactor, line: str) -> str:
    try:
        return json.dumps(redactor.data(json.loads(line))) + "\n"
    except (ValueError, RecursionError):
        return redactor.text(line) + "\n"


def _json(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"
