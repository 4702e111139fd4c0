"""Publishing an image: made, signed, told to nodes, and an update from what they are likely to have."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bootserver import catalogue
from bootserver.signing import Signing
from bootserver.state import State
from bootserver.tables import ImageUpdate
from host.run import Runner
from images.disk_make import make_disk_image
from images.disk_source import is_disk_image
from images.make import make_image
from images.manifest import ImageKind, Manifest, parse
from images.sources.detect import open_source
from images.sources.layers import LayeredSource
from images.store import StoreUnusable
from images.update import is_worth_while, make_update
from wire.errors import VerificationError

log = logging.getLogger(__name__)

# Publications before the newest that an update leads from.
UPDATES = 3


def publish(
    state: State, name: str, paths: Sequence[Path], run: Runner, made: int = 0
) -> tuple[Manifest, bool]:
    """Make `paths`, later ones laid over earlier ones, the image `name`; say whether that is something new.

    `made` is when a boot medium was made, in Unix seconds; 0 for other images.
    Raises NotAnImage, CommandFailed, StoreUnusable, OSError; nothing is published then.
    """
    with state.blobs.held():
        manifest = _make(state, name, paths, run)
        with state.database.write() as session:
            # Signed first: a node that is told of it finds it signed.
            signed = Signing(state.metadata, session, state.master).publish(manifest, made)
            new = catalogue.publish(session, name, manifest.digest) or signed
            former = [item.manifest for item in catalogue.publications(session) if item.name == name]
        for digest in [digest for digest in former if digest != manifest.digest][:UPDATES]:
            _update(state, digest, manifest)
    return manifest, new


def _make(state: State, name: str, paths: Sequence[Path], run: Runner) -> Manifest:
    if len(paths) == 1 and is_disk_image(paths[0]):
        return make_disk_image(name, paths[0], state.blobs, run)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(path)) for path in paths]
        return make_image(name, sources[0] if len(sources) == 1 else LayeredSource(sources), state.blobs)


def _update(state: State, old: str, new: Manifest) -> None:
    """Make the update from one publication; nodes do without it, so what is wrong is told and passed over."""
    with state.database.read() as session:
        if session.get(ImageUpdate, (new.digest, old)) is not None:
            return
    try:
        before = parse(state.blobs.get(old))
        if ImageKind.DISK in (before.kind, new.kind) or not is_worth_while(before, new, state.blobs):
            return
        update = make_update(before, new, state.blobs)
    except (VerificationError, StoreUnusable, OSError) as error:
        log.warning("no update from %s to %s: %s", old[:12], new.digest[:12], error)
        return
    with state.database.write() as session:
        session.merge(ImageUpdate(new=new.digest, old=old, manifest=update.digest))
