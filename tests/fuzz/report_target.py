"""A report from the field as a target: the archive, and the raw hardware in one that is sound otherwise."""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import suppress

from bootmanager.machine import State
from bootmanager.replay import FACTS, RECORDING, BadReport, open_report
from tests.fuzz.target import Target, scratch
from tests.recorded_machines import recording_of
from wire.structure import dump_json

_KNOWN = (
    b'{"state": "inst", "boot": [], "marked": [], "keys": [], "dongles": [], "details": [{"node_id": 7,'
    b'"hostname": "n", "boot_state": "inst", "run_id": "r", "generation": 1, "base_image":'
    b'{"name": "base", "manifest": "0"}}]}'
)


def _packed(recording: bytes) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in ((RECORDING, recording), (FACTS, _KNOWN)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def report(raw: bytes) -> None:
    """A report as `bootmanager inventory --from` and `plan --from` read it."""
    path = scratch() / "report.tgz"
    for archive in (raw, _packed(raw)):
        path.write_bytes(archive)
        with suppress(BadReport):
            opened = open_report(path)
            opened.inventory()
            opened.plan(State.INST)


def report_target() -> dict[str, Target]:
    """Return the target by its name."""
    machines = [dump_json(recording_of(name)).encode() for name in ("virtio-vm", "multipath")]
    return {"report": Target(report, (*machines, _packed(machines[0])), longest=32 * 1024)}
