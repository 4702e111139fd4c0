"""`bootserver image`: publish and list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bootserver import catalogue
from bootserver.cli_state import open_state
from bootserver.output import format_option, moment, print_json, show
from bootserver.signing import Signing
from host.run import Runner
from images.make import add_layers
from images.manifest import parse
from images.store import BlobStore
from wire.errors import VerificationError


@click.group()
def image() -> None:
    """What nodes unpack: base filesystems and sliver images."""


@image.command()
@click.argument("name")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@format_option
def publish(name: str, files: tuple[Path, ...], form: str) -> None:
    """Publish tar.zst FILES as image NAME, one layer each, later ones over earlier ones.

    The manifest is signed. Nodes that use the image are told of it from now on.
    """
    state = open_state()
    manifest = add_layers(name, files, state.blobs, Runner())
    with state.database.write() as session:
        # Signed first: a node that is told of it finds it signed.
        signed = Signing(state.metadata, session, state.master).publish(manifest)
        new = catalogue.publish(session, name, manifest.digest) or signed
    if form == "json":
        print_json({"name": name, "manifest": manifest.digest, "bytes": manifest.size, "new": new})
    else:
        size = manifest.size / 2**20
        click.echo(f"{name} {manifest.digest} {size:.1f} MiB{'' if new else ', as published before'}")


@image.command("list")
@format_option
def list_images(form: str) -> None:
    """List all publications, the newest of each name first."""
    state = open_state()
    with state.database.read() as session:
        rows: list[dict[str, Any]] = [
            {"name": item.name, "manifest": item.manifest, "published": item.published}
            for item in catalogue.publications(session)
        ]
    for row in rows:
        row.update(_content(state.blobs, row["manifest"]))
        if form == "table":
            row["published"] = moment(row["published"])
            row["size"] = "damaged" if row["bytes"] is None else f"{row['bytes'] / 2**20:.1f} MiB"
    show(rows, form, ("name", "manifest", "layers", "size", "published"))


def _content(store: BlobStore, digest: str) -> dict[str, int | None]:
    """Return what the manifest says, nothing for one that is damaged: the others are still listed."""
    try:
        manifest = parse(store.get(digest))
    except VerificationError:
        return {"layers": None, "bytes": None}
    return {"layers": len(manifest.layers), "bytes": manifest.size}
