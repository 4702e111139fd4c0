"""What LVM says of physical and logical volumes; its answers are JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from host.run import Runner

_SECONDS = 120.0
# The disks' own metadata counts, whatever list of devices this system once wrote down.
_ALL_DEVICES = "devices/use_devicesfile=0"


@dataclass(frozen=True)
class Volume:
    """A segment of a logical volume: the volume's name, its size in bytes, the segment's kind and place."""

    name: str
    size: int
    segments: str
    devices: str


@dataclass(frozen=True)
class Group:
    """A volume group: its volumes' segments, bytes left, whether a physical volume is missing."""

    volumes: tuple[Volume, ...]
    free: int
    incomplete: bool


def physical_volumes(run: Runner, group: str) -> frozenset[str]:
    """Return the device nodes of a volume group's physical volumes; a missing one has no node."""
    return frozenset(
        row["pv_name"]
        for row in _report(run, "pvs", "pv", ["pv_name", "vg_name"])
        if row["vg_name"] == group and row["pv_name"].startswith("/dev/")
    )


def read_group(run: Runner, group: str, members: Sequence[str]) -> Group | None:
    """Return the volume group as it stands on these devices alone, None where there is none with a volume.

    Two groups of the same name, brought together by moving disks, are no group either.
    """
    columns = [
        "vg_name",
        "vg_uuid",
        "vg_free",
        "vg_missing_pv_count",
        "lv_name",
        "lv_size",
        "segtype",
        "devices",
    ]
    found = _report(run, "lvs", "lv", columns, ["--all", "--devices", ",".join(sorted(members))])
    rows = [row for row in found if row["vg_name"] == group]
    if len({row["vg_uuid"] for row in rows}) != 1:
        return None
    return Group(
        volumes=tuple(
            Volume(row["lv_name"], int(row["lv_size"]), row["segtype"], row["devices"]) for row in rows
        ),
        free=int(rows[0]["vg_free"]),
        incomplete=rows[0]["vg_missing_pv_count"] != "0",
    )


def activate(run: Runner, group: str, members: Sequence[str]) -> None:
    """Make the group's volumes appear in /dev, looking at these devices alone. Raises CommandFailed."""
    on = ["--devices", ",".join(sorted(members))]
    run(["lvm", "vgchange", "--yes", "--activate", "y", *on, group], timeout=_SECONDS)


def _report(
    run: Runner, command: str, kind: str, columns: Sequence[str], more: Sequence[str] = ()
) -> list[dict[str, Any]]:
    form = ["--reportformat", "json", "--units", "b", "--nosuffix", "--options", ",".join(columns)]
    # 5: something about it is wrong, a physical volume is missing for example; the report says what there is.
    done = run(["lvm", command, "--config", _ALL_DEVICES, *form, *more], timeout=_SECONDS, ok=(0, 5))
    return [row for report in json.loads(done.stdout)["report"] for row in report.get(kind, [])]
