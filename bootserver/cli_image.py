"""`bootserver image`: publish, list, compare, clean up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bootserver import catalogue
from bootserver.cleaning import clean
from bootserver.cli_state import open_state
from bootserver.output import format_option, moment, print_json, printable, show
from bootserver.publish import publish as publish_image
from bootserver.state import State
from host.run import Runner
from images.diff import bytes_to_fetch, compare, entries_of
from images.manifest import ImageKind, Manifest, parse
from images.store import BlobStore
from wire.errors import ConfigurationError, VerificationError
from wire.medium import IMAGE as BOOT_MEDIUM

_MIB = 2**20


class NotComparable(ConfigurationError):
    """Only trees of files can be compared by their files."""

    code = "not-comparable"
    title = "These images cannot be compared"
    hint = "Name two images of trees; `bootserver image list` says what each one is."


@click.group()
def image() -> None:
    """What nodes unpack: base filesystems, sliver images, overlays, whole disks."""


@image.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@format_option
def publish(name: str, paths: tuple[Path, ...], form: str) -> None:
    """Publish PATHS as image NAME, later ones laid over earlier ones.

    A path is a folder, a tar archive (plain, gzip, bzip2, xz, zstd), an OCI image (folder or archive); or one
    whole-disk image (raw or qcow2). The image is signed. Nodes that use it are told of it from now on.
    """
    if name == BOOT_MEDIUM:
        raise click.UsageError(f"{name} are boot media, published by: bootserver media publish ISO")
    manifest, new = publish_image(open_state(), name, paths, Runner())
    if form == "json":
        print_json({"name": name, "manifest": manifest.digest, "bytes": manifest.size, "new": new})
    else:
        size = manifest.size / _MIB
        click.echo(f"{name} {manifest.digest} {size:.1f} MiB{'' if new else ', as published before'}")


@image.command("list")
@format_option
def list_images(form: str) -> None:
    """List all publications, the newest of each name first."""
    state = open_state()
    with state.blobs.held():
        with state.database.read() as session:
            rows: list[dict[str, Any]] = [
                {"name": item.name, "manifest": item.manifest, "published": item.published}
                for item in catalogue.publications(session)
            ]
        for row in rows:
            row.update(_content(state.blobs, row["manifest"]))
    for row in rows:
        if form == "table":
            row["manifest"] = row["manifest"][:12]
            row["published"] = moment(row["published"])
            row["size"] = _mib(row["bytes"])
            row["unpacked"] = _mib(row["unpacked"])
    show(rows, form, ("name", "kind", "manifest", "size", "unpacked", "published"))


@image.command()
@click.argument("old")
@click.argument("new")
@format_option
def diff(old: str, new: str, form: str) -> None:
    """Show what changes from image OLD to NEW: files, and the bytes that a node with OLD fetches.

    An image is a name, for its newest publication, or the beginning of a manifest as `image list` shows it.
    """
    state = open_state()
    with state.blobs.held():
        before, after = (_found(state, text) for text in (old, new))
        if ImageKind.DISK in (before.kind, after.kind):
            raise NotComparable(f"{old} is a {before.kind}, {new} a {after.kind}")
        found = compare(*(entries_of(each, state.blobs.get) for each in (before, after)))
        transfer = bytes_to_fetch(before, after, _update(state, before, after), state.blobs.get)
    if form == "json":
        print_json({**vars(found), "bytes": transfer})
        return
    signs = {"+": found.added, "-": found.removed, "*": found.changed, "a": found.attributes}
    for sign, path in ((sign, path) for sign, paths in signs.items() for path in paths):
        click.echo(f"{sign} {_line(path) or '.'}")
    click.echo(
        f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed (*), "
        f"{len(found.attributes)} with other attributes (a); {transfer / _MIB:.2f} MiB to fetch"
    )


@image.command()
@click.option("--keep", type=click.IntRange(1, 100), default=3, show_default=True, help="Of each name.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@format_option
def gc(keep: int, dry_run: bool, form: str) -> None:
    """Forget all but the newest publications of each name, and remove the blobs that only they used."""
    gone = clean(open_state(), keep, dry_run=dry_run)
    if form == "json":
        print_json(vars(gone))
    else:
        word = "would be" if dry_run else "were"
        blobs = f"{gone.blobs} blobs ({gone.bytes / _MIB:.1f} MiB)"
        click.echo(f"{gone.publications} publications and {blobs} {word} removed")


def _found(state: State, text: str) -> Manifest:
    """Return the manifest of a name, or the one publication whose manifest begins so."""
    with state.database.read() as session:
        published = {item.manifest for item in catalogue.publications(session)}
        alike = [digest for digest in published if len(text) >= 6 and digest.startswith(text)]
        digest = alike[0] if len(alike) == 1 else catalogue.current_image(session, text).manifest
    return parse(state.blobs.get(digest))


def _update(state: State, old: Manifest, new: Manifest) -> Manifest | None:
    with state.database.read() as session:
        updates = catalogue.updates_to(session, new.digest)
        digest = next((update.manifest for update in updates if update.old == old.digest), None)
    return parse(state.blobs.get(digest)) if digest is not None else None


def _line(path: str) -> str:
    return printable(path.replace("\n", "\N{REPLACEMENT CHARACTER}"))


def _mib(size: int | None) -> str:
    return "damaged" if size is None else f"{size / _MIB:.1f} MiB"


def _content(store: BlobStore, digest: str) -> dict[str, Any]:
    """Return what the manifest says, nothing for one that is damaged: the others are still listed."""
    try:
        manifest = parse(store.get(digest))
    except VerificationError:
        return {"kind": None, "bytes": None, "unpacked": None}
    return {"kind": manifest.kind, "bytes": manifest.size, "unpacked": manifest.data_bytes}
