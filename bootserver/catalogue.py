"""Which images there are: names, and the manifest that each stands for now."""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from bootserver.generations import changed
from bootserver.tables import Image, ImageUpdate, Node, Slice
from wire.errors import ConfigurationError
from wire.messages import ImageRef


class NoSuchImage(ConfigurationError):
    """No image of that name was published."""

    code = "no-such-image"
    title = "There is no such image"
    hint = "Publish it with `bootserver image publish NAME PATH...`; see `bootserver image list`."


def current_image(session: Session, name: str) -> ImageRef:
    """Return the newest publication of an image. Raises NoSuchImage."""
    image = _newest(session, name)
    if image is None:
        raise NoSuchImage(name)
    return ImageRef(image.name, image.manifest)


def _newest(session: Session, name: str) -> Image | None:
    return session.scalar(select(Image).where(Image.name == name).order_by(Image.id.desc()).limit(1))


def publications(session: Session) -> list[Image]:
    """Return all publications, the newest first."""
    return list(session.scalars(select(Image).order_by(Image.name, Image.id.desc())))


def updates_to(session: Session, manifest: str) -> list[ImageUpdate]:
    """Return the updates that lead to a manifest, those from later publications first."""
    rank = {item.manifest: item.id for item in session.scalars(select(Image).order_by(Image.id))}
    found = session.scalars(select(ImageUpdate).where(ImageUpdate.new == manifest))
    return sorted(found, key=lambda update: rank.get(update.old, 0), reverse=True)


def publish(session: Session, name: str, manifest: str) -> bool:
    """Let `name` stand for a manifest. Returns whether that is new; the nodes using it are told then."""
    known = _newest(session, name)
    if known is not None and known.manifest == manifest:
        return False
    session.add(Image(name=name, manifest=manifest, published=time.time()))
    in_slices = set(session.scalars(select(Slice.name).where(Slice.image == name)))
    concerned = []
    for node in session.scalars(select(Node)):
        slices = {sliver.slice.name for sliver in node.slivers}
        overlays = {service.overlay for service in node.services}
        named = {node.base_image, node.disk_image, *node.images, *overlays}
        if name in named or slices & in_slices:
            concerned.append(node)
    changed(*concerned)
    return True
