"""The signed metadata of images: TUF roles, their keys, and the files that nodes and HTTP caches fetch.

Root is signed offline, by as many of its keys as its threshold says; the operator keeps them elsewhere.
The keys of targets, snapshot and timestamp are in the database, sealed by the master key like those of
nodes, so the server can publish and renew. A target is the manifest of an image, by the image's name, or
the list of a boot medium's layers (bootserver.netboot).

Everything runs within a write transaction, which keeps two programs from signing at once. Files come
in the order in which nothing names what is not there yet; a power cut in between costs a version number.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer
from sqlalchemy import select
from sqlalchemy.orm import Session
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.repository import Repository

from bootserver.metadata import NotSigning, newest, versions
from bootserver.periods import DAY, Periods
from bootserver.state import State
from bootserver.tables import SigningKey
from host.files import write_atomic
from images.manifest import Manifest
from wire import pem
from wire.errors import ConfigurationError, VerificationError
from wire.medium import MADE_FIELD
from wire.sealing import MasterKey
from wire.trust import OFFLINE_FIELD

ONLINE = (Targets.type, Snapshot.type, Timestamp.type)
ROLES = (Root.type, *ONLINE)
log = logging.getLogger(__name__)
ROOT_WARNING_DAYS = 30
# Older versions stay for nodes that are half way through a fetch; those of root for ever.
_VERSIONS_KEPT = 8


class ThresholdNotMet(ConfigurationError):
    """Too few root keys were given for a new root."""

    code = "threshold-not-met"
    title = "Too few of the root keys"
    hint = "Give as many --root-key files as `bootserver keys list` says for root; nothing was changed."


class StoredMetadataDamaged(VerificationError):
    """A metadata file of the server's is not what the server wrote."""

    code = "stored-metadata-damaged"
    title = "The server's metadata are damaged"
    hint = "Restore the folder `metadata` from a backup that is not older than the database."


