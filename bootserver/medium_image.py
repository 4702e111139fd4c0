"""A boot medium as an image: what nodes whose own medium is older fetch, verify and start in its place.

Two files: the kernel, and an initial ramdisk that has the layers in itself. So all that runs then is named by
one signed hash, and nothing has to be read from anywhere once it was started.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bootserver.bootmedium import deployment_layer
from bootserver.metadata import trusted_root
from bootserver.netboot import NotBootMediumImage, extract
from bootserver.publish import publish
from bootserver.ramdisk import append
from bootserver.state import State
from host.run import Runner
from images.manifest import Manifest
from images.store import SCRATCH
from wire.medium import FILE, IMAGE, KERNEL, RAMDISK, Medium, medium_of
from wire.structure import MalformedMessage


def publish_medium(state: State, iso: Path, run: Runner) -> tuple[Manifest, Medium, bool]:
    """Let nodes start what is in the image `iso` if it is newer than theirs; say whether that is new here.

    It gets this deployment's root metadata, as media of write_boot_medium() have them. The same medium and
    the same metadata make the same image. Raises NotBootMediumImage, NotSigning, CommandFailed,
    CommandMissing, StoreUnusable, OSError.
    """
    with state.blobs.held(), tempfile.TemporaryDirectory(prefix=SCRATCH, dir=state.blobs.folder) as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        medium = _lay_out(iso, tree, trusted_root(state.metadata), run)
        manifest, new = publish(state, IMAGE, [tree], run, medium.made)
    return manifest, medium, new


def _lay_out(iso: Path, tree: Path, root: bytes, run: Runner) -> Medium:
    """Make the image's tree of a medium in an empty folder; say which medium it is."""
    live = extract(iso, tree / "live", run)
    try:
        medium = medium_of((live / FILE).read_bytes())
    except FileNotFoundError:
        raise NotBootMediumImage(f"{iso} has no {FILE}: it was made by an older version") from None
    except MalformedMessage as error:
        raise NotBootMediumImage(f"{iso}: {error.detail}") from None
    deployment_layer(live, root, run)
    for file in (KERNEL, RAMDISK):
        (live / file).rename(tree / file)
    layers = sorted(live.iterdir())
    _settle(live, *layers)
    # By name: the distribution, which changes least, comes first.
    append(tree / RAMDISK, tree, layers, run)
    for layer in layers:
        layer.unlink()
    live.rmdir()
    _settle(tree / KERNEL, tree / RAMDISK, tree)
    return medium


def _settle(*paths: Path) -> None:
    """Give parts of an image the same mode and time each time: what did not change is not fetched again."""
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (0, 0))
