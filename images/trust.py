"""Which images are signed: TUF metadata, verified by python-tuf from the trusted root on.

The server's metadata (root, timestamp, snapshot, targets) are verified at a time that the server's signed
calls have authenticated, never at the machine's clock. What was verified is kept on the dongle in one
document, so it is whole or not there. It is verified again before it is of use, and serves two things: the
server cannot go back behind it, and without the server it says what may be installed from the cache.
docs/images.md tells what is promised; theupdateframework.github.io/specification has the metadata.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from tuf.api import exceptions as tuf
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from host.http import PATIENT, AnswerTooLong, HttpClient, NotAtServer
from images.cache import Cache
from images.documents import MAXIMUM_BYTES, Document, Documents
from images.manifest import SignedImage, is_digest
from images.trust_errors import (
    ImageNotSigned,
    MetadataExpired,
    MetadataForged,
    MetadataMalformed,
    MetadataMixed,
    MetadataRolledBack,
    NothingKnownOffline,
    NoTrustedRoot,
    OfflineTooLong,
)
from wire.errors import BootError
from wire.medium import MADE_FIELD, is_made
from wire.messages import ImageRef
from wire.session import NodeKey
from wire.trust import MAXIMUM_ROOT_BYTES, METADATA_PATH, OFFLINE_FIELD, TrustedRoot

DOCUMENT = "image-metadata"
_TARGETS_BYTES = 512 * 1024
_CONFIG = UpdaterConfig(
    root_max_length=MAXIMUM_ROOT_BYTES,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=64 * 1024,
    targets_max_length=_TARGETS_BYTES,
)
_ROLES = ("timestamp.json", "snapshot.json", "targets.json")
# Before every expiry, for metadata that only have to be genuine: those that none may go behind.
_ALWAYS = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class SignedImages:
    """The images that may be unpacked, by name.

    `newest` is the newest time authenticated when they were verified, in Unix seconds; 0 where none is known.
    """

    images: Mapping[str, SignedImage]
    newest: int = 0

    def named(self, name: str) -> SignedImage:
        """Return the image of that name. Raises ImageNotSigned."""
        try:
            return self.images[name]
        except KeyError:
            raise ImageNotSigned(f"no signed image has the name {name!r}") from None

    def vouch(self, ref: ImageRef) -> SignedImage:
        """Return the image that the server told of. Raises ImageNotSigned unless it is the signed one."""
        signed = self.named(ref.name)
        if signed.sha256 != ref.manifest:
            raise ImageNotSigned(
                f"{ref.name}: told is manifest {ref.manifest[:12]}, signed is {signed.sha256[:12]}"
            )
        return signed


@dataclass(frozen=True)
class _Kept:
    """What the dongle keeps: metadata files by name, and when they were verified (Unix seconds)."""

    newest: int
    verified: int
    files: Mapping[str, bytes]


class ImageTrust:
    """The signed images of one deployment, as one node sees them.

    Raises NoTrustedRoot where the media have none.
    """

    def __init__(self, root: TrustedRoot, cache: Cache, key: NodeKey) -> None:
        if not root.data:
            raise NoTrustedRoot("neither the boot medium nor the key medium has it")
        self._root = root.data
        self._documents = Documents(cache, key)

    def refresh(self, http: HttpClient, now: float) -> SignedImages:
        """Return what is signed at `now`, the authenticated time (Unix seconds), by the server's metadata.

        Raises a VerificationError of this module, ServerUnreachable.
        """
        kept = self._kept()
        known = kept.files if kept is not None and self._genuine(kept.files) else {}
        fetcher = _FromServer(http, known)
        try:
            found = _verify(self._root, fetcher, datetime.fromtimestamp(now, UTC), known)
        except BootError:
            # The time is known better now, whatever the metadata are worth, or if there are none.
            if kept is not None and known:
                self._keep(_Kept(int(now), kept.verified, known))
            raise
        self._keep(_Kept(int(now), int(now), found.files))
        return replace(found.signed, newest=int(now))

    def recall(self, *, at_least: int = 0) -> SignedImages:
        """Return what was signed when the server was last seen, as long as the deployment allows that.

        `at_least` is a newest authenticated time that is known from elsewhere than the dongle: metadata that
        somebody kept from before and put back are none.

        Raises OfflineTooLong, NothingKnownOffline, a VerificationError of this module.
        """
        kept = self._kept()
        if kept is None:
            raise NothingKnownOffline("no metadata on a dongle that were verified before")
        if kept.newest < at_least:
            raise NothingKnownOffline("the dongle's metadata are older than the installation on the disk")
        at = datetime.fromtimestamp(kept.verified, UTC)
        found = _verify(self._root, _FromDongle(kept.files), at, {})
        age = kept.newest - kept.verified
        if age > found.offline_seconds:
            raise OfflineTooLong(
                f"they are {age / 86400:.1f} days old, {found.offline_seconds / 86400:.1f} allowed"
            )
        return replace(found.signed, newest=kept.newest)

    def _genuine(self, files: Mapping[str, bytes]) -> bool:
        try:
            _verify(self._root, _FromDongle(files), _ALWAYS, {})
        except BootError:
            return False
        return True

    # --- the dongle ---

    def _kept(self) -> _Kept | None:
        found = self._documents.read(DOCUMENT)
        match found:
            case Document(newest, {"verified": int(verified), "files": dict(files)}):
                texts = {name: text for name, text in files.items() if isinstance(text, str)}
                return _Kept(newest, verified, {name: text.encode() for name, text in texts.items()})
        return None

    def _keep(self, kept: _Kept) -> None:
        files = {name: data.decode() for name, data in kept.files.items()}
        # Half, because quotes grow in JSON. A deployment that outgrows it cannot do without its server.
        if sum(map(len, files.values())) <= MAXIMUM_BYTES // 2:
            body = {"verified": kept.verified, "files": files}
            self._documents.write(DOCUMENT, Document(kept.newest, body))


def ever_signed(root: TrustedRoot, files: Mapping[str, bytes]) -> SignedImages:
    """Return what these metadata files name, signed now or once: for before the time is known.

    Raises a VerificationError of this module.
    """
    return _verify(root.data, _FromDongle(files), _ALWAYS, {}).signed


def _verify(root: bytes, fetcher: _Fetcher, at: datetime, known: Mapping[str, bytes]) -> _Verified:
    """Let python-tuf walk from the trusted root to the targets; nothing in `known` may be gone behind."""
    with tempfile.TemporaryDirectory(prefix="metadata-") as name:
        folder = Path(name)
        (folder / "root.json").write_bytes(root)
        for role in _ROLES:
            if role in known:
                (folder / role).write_bytes(known[role])
        try:
            updater = _Client(folder, fetcher, at)
            updater.refresh()
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            _raise(error)
        files = {role: (folder / role).read_bytes() for role in _ROLES}
    return _Verified(updater.images, updater.offline_seconds, files | fetcher.roots)


@dataclass(frozen=True)
class _Verified:
    signed: SignedImages
    offline_seconds: int
    files: Mapping[str, bytes]


class _Client(Updater):
    """python-tuf's client, judging expiry by a given time in place of the machine's clock."""

    def __init__(self, folder: Path, fetcher: FetcherInterface, at: datetime) -> None:
        super().__init__(str(folder), METADATA_PATH, fetcher=fetcher, config=_CONFIG)
        self._trusted_set.reference_time = at

    @property
    def images(self) -> SignedImages:
        """Every target with a SHA-256, which for images is that of the manifest."""
        found = {}
        for name, target in self._trusted_set.targets.targets.items():
            digest = target.hashes.get("sha256", "")
            if is_digest(digest):
                found[name] = SignedImage(name, digest, target.length, _made(target.custom))
        return SignedImages(found)

    @property
    def offline_seconds(self) -> int:
        """How old these metadata may become without the server."""
        value = self._trusted_set.timestamp.unrecognized_fields.get(OFFLINE_FIELD)
        return value if type(value) is int else 0


class _Fetcher(FetcherInterface):
    """Gives metadata by their file's name; `roots` collects the root metadata that it gave."""

    def __init__(self) -> None:
        self.roots: dict[str, bytes] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        data = self.read(name)
        if name.endswith(".root.json"):
            self.roots[name] = data
        return iter([data])

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the file. Raises DownloadHTTPError with 404 where there is none, any BootError."""


class _FromServer(_Fetcher):
    """The server, but for root metadata that are known already."""

    def __init__(self, http: HttpClient, known: Mapping[str, bytes]) -> None:
        super().__init__()
        self._http = http
        self._known = known

    def read(self, name: str) -> bytes:
        if name.endswith(".root.json") and name in self._known:
            return self._known[name]
        try:
            return self._http.get(METADATA_PATH + name, limit=_TARGETS_BYTES, retry=PATIENT)
        except NotAtServer as error:
            raise tuf.DownloadHTTPError(error.detail, 404) from None


class _FromDongle(_Fetcher):
    """The files that the dongle keeps, in place of the server's."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self._files = files

    def read(self, name: str) -> bytes:
        # Of these the dongle has one version each, under the name without it.
        plain = name if name.endswith(".root.json") else name.split(".", 1)[1] if name[0].isdigit() else name
        if plain not in self._files:
            raise tuf.DownloadHTTPError(name, 404)
        return self._files[plain]


def _made(custom: object) -> int:
    """Return when a boot medium was made, by what stands beside its hash."""
    value = custom.get(MADE_FIELD, 0) if isinstance(custom, dict) else 0
    return int(value) if is_made(value) else 0


def _raise(error: tuf.RepositoryError | tuf.DownloadError) -> NoReturn:
    """Say in this program's terms what python-tuf found."""
    if isinstance(error.__cause__, BootError) and not isinstance(error.__cause__, AnswerTooLong):
        raise error.__cause__ from None
    match error:
        case tuf.ExpiredMetadataError():
            raise MetadataExpired(str(error)) from None
        case tuf.UnsignedMetadataError():
            raise MetadataForged(str(error)) from None
        case tuf.BadVersionNumberError():
            raise MetadataRolledBack(str(error)) from None
        case tuf.LengthOrHashMismatchError() | tuf.DownloadError():
            raise MetadataMixed(str(error)) from None
    raise MetadataMalformed(str(error)) from None
