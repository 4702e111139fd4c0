"""What is known of a service of the node: the version that was healthy last, and what came of another."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from host.files import sync_folder, write_atomic
from wire.conf_files import ConfFile
from wire.messages import ImageRef
from wire.slivers import NodeService, NodeSlivers, check_name
from wire.structure import MalformedMessage, structure_json, unstructure

log = logging.getLogger(__name__)

FOLDER = Path("var/lib/configmanager/services")


@dataclass(frozen=True)
class Version:
    """All that makes a service: it is changed as one, and put back as one.

    `overlay` is None where there is none, and where the server does not say what image the name means.
    """

    service: NodeService
    files: tuple[ConfFile, ...] = ()
    overlay: ImageRef | None = None

    @cached_property
    def digest(self) -> str:
        """Name all that it is."""
        return hashlib.sha256(json.dumps(unstructure(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ServiceRecord:
    """`good` was healthy last. `tried` is the digest of a version that was begun `tries` times since.

    `bad` is one that was not healthy, and `why`.
    """

    name: str
    good: Version | None = None
    tried: str = ""
    tries: int = 0
    bad: str = ""
    why: str = ""


class ServiceRecords:
    """The records of this node's services. `root` is "/" but in tests."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def get(self, name: str) -> ServiceRecord:
        """Return a service's record, one that knows nothing where there is none."""
        file = self._file(name)
        try:
            return structure_json(file.read_bytes(), ServiceRecord)
        except FileNotFoundError:
            pass
        except MalformedMessage as error:
            # What there was to go back to is lost; the service is made anew.
            log.error("%s is damaged: %s", file, error)
        return ServiceRecord(name)

    def all(self) -> list[ServiceRecord]:
        """Return all records, by name."""
        return [self.get(path.stem) for path in sorted(self._folder.glob("*.json"))]

    def save(self, record: ServiceRecord) -> ServiceRecord:
        """Keep a record durably, and return it. Raises OSError."""
        # A service's files may hold what only it should know.
        write_atomic(self._file(record.name), json.dumps(unstructure(record)) + "\n", mode=0o600)
        return record

    def forget(self, name: str) -> None:
        """Remove a record; doing so again changes nothing. Raises OSError."""
        if self._file(name).exists():
            self._file(name).unlink()
            sync_folder(self._folder)

    def _file(self, name: str) -> Path:
        return self._folder / f"{check_name(name)}.json"


def version_of(desired: NodeSlivers, service: NodeService) -> Version:
    """Return the version of a service that is wanted."""
    return Version(service, desired.files_of(service.name), desired.image(service.overlay))
