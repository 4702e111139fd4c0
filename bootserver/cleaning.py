"""Forgetting old publications, and removing blobs that nothing names any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bootserver import catalogue
from bootserver.state import State
from bootserver.tables import Image, ImageUpdate
from images.manifest import parse


@dataclass(frozen=True)
class Gone:
    """How many publications and blobs went, and how many bytes the blobs had."""

    publications: int
    blobs: int
    bytes: int


def clean(state: State, keep: int, *, dry_run: bool = False) -> Gone:
    """Keep the newest `keep` publications of each name and the updates between them.

    Waits for publications that are being made. Nothing goes where a manifest that stays cannot be read: what
    it names would be unknown. Raises StoredBlobDamaged, MalformedManifest, StoreUnusable.
    """
    with state.blobs.held(alone=True):
        with state.database.read() if dry_run else state.database.write() as session:
            old = list(_beyond(session, keep))
            stay = {item.manifest for item in catalogue.publications(session) if item not in old}
            updates = list(session.query(ImageUpdate))
            useless = [each for each in updates if each.new not in stay or each.old not in stay]
            manifests = stay | {each.manifest for each in updates if each not in useless}
            kept = set(manifests)
            for digest in manifests:
                kept |= {blob.sha256 for blob in parse(state.blobs.get(digest)).blobs}
            if dry_run:
                unused = (digest for digest in state.blobs.digests() if digest not in kept)
                sizes = [state.blobs.path(digest).stat().st_size for digest in unused]
                return Gone(len(old), len(sizes), sum(sizes))
            for row in (*old, *useless):
                session.delete(row)
        # After the commit: a power cut leaves blobs that nothing names, never names without their blobs.
        return Gone(len(old), *state.blobs.remove_all_but(kept))


def _beyond(session: Session, keep: int) -> Iterator[Image]:
    """Yield publications that are older than the newest `keep` different ones of their name."""
    seen: Counter[str] = Counter()
    for item in catalogue.publications(session):
        seen[item.name] += 1
        if seen[item.name] > keep:
            yield item
