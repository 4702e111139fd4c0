"""Where a report is written when somebody asks for it: a path, or a stick that is marked for reports."""

from __future__ import annotations

import time
from pathlib import Path

from host.files import write_atomic
from host.mounts import Mount, mount_table, mounted
from host.run import Runner
from host.texts import _
from hwdetect import udev
from hwdetect.dongle import READING
from hwdetect.media import Media
from hwdetect.udev import Device
from wire.errors import ConfigurationError

LABEL = "BMREPORT"
_OPTIONS = ("nodev", "nosuid", "noexec")


class ReportRefused(ConfigurationError):
    """A report is not written to that place."""

    code = "report-place-refused"
    title = "The report is not written there"
    hint = "Name a new file in a folder that exists, on no boot or key medium."


class NoReportStick(ConfigurationError):
    """There is not exactly one stick for reports."""

    code = "no-report-stick"
    title = "Not exactly one stick is marked for reports"
    hint = (
        f"Give the file system of one stick the label {LABEL} (mkfs.vfat -n {LABEL} PARTITION), plug it in."
    )


def write_to(path: Path, archive: bytes, media: Media) -> str:
    """Write a new file, or one with a name of its own in a folder; return where it is, for people.

    Raises ReportRefused.
    """
    file = (path / _name() if path.is_dir() else path).absolute()
    if file.exists() or file.is_symlink():
        raise ReportRefused(f"{file} exists")
    if not file.parent.is_dir():
        raise ReportRefused(f"{file.parent} is no folder")
    folder = file.parent.resolve()
    # Of several mounts at one place the last is the one that is seen.
    mount = max(
        (mount for mount in mount_table() if folder.is_relative_to(mount.target)),
        key=lambda mount: len(mount.target.parts),
    )
    disk = _disk_of(mount.source, udev.devices("block"))
    _refuse_medium(disk, media)
    _write(file, archive)
    if not disk:
        return _("{file}, in memory: copy it before the machine restarts", file=file)
    return _("{file} on {device}", file=file, device=mount.source)


def write_to_stick(run: Runner, archive: bytes, media: Media) -> str:
    """Write a new file onto the one stick that is marked for reports; return where it is, for people.

    Raises NoReportStick, ReportRefused, CommandFailed, CommandTimedOut.
    """
    block = udev.devices("block")
    found = [device for device in block if is_report_stick(device, block)]
    if len(found) != 1:
        raise NoReportStick(", ".join(device.node for device in found) or "none")
    stick = found[0]
    _refuse_medium(_disk_of(stick.node, block), media)
    name = _name()
    there = _mount_of(stick.node)
    if there is not None:
        _write(there.target / name, archive)
    else:
        with mounted(run, stick.node, fstype=stick.properties["ID_FS_TYPE"], options=_OPTIONS) as folder:
            _write(folder / name, archive)
    return _("{file} on {device}", file=name, device=stick.node)


def is_report_stick(device: Device, block: tuple[Device, ...]) -> bool:
    """Say whether a file system is marked for reports: by its label, and on a removable or USB disk."""
    said = device.properties
    whole = next((disk for disk in block if disk.path == device.parent), device)
    removable = whole.attributes.get("removable") == "1" or "/usb" in device.path
    return said.get("ID_FS_LABEL") == LABEL and said.get("ID_FS_TYPE") in READING and removable


def _write(file: Path, archive: bytes) -> None:
    try:
        write_atomic(file, archive, mode=0o600)
    except OSError as error:
        raise ReportRefused(f"{file}: {error.strerror}") from None


def _refuse_medium(disk: str, media: Media) -> None:
    role = media.role(disk)
    if role:
        raise ReportRefused(f"{disk} is the {role}")


def _disk_of(node: str, block: tuple[Device, ...]) -> str:
    """Return the disk that a device is or is on, "" for none."""
    device = next((device for device in block if device.node == node), None)
    if device is None or "/virtual/" in device.path:
        return ""
    return next((disk.node for disk in block if disk.path == device.parent), device.node)


def _mount_of(node: str) -> Mount | None:
    return next((mount for mount in mount_table() if mount.source == node), None)


def _name() -> str:
    return time.strftime("report-%Y%m%d-%H%M%S.tgz", time.gmtime())
