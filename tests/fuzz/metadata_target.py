"""The target of signed metadata: one file of a deployment's is another, unsigned or signed by its key.

Signed by the keys of timestamp, snapshot and targets is what somebody can send who broke into the server; its
timestamp and snapshot here name versions without hashes, so that none of it is refused for not fitting.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile

from host.http import AnswerTooLong, NotAtServer, ServerUnreachable
from images import trust_errors
from images.manifest import is_digest
from tests.fuzz.target import Target, scratch
from tests.unit.signed_site import NOW, Site
from wire.errors import BootError

ROLES = ("timestamp", "snapshot", "targets")
EXPECTED = (
    trust_errors.MetadataExpired,
    trust_errors.MetadataForged,
    trust_errors.MetadataMalformed,
    trust_errors.MetadataMixed,
    trust_errors.MetadataRolledBack,
    AnswerTooLong,
    NotAtServer,
    ServerUnreachable,
)


class _Deployment:
    """A site with one image, its metadata as they are served, and the keys of the online roles."""

    def __init__(self) -> None:
        self.site = Site(scratch() / "signed")
        self.site.publish()
        with self.site.server.state.database.read() as session:
            signing = self.site.signing(session, NOW)
            found = {role: signing.open(role) for role in ROLES}
            self.signers: dict[str, Signer] = {role: signing._signer(role) for role in ROLES}
        self.names = {role: f"{found[role].signed.version}.{role}.json" for role in ROLES}
        self.names |= {"timestamp": "timestamp.json", "root": "2.root.json"}
        for outer, inner in (("timestamp", "snapshot"), ("snapshot", "targets")):
            version = MetaFile(found[inner].signed.version)
            if outer == "timestamp":
                found[outer].signed.snapshot_meta = version
            else:
                found[outer].signed.meta["targets.json"] = version
            found[outer].sign(self.signers[outer])
        self.plain = {role: found[role].to_bytes() for role in ROLES}
        # Nobody has any newer root.
        self.served: dict[str, bytes | None] = {f"{number}.root.json": None for number in (2, 3)}
        self.served |= {self.names[role]: self.plain[role] for role in ROLES}
        self.plain["root"] = self.site.root
        self.images = self.ask({})

    def ask(self, forged: dict[str, bytes]) -> Any:
        """Return what a node believes; it has no dongle, so nothing of the last time."""
        self.site.path.forged = self.served | forged
        return self.site.refresh(dongle=False).images

    def signed(self, role: str, content: bytes) -> bytes:
        """Return metadata with this `signed` part, signed as well as it can be."""
        try:
            plain = {"signatures": [], "signed": json.loads(content)}
            made = Metadata.from_dict({"signatures": [], "signed": json.loads(content)})
            made.sign(self.signers[role])
            plain["signatures"] = made.to_dict()["signatures"]
            return json.dumps(plain).encode()
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, RepositoryError):
            return content


_deployment = cache(_Deployment)


def metadata(raw: bytes) -> None:
    """A line with a role, `signed` before it or not, and then the file in the place of that role's."""
    line, _, content = raw.partition(b"\n")
    words = line.decode(errors="replace").split()
    made, role = _deployment(), words[-1] if words else ""
    if role not in made.names:
        return
    by_its_key = words[0] == "signed" and role in made.signers
    if by_its_key:
        content = made.signed(role, content)
    try:
        found = made.ask({made.names[role]: content})
    except EXPECTED:
        return
    except BootError as error:
        raise AssertionError(f"{error.code} is no error of metadata") from error
    if by_its_key:
        assert all(is_digest(image.sha256) for image in found.values())
    else:
        assert found == made.images


@cache
def metadata_target() -> dict[str, Target]:
    """Return the target by its name."""
    made = _deployment()
    seeds = [f"{role}\n".encode() + data for role, data in made.plain.items()]
    for role in ROLES:
        part = json.loads(made.plain[role])["signed"]
        seeds.append(f"signed {role}\n".encode() + json.dumps(part).encode())
    return {"tuf_metadata": Target(metadata, tuple(seeds), longest=8192)}