class Signing(Repository):
    """The metadata of one server, for the length of one write transaction.

    `root_keys` are needed for what changes root. `now` is the server's time in Unix seconds.
    """

    def __init__(
        self,
        folder: Path,
        session: Session,
        master: MasterKey,
        *,
        root_keys: Sequence[Signer] = (),
        now: float | None = None,
    ) -> None:
        self._folder = folder
        self._session = session
        self._master = master
        self._root_keys = root_keys
        self._now = datetime.fromtimestamp(time.time() if now is None else now, UTC)
        self._periods = Periods.of(session)

    # --- what python-tuf's Repository builds on ---

    def open(self, role: str) -> Metadata:  # type: ignore[type-arg]
        """Return a role's newest metadata, or first ones to be signed. Raises StoredMetadataDamaged."""
        path = newest(self._folder, role)
        if path is None:
            first = {
                Root.type: Root,
                Targets.type: Targets,
                Snapshot.type: Snapshot,
                Timestamp.type: Timestamp,
            }
            return Metadata(first[role](version=1))
        try:
            return Metadata.from_bytes(path.read_bytes())
        except (OSError, RepositoryError) as error:
            raise StoredMetadataDamaged(f"{path}: {error}") from None

    def close(self, role: str, md: Metadata) -> None:  # type: ignore[type-arg]
        """Sign the metadata as the next version and store them. Raises ThresholdNotMet."""
        if newest(self._folder, role) is not None:
            md.signed.version += 1
        md.signed.expires = self._now + timedelta(days=getattr(self._periods, role))
        if role == Timestamp.type:
            md.signed.unrecognized_fields[OFFLINE_FIELD] = self._periods.offline * DAY
        md.signatures.clear()
        if role == Root.type:
            self._sign_root(md)
        else:
            md.sign(self._signer(role))
        prefix = "" if role == Timestamp.type else f"{md.signed.version}."
        write_atomic(self._folder / f"{prefix}{role}.json", md.to_bytes())
        if role in (Targets.type, Snapshot.type):
            self._prune(role, md.signed.version)

    # --- what an operator does ---

    def begin(self, threshold: int) -> None:
        """Make all roles; root is signed by the `root_keys`. Raises ThresholdNotMet."""
        with self.edit_root() as root:
            self._set_root_keys(root, threshold)
            for role in ONLINE:
                self.prepare(role)
                root.add_key(self._prepared(root, role).public_key, role)
        with self.edit_targets():
            pass
        self._publish_changes()

    def publish(self, manifest: Manifest, made: int = 0) -> bool:
        """Make an image's manifest the target of that name; say whether that is new. Raises NotSigning.

        `made` is when a boot medium was made, in Unix seconds; 0 for other images.
        """
        return self.vouch(manifest.name, manifest.to_bytes(), made=made)

    def vouch(self, name: str, data: bytes, instead_of: Collection[str] = (), made: int = 0) -> bool:
        """Make `data` the target of that name, other names none; say if that is new. Raises NotSigning."""
        target = TargetFile.from_data(name, data, ["sha256"])
        if made:
            target.unrecognized_fields["custom"] = {MADE_FIELD: made}
        self._require()
        if self.targets().targets.get(name) == target:
            return False
        with self.edit_targets() as targets:
            for other in instead_of:
                del targets.targets[other]
            targets.targets[name] = target
        self._publish_changes()
        return True

    def prepare(self, role: str) -> None:
        """Make the next key of an online role. Commit it before rotate(): no root may name a lost key."""
        key = pem.generate()
        sealed = self._master.seal(pem.dump(key), _purpose(role))
        self._session.add(SigningKey(keyid=CryptoSigner(key).public_key.keyid, role=role, sealed=sealed))
        self._session.flush()

    def rotate(self, role: str) -> None:
        """Let the prepared key take the place of an online role's, and sign its metadata with it.

        Raises ThresholdNotMet, NotSigning.
        """
        self._require()
        with self.edit_root() as root:
            fresh = self._prepared(root, role)
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(fresh.public_key, role)
        self.sign_again((role,))
        for row in self._rows(role):
            if row.keyid != fresh.public_key.keyid:
                self._session.delete(row)

    def rotate_root(self, new_keys: Sequence[Signer], threshold: int) -> None:
        """Replace all root keys; signed by the threshold of the old ones and by all new ones.

        Raises ThresholdNotMet, NotSigning.
        """
        self._require()
        self._root_keys = (*self._root_keys, *new_keys)
        with self.edit_root() as root:
            self._set_root_keys(root, threshold, new_keys)

    def renew_root(self) -> None:
        """Sign root again as it is, for another period. Raises ThresholdNotMet, NotSigning."""
        self._require()
        with self.edit_root():
            pass

    def renew(self) -> tuple[str, ...]:
        """Sign every online role again that has lived half of its period; return these. Raises NotSigning."""
        self._require()
        periods = self._periods
        due = tuple(
            role
            for role in ONLINE
            if self.open(role).signed.expires - self._now < timedelta(days=getattr(periods, role)) / 2
        )
        self.sign_again(due)
        return due

    def sign_again(self, roles: Sequence[str]) -> None:
        """Make a new version of these roles, and of what names them."""
        if Targets.type in roles:
            with self.edit_targets():
                pass
        if roles:
            self._publish_changes(snapshot=Snapshot.type in roles)

    # --- helpers ---

    def _publish_changes(self, *, snapshot: bool = False) -> None:
        """Let the snapshot name the targets, where it does not or has to be new; the timestamp it."""
        name, targets = f"{Targets.type}.json", self._meta_file(Targets.type)
        if snapshot or self.snapshot().meta.get(name) != targets:
            with self.edit_snapshot() as edited:
                edited.meta[name] = targets
        with self.edit_timestamp() as timestamp:
            timestamp.snapshot_meta = self._meta_file(Snapshot.type)

    def _require(self) -> None:
        if newest(self._folder, Root.type) is None:
            raise NotSigning(f"{self._folder} holds no root metadata")

    def _set_root_keys(self, root: Root, threshold: int, keys: Sequence[Signer] | None = None) -> None:
        for keyid in list(root.roles[Root.type].keyids):
            root.revoke_key(keyid, Root.type)
        for signer in self._root_keys if keys is None else keys:
            root.add_key(signer.public_key, Root.type)
        root.roles[Root.type].threshold = threshold

    def _sign_root(self, md: Metadata) -> None:  # type: ignore[type-arg]
        """Sign root, unless nodes with the present one, or later ones with this one, would refuse it."""
        before = self.root() if newest(self._folder, Root.type) is not None else md.signed
        known = {*before.roles[Root.type].keyids, *md.signed.roles[Root.type].keyids}
        for signer in self._root_keys:
            if signer.public_key.keyid in known:
                md.sign(signer, append=True)
        for trusted in (before, md.signed):
            result = trusted.get_verification_result(Root.type, md.signed_bytes, md.signatures)
            if not result:
                raise ThresholdNotMet(f"{len(result.signed)} of {result.threshold} signatures of root's keys")

    def _rows(self, role: str) -> list[SigningKey]:
        return list(self._session.scalars(select(SigningKey).where(SigningKey.role == role)))

    def _prepared(self, root: Root, role: str) -> Signer:
        """Return a key of the role that no root has named.

        One that a former root named was replaced; it is still there where the power failed in a rotation.
        """
        named = {*root.roles[role].keyids, *self._named(role)}
        for row in self._rows(role):
            if row.keyid not in named:
                return self._unsealed(row)
        raise NotSigning(f"no new key for {role}")

    def _named(self, role: str) -> set[str]:
        """Return the ids of all keys that any version of root has named for the role."""
        known = [
            Metadata[Root].from_bytes(path.read_bytes())
            for path in versions(self._folder, Root.type).values()
        ]
        return {keyid for md in known for keyid in md.signed.roles[role].keyids}

    def _signer(self, role: str) -> Signer:
        keyids = self.root().roles[role].keyids
        for row in self._rows(role):
            if row.keyid in keyids:
                return self._unsealed(row)
        raise NotSigning(f"no key for {role}")

    def _unsealed(self, row: SigningKey) -> Signer:
        return CryptoSigner(pem.load(self._master.unseal(row.sealed, _purpose(row.role)), row.role))

    def _meta_file(self, role: str) -> MetaFile:
        path = newest(self._folder, role)
        if path is None:
            raise NotSigning(f"{self._folder} holds no {role} metadata")
        raw = path.read_bytes()
        return MetaFile.from_data(Metadata.from_bytes(raw).signed.version, raw, ["sha256"])

    def _prune(self, role: str, version: int) -> None:
        for old, path in versions(self._folder, role).items():
            if old <= version - _VERSIONS_KEPT:
                with suppress(FileNotFoundError):
                    path.unlink()


def _purpose(role: str) -> str:
    return f"signing {role}"


def renew(state: State) -> tuple[str, ...]:
    """Sign again what has lived half of its period; return these roles. Raises NotSigning.

    Root is the operator's business; the log says when it is time.
    """
    with state.database.write() as session:
        signing = Signing(state.metadata, session, state.master)
        due = signing.renew()
        left = signing.root().expires.timestamp() - time.time()
    if left < ROOT_WARNING_DAYS * DAY:
        log.warning("root expires in %.0f days; nodes trust nothing then: bootserver keys renew", left / DAY)
    return due
