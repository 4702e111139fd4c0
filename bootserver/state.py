"""The server's folder.

master.key       32 bytes, mode 0600: seals the nodes' keys
bootserver.db    SQLite
blobs/           what images consist of, each file named by its SHA-256
metadata/        signed metadata of the images (TUF)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bootserver.database import Database
from bootserver.tables import Setting
from host.files import write_atomic
from images.store import BlobStore
from wire.errors import ConfigurationError
from wire.sealing import MASTER_BYTES, MasterKey

MASTER = "master.key"
DATABASE = "bootserver.db"
BLOBS = "blobs"
METADATA = "metadata"


class NotInitialised(ConfigurationError):
    """The folder does not hold a server's state."""

    code = "not-initialised"
    title = "There is no bootserver in this folder"
    hint = "Make one with: bootserver init FOLDER."


class AlreadyInitialised(ConfigurationError):
    """The folder holds a server's state already."""

    code = "already-initialised"
    title = "There is a bootserver in this folder already"
    hint = "Use it as it is, or name another folder; nothing was changed."


class UnsafeMasterKey(ConfigurationError):
    """The master key is malformed, or others than its owner may read it."""

    code = "unsafe-master-key"
    title = "The master key cannot be used"
    hint = "Restore it from a backup if it is damaged; take it away from others with chmod 600."


@dataclass(frozen=True)
class State:
    """An opened folder."""

    folder: Path
    database: Database = field(repr=False)
    master: MasterKey = field(repr=False)

    @property
    def blobs(self) -> BlobStore:
        """Where the images' content is."""
        return BlobStore(self.folder / BLOBS)

    @property
    def metadata(self) -> Path:
        """Where the images' signed metadata are."""
        return self.folder / METADATA

    def setting(self, key: str) -> str:
        """Return a setting, "" without one."""
        with self.database.read() as session:
            found = session.get(Setting, key)
            return found.value if found else ""


def initialise(folder: Path, settings: dict[str, str]) -> State:
    """Make the folder's content. Raises AlreadyInitialised."""
    if (folder / DATABASE).exists() or (folder / MASTER).exists():
        raise AlreadyInitialised(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / BLOBS).mkdir(exist_ok=True)
    write_atomic(folder / MASTER, MasterKey.generate().secret, mode=0o600)
    database = Database.at(folder / DATABASE)
    database.create()
    with database.write() as session:
        for key, value in settings.items():
            session.merge(Setting(key=key, value=value))
    database.close()
    return open_state(folder)


def open_state(folder: Path) -> State:
    """Open the folder. Raises NotInitialised, UnsafeMasterKey, WrongSchema, DatabaseUnusable."""
    try:
        with (folder / MASTER).open("rb") as file:
            mode = (folder / MASTER).stat().st_mode
            secret = file.read(MASTER_BYTES + 1)
    except FileNotFoundError:
        raise NotInitialised(str(folder)) from None
    except OSError as error:
        raise UnsafeMasterKey(f"{folder / MASTER}: {error.strerror}") from None
    if not (folder / DATABASE).is_file():
        raise NotInitialised(str(folder))
    if len(secret) != MASTER_BYTES:
        raise UnsafeMasterKey(f"{folder / MASTER} does not have {MASTER_BYTES} bytes")
    if mode & 0o077:
        raise UnsafeMasterKey(f"{folder / MASTER} has mode {mode & 0o777:o}, 600 wanted")
    database = Database.at(folder / DATABASE)
    database.check()
    return State(folder, database, MasterKey(secret))
