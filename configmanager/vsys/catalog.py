"""What is offered: the executables in /vsys, their ACLs, and what of it is refused.

/vsys/NAME is offered to whom /vsys/NAME.acl names, or to every slice without one; /vsys/pvt/SLICE/NAME to
that slice only, in the place of a public one of that name. What somebody else than root could change is
refused, because it runs as root; one refusal concerns nothing else.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configmanager.vsys import acl
from configmanager.vsys.acl import Acl, Mode
from host.files import read_regular
from wire.slivers import check_name

FOLDER = Path("vsys")
PRIVATE = "pvt"
ACL_SUFFIX = ".acl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHOWN = 100


@dataclass(frozen=True)
class Offer:
    """A service as one slice gets it; `identity` changes with every copy of the executable."""

    name: str
    path: Path
    identity: tuple[int, ...]
    mode: Mode


@dataclass(frozen=True)
class Service:
    """An executable; without an ACL it is every slice's."""

    name: str
    path: Path
    identity: tuple[int, ...]
    acl: Acl | None

    def offer(self, slice_name: str) -> Offer | None:
        """Return what that slice gets of it."""
        mode = Mode.WRITE if self.acl is None else self.acl.modes.get(slice_name)
        return Offer(self.name, self.path, self.identity, mode) if mode is not None else None


@dataclass(frozen=True)
class Fault:
    """Something that is refused: where it is, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Catalog:
    """All that is offered, and all that is refused."""

    public: tuple[Service, ...] = ()
    private: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def offers(self, slice_name: str) -> dict[str, Offer]:
        """Return what a slice gets, by the services' names."""
        services = (*self.public, *self.private.get(slice_name, ()))
        found = [offer for service in services if (offer := service.offer(slice_name)) is not None]
        return {offer.name: offer for offer in found}

    def strangers(self, slices: frozenset[str]) -> tuple[Fault, ...]:
        """Return which ACLs name slices that are none of these; they may come yet."""
        services = (*self.public, *(each for private in self.private.values() for each in private))
        return tuple(
            Fault(f"{service.path}{ACL_SUFFIX}", f"{name} is not on this node")
            for service in services
            if service.acl is not None
            for name in sorted(service.acl.modes.keys() - slices)
        )


def read(root: Path) -> Catalog:
    """Look at all of /vsys. Raises OSError only where the disk fails."""
    reading = _Reading()
    folder = root / FOLDER
    public: tuple[Service, ...] = ()
    private: dict[str, tuple[Service, ...]] = {}
    if reading.folder(folder):
        public = reading.services(folder, others=(PRIVATE,))
        if reading.folder(folder / PRIVATE):
            private = {path.name: reading.services(path) for path in reading.slices(folder / PRIVATE)}
    return Catalog(public, private, tuple(reading.faults))


class _Reading:
    """What was refused on the way."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def refuse(self, path: Path, reason: str) -> None:
        self.faults.append(Fault(ascii(str(path))[1:-1][:_SHOWN], reason))

    def folder(self, path: Path) -> bool:
        """Return whether it is a folder that counts."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return False
        why = "it is no folder" if not stat.S_ISDIR(status.st_mode) else _unsafe(status)
        if why is not None:
            self.refuse(path, f"{why}, so nothing in it is offered")
        return why is None

    def slices(self, folder: Path) -> Iterator[Path]:
        """Yield the folders of slices."""
        for path in _shown(folder):
            try:
                check_name(path.name)
            except ValueError as error:
                self.refuse(path, str(error))
            else:
                if self.folder(path):
                    yield path

    def services(self, folder: Path, others: tuple[str, ...] = ()) -> tuple[Service, ...]:
        """Return what a folder offers; `others` in it are no services."""
        found = []
        for path in _shown(folder):
            if path.name.endswith(ACL_SUFFIX) or path.name in others:
                continue
            try:
                service = self._service(path)
            except FileNotFoundError:
                continue  # It is gone meanwhile.
            if service is not None:
                found.append(service)
        return tuple(found)

    def _service(self, path: Path) -> Service | None:
        status = path.lstat()
        why = _why_not(path.name, status)
        if why is not None:
            self.refuse(path, why)
            return None
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        return Service(path.name, path, identity, self._acl(path.with_name(path.name + ACL_SUFFIX)))

    def _acl(self, path: Path) -> Acl | None:
        try:
            why = _not_a_safe_file(path.lstat())
            raw = read_regular(path, acl.MOST_BYTES + 1) if why is None else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            why, raw = error.strerror or "it cannot be read", b""
        if why is not None:
            self.refuse(path, f"{why}, so nobody has the service")
            return Acl({})
        found = acl.parse(raw)
        for fault in found.faults:
            self.refuse(path, fault)
        return found


def _shown(folder: Path) -> list[Path]:
    """Return what is in a folder; hidden files are such as are being written."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _why_not(name: str, status: os.stat_result) -> str | None:
    """Return why a file is no service, None if it is one."""
    why = _not_a_safe_file(status)
    if why is None and not _NAME.fullmatch(name):
        why = "its name is not 1 to 64 of A-Z a-z 0-9 . _ -"
    if why is None and not status.st_mode & stat.S_IXUSR:
        why = "it is not executable"
    return why


def _not_a_safe_file(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    return "it is no file" if not stat.S_ISREG(status.st_mode) else _unsafe(status)


def _unsafe(status: os.stat_result) -> str | None:
    """Return why somebody else than the user of this program could change it, None if nobody can."""
    if status.st_uid != os.geteuid():
        return f"user {status.st_uid} owns it"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than root can write to it"
    return None
