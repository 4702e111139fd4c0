"""Bringing images to an installed node: from its dongle, its neighbours, or the server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from configmanager.alone import RUNTIME_FOLDER
from configmanager.notify import still_working
from configmanager.takeover import Link, identity
from host.alone import alone
from host.events import Events
from host.http import HttpClient, ServerUnreachable, http_of
from host.run import Runner
from hwdetect import dongle as dongles
from hwdetect import media
from images.cache import Cache
from images.disk_record import NoDongle
from images.disk_write import NotADisk
from images.documents import NODE_DETAILS, Documents
from images.fetch import Supply, pins
from images.manifest import ImageKind, MalformedManifest, Manifest, SignedImage, is_digest, parse
from images.neighbours import Neighbours, meeting
from images.plan import OldTree
from images.relatives import relatives_of
from images.shelf import Shelf, room
from images.source import source_of
from images.trust import ImageTrust, SignedImages
from images.unpack import install
from images.verify import Deviation, deviations
from images.write import TargetFull
from wire.errors import BootError, CommandError
from wire.messages import ImageRef, NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import MalformedMessage, structure
from wire.trust import TrustedRoot

CACHE_FOLDER = Path("/var/lib/configmanager/cache")
# bootmanager has refreshed them just before, where it could.
FIRST_REFRESH_SECONDS = 3600.0
REFRESH_SECONDS = 24 * 3600.0
MIB = 1024 * 1024


class Images:
    """Unpacks images for the backends: from the dongle where it has them, else from neighbours or the server.

    With `shares` off nothing is taken from neighbours, and nothing given to them meanwhile.
    The dongle is mounted only meanwhile: images are seldom needed, and a dongle may be pulled out. Others may
    use it at once, in other processes too, which is what `turns`, a folder in RAM, is for.
    """

    def __init__(
        self,
        run: Runner,
        events: Events,
        folder: Path = CACHE_FOLDER,
        *,
        shares: bool = True,
        turns: Path = RUNTIME_FOLDER,
    ) -> None:
        self._shares = shares
        self._turns = turns
        self._run = run
        self._events = events
        self._folder = folder
        self._refresh_at = time.monotonic() + FIRST_REFRESH_SECONDS
        self.link: Link | None = None

    def refresh(self) -> None:
        """Once a day, renew the dongle's signed metadata: without a server they bound what may be installed.

        The node needs no image for it, so what is wrong is told and stops nothing.
        """
        if self.link is None or time.monotonic() < self._refresh_at:
            return
        self._refresh_at = time.monotonic() + REFRESH_SECONDS
        configuration, root = self._identity()
        http = http_of(configuration)
        try:
            with self._cache() as cache:
                ImageTrust(root, cache, configuration.key).refresh(http, self.link.client.server_now())
        except BootError as error:
            self._events.tell("metadata.refused", code=error.code, detail=error.detail)

    def unpack(self, ref: ImageRef, target: Path, trees: Sequence[OldTree] = ()) -> None:
        """Lay a signed image into `target`; without the server, from what the dongle has.

        One of `trees` is looked into for files that are the same.

        Raises what ImageTrust and images.unpack.install() raise, KeyMediumAbsent.
        """
        configuration, root = self._identity()
        http = http_of(configuration)
        with self._cache() as cache:
            signed = self._signed(ImageTrust(root, cache, configuration.key), http)
            image = signed.vouch(ref)
            documents = Documents(cache, configuration.key)
            relatives = relatives_of(image.name, image.sha256, http, documents)
            alike = (image.sha256, *(relative.old for relative in relatives))
            tree = next((tree for digest in alike for tree in trees if tree.digest == digest), None)
            details = _details(documents, configuration)
            if details is not None:
                cache.budget_bytes = details.cache_budget_mib * MIB
            source, keep = source_of(configuration, details), pins(_own(details, cache))
            with self._neighbours(cache, image) as near:
                moved = install(
                    image,
                    target,
                    source,
                    cache,
                    relatives=relatives,
                    tree=tree,
                    near=near,
                    keep=keep,
                    on_progress=lambda *_: still_working(),
                )
        self._events.tell("transfer", image=ref.name, **asdict(moved))

    def bring(self, ref: ImageRef) -> int:
        """Bring the signed image of a whole disk into the dongle, as far as there is room.

        Returns the size of the disk in bytes. Raises what ImageTrust and images.fetch.Supply raise, NotADisk,
        NoDongle, KeyMediumAbsent.
        """
        configuration, root = self._identity()
        with self._cache() as cache:
            if not cache.stores:
                raise NoDongle("the other system's disk is noted on it, and started by it")
            signed = self._signed(ImageTrust(root, cache, configuration.key), http_of(configuration))
            details = _details(Documents(cache, configuration.key), configuration)
            if details is not None:
                cache.budget_bytes = details.cache_budget_mib * MIB
            source = source_of(configuration, details)
            with Supply(source, cache) as supply:
                manifest = supply.manifest(signed.vouch(ref))
            if manifest.kind is not ImageKind.DISK:
                raise NotADisk(manifest.name)
            with Supply(source, cache, pins([manifest, *_own(details, cache)])) as supply:
                for _ in supply.bring_all(manifest.blobs):
                    still_working()
            if supply.refused:
                detail = "the dongle is too small for all of it; the rest is fetched while it is written"
                self._events.tell("prefetch.failed", image=ref.name, code=TargetFull.code, detail=detail)
        self._events.tell("transfer", image=ref.name, **asdict(supply.transfer))
        return manifest.disk_bytes

    def compare(self, image: SignedImage, tree: Path) -> Iterator[Deviation]:
        """Yield what of `tree` is not as in the image that it was made from.

        Raises what images.verify.deviations() raises, KeyMediumAbsent.
        """
        configuration, _ = self._identity()
        with self._cache() as cache, Supply(source_of(configuration), cache) as supply:
            yield from deviations(supply.manifest(image), tree, supply)

    def _identity(self) -> tuple[NodeConfiguration, TrustedRoot]:
        if self.link is not None:
            return self.link.configuration, self.link.root
        return identity(self._run, self._events)

    def _signed(self, trust: ImageTrust, http: HttpClient) -> SignedImages:
        """Ask the server only at a time that it has authenticated: nothing can be called expired without."""
        if self.link is None or not self.link.client.server_time:
            return trust.recall()
        try:
            return trust.refresh(http, self.link.client.server_now())
        except ServerUnreachable:
            return trust.recall()

    @contextmanager
    def _neighbours(self, cache: Cache, image: SignedImage) -> Iterator[Neighbours | None]:
        """Share an image while it is brought; whether this node may is said by the server."""
        if self.link is None or not self._shares:
            yield None
            return
        client, address = self.link.client, self.link.address
        shelf = Shelf(cache, room())
        near = Neighbours(address, shelf, partial(meeting, client), [image.sha256], self._events)
        try:
            yield near if near.start() else None
        finally:
            near.close()

    @contextmanager
    def _cache(self) -> Iterator[Cache]:
        self._turns.mkdir(parents=True, exist_ok=True)
        # Nobody mounts it for writing while it is looked into.
        with alone(self._turns):
            dongle = media.survey(self._run).dongle
        if dongle is None:
            self._events.tell("media.missing", what="cache")
            yield Cache(None, self._events)
            return
        with ExitStack() as stack:
            shared = dongles.shared_dongle(self._run, dongle, self._folder, self._turns)
            try:
                cache = Cache(self._folder, self._events, writable=stack.enter_context(shared))
            except (CommandError, OSError) as error:
                detail = error.detail if isinstance(error, CommandError) else str(error)
                self._events.tell("media.unusable", what="cache", device=dongle.device, detail=detail)
                cache = Cache(None, self._events)
            yield cache


def _details(documents: Documents, configuration: NodeConfiguration) -> NodeDetails | None:
    """Return the node's configuration as bootmanager left it on the dongle: mirrors, bounds, images."""
    found = documents.read(NODE_DETAILS)
    try:
        details = structure(found.body, NodeDetails) if found is not None else None
    except MalformedMessage:
        return None
    return details if details is not None and details.node_id == configuration.node_id else None


def _own(details: NodeDetails | None, cache: Cache) -> Iterator[Manifest]:
    """Yield the node's images that the dongle has, which reinstall it: it must not lose them for another."""
    for ref in (details.base_image, *details.images) if details is not None else ():
        try:
            raw = cache.get(ref.manifest) if is_digest(ref.manifest) else None
            if raw is not None:
                yield parse(raw)
        except MalformedManifest:
            continue
