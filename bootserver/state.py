"""The server's folder.

master.key       32 bytes, mode 0600: seals the nodes' keys; or a systemd credential in its place
bootserver.db    SQLite
tls/             the authority that nodes trust, the server's certificate; see bootserver.tls
blobs/           what images consist of, each file named by its SHA-256
metadata/        signed metadata of the images (TUF)
netboot/         boot media for machines that start over the network; see bootserver.netboot
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bootserver.database import Database
from bootserver.tables import Setting
from bootserver.tls import FOLDER as TLS_FOLDER
from bootserver.tls import Tls
from host.files import write_atomic
from images.store import BlobStore
from wire.errors import ConfigurationError
from wire.sealing import MASTER_BYTES, MasterKey

MASTER = "master.key"
DATABASE = "bootserver.db"
BLOBS = "blobs"
# Where systemd puts what a unit loads with LoadCredential= (systemd.exec(5)), and what it is called there.
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
CREDENTIAL = "bootserver-master-key"
_ACL = "system.posix_acl_access"
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


class NoMasterKey(ConfigurationError):
    """The folder has no master key of its own, and nobody handed one in."""

    code = "no-master-key"
    title = "The master key is not at hand"
    hint = "Hand it in as a systemd credential (docs/server.md), or put master.key back from its backup."


@dataclass(frozen=True)
class State:
    """An opened folder."""

    folder: Path
    database: Database = field(repr=False)
    handed_in: MasterKey | None = field(repr=False)

    @property
    def master(self) -> MasterKey:
        """The key that seals the nodes' keys; commands that need none run without. Raises NoMasterKey."""
        if self.handed_in is None:
            raise NoMasterKey(f"neither {self.folder / MASTER} nor the credential {CREDENTIAL}")
        return self.handed_in

    @property
    def blobs(self) -> BlobStore:
        """Where the images' content is."""
        return BlobStore(self.folder / BLOBS)

    @property
    def tls(self) -> Tls:
        """What the nodes' listener speaks TLS with."""
        return Tls(self.folder / TLS_FOLDER)

    @property
    def metadata(self) -> Path:
        """Where the images' signed metadata are."""
        return self.folder / METADATA

    @property
    def netboot(self) -> Path:
        """Where boot media are that machines get over the network."""
        return self.folder / "netboot"

    def setting(self, key: str) -> str:
        """Return a setting, "" without one."""
        with self.database.read() as session:
            found = session.get(Setting, key)
            return found.value if found else ""


def check_free(folder: Path) -> None:
    """Raise AlreadyInitialised where the folder is a server's."""
    if (folder / DATABASE).exists() or (folder / MASTER).exists():
        raise AlreadyInitialised(str(folder))


def initialise(folder: Path, settings: dict[str, str]) -> State:
    """Make the folder's content. Raises AlreadyInitialised."""
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / BLOBS).mkdir(exist_ok=True)
    if _handed_in() is None:
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
    master = _handed_in() or _read_master(folder / MASTER)
    if not (folder / DATABASE).is_file():
        raise NotInitialised(str(folder))
    database = Database.at(folder / DATABASE)
    database.check()
    return State(folder, database, master)


def _handed_in() -> MasterKey | None:
    """Return the master key that systemd handed in, None without one. Raises UnsafeMasterKey."""
    folder = os.environ.get(CREDENTIALS_VARIABLE, "")
    return _read_master(Path(folder) / CREDENTIAL) if folder else None


def _read_master(path: Path) -> MasterKey | None:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            # With an access list the group's bits are its mask, not what the group may do: this is how
            # systemd lets a service that is not root, and nobody else, read its credential.
            others = 0o007 if _ACL in os.listxattr(file.fileno()) else 0o077
            secret = file.read(MASTER_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnsafeMasterKey(f"{path}: {error.strerror}") from None
    if len(secret) != MASTER_BYTES:
        raise UnsafeMasterKey(f"{path} does not have {MASTER_BYTES} bytes")
    if mode & others:
        raise UnsafeMasterKey(f"{path} has mode {mode:o}, 600 wanted")
    return MasterKey(secret)
