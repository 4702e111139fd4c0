"""A boot medium for one deployment: the general one, and a layer with the root metadata to trust."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bootserver.media import CannotWriteMedium
from host.files import sync_folder
from host.run import Runner
from wire.trust import BOOT_MEDIUM_ROOT

# As build/images.py names the medium.
LABEL = b"BMBOOT"
# The medium lays all of live/*.squashfs over one another, later names on top (docs/recipes.md).
LAYER = "/live/30-deployment.squashfs"
_SECONDS = 600.0


def write_boot_medium(iso: Path, path: Path, root: bytes, run: Runner) -> None:
    """Write the image `iso` once more as `path`, with `root` in it, whole or not at all.

    Raises CannotWriteMedium, CommandFailed, CommandMissing.
    """
    if not _is_boot_medium(iso):
        raise CannotWriteMedium(
            f"{iso} is no image of the boot medium", hint="Give the boot.iso of make images."
        )
    if path.exists() and (not path.is_file() or path.samefile(iso)):
        raise CannotWriteMedium(f"{path} is not a regular file of its own")
    try:
        with tempfile.TemporaryDirectory(prefix=".boot-", dir=path.absolute().parent) as name:
            folder = Path(name)
            layer, image = folder / "layer.squashfs", folder / "boot.iso"
            run(["mksquashfs", _tree(folder / "tree", root), layer, *["-all-root", "-quiet", "-no-progress"]])
            # Boot records and partition table are made again as they were found.
            words: list[str | Path] = ["-boot_image", "any", "replay", "-map", layer, LAYER]
            run(["xorriso", "-indev", iso, "-outdev", image, *words], timeout=_SECONDS)
            image.replace(path)
            sync_folder(path.absolute().parent)
    except OSError as error:
        raise CannotWriteMedium(f"{path}: {error.strerror}") from None


def _is_boot_medium(iso: Path) -> bool:
    """Read the primary volume descriptor (ECMA-119, 8.4): xorriso takes any file for an empty image."""
    with iso.open("rb") as file:
        file.seek(16 * 2048)
        sector = file.read(72)
    return sector[1:6] == b"CD001" and sector[40:72].rstrip() == LABEL


def _tree(tree: Path, root: bytes) -> Path:
    """Make the layer's tree. Its folders' modes count on the medium, whatever the umask here is."""
    file = tree / BOOT_MEDIUM_ROOT
    file.parent.mkdir(parents=True)
    file.write_bytes(root)
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tree
