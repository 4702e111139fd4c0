"""A boot medium for one deployment: the general one, and a layer with the root metadata to trust.

A personal one, for sites with one stick a node, has the node's identity in a partition more.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bootserver.media import CannotWriteMedium, KeyFile, key_image
from host.files import sync_folder
from host.run import Runner
from wire.trust import BOOT_MEDIUM_ROOT

# As build/images.py names the medium.
LABEL = b"BMBOOT"
# The medium lays all of live/*.squashfs over one another, later names on top (docs/recipes.md).
LAYER = "30-deployment.squashfs"
# The identity's partition: the first is the ISO 9660 file system, the second the EFI system partition.
_PARTITION, _FAT = "3", "0x0c"
_SECONDS = 600.0


def write_boot_medium(
    iso: Path, path: Path, root: bytes, run: Runner, identity: KeyFile | None = None
) -> None:
    """Write the image `iso` once more as `path`, with `root` in it, whole or not at all.

    With an `identity` it gets a partition more, a key medium, and mode 0600. Raises CannotWriteMedium,
    MalformedNodeConfiguration, CommandFailed, CommandMissing.
    """
    if not _is_general_medium(iso):
        raise CannotWriteMedium(
            f"{iso} is no image of the general boot medium", hint="Give the boot.iso of make images."
        )
    if path.exists() and (not path.is_file() or path.samefile(iso)):
        raise CannotWriteMedium(f"{path} is not a regular file of its own")
    try:
        # Of mode 0700: nobody else sees the identity.
        with tempfile.TemporaryDirectory(prefix=".boot-", dir=path.absolute().parent) as name:
            folder = Path(name)
            layer, image = deployment_layer(folder, root, run), folder / "boot.iso"
            # Boot records and partitions are made again as they were found.
            words: list[str | Path] = ["-boot_image", "any", "replay", "-map", layer, f"/live/{LAYER}"]
            # By that GRUB tells Linux which medium it is: another one than the general one beside it.
            words += ["-volume_date", "uuid", f"{datetime.now(UTC):%Y%m%d%H%M%S%f}"[:16]]
            if identity is not None:
                words += ["-append_partition", _PARTITION, _FAT, key_image(folder, identity, root, run)]
            run(["xorriso", "-indev", iso, "-outdev", image, *words], timeout=_SECONDS)
            if identity is not None:
                image.chmod(0o600)
            image.replace(path)
            sync_folder(path.absolute().parent)
    except OSError as error:
        raise CannotWriteMedium(f"{path}: {error.strerror}") from None


def deployment_layer(folder: Path, root: bytes, run: Runner) -> Path:
    """Make the layer with the root metadata to trust in a folder; equal metadata give equal bytes.

    Raises CommandFailed, CommandMissing, OSError.
    """
    layer, times = folder / LAYER, ["-all-time", "0", "-mkfs-time", "0"]
    tree = _tree(folder / "tree", root)
    run(["mksquashfs", tree, layer, "-all-root", *times, "-quiet", "-no-progress"])
    shutil.rmtree(tree)
    return layer


def _is_general_medium(iso: Path) -> bool:
    """Whether it is a boot medium and nobody's own: such a one would be copied with its identity.

    That is read here (MBR; ECMA-119, 8.4): xorriso takes any file for an empty image.
    """
    with iso.open("rb") as file:
        entries = file.read(512)[446:510]
        file.seek(16 * 2048)
        sector = file.read(72)
    named = sector[1:6] == b"CD001" and sector[40:72].rstrip() == LABEL
    return named and not any(entries[32:48])


def _tree(tree: Path, root: bytes) -> Path:
    """Make the layer's tree. Its folders' modes count on the medium, whatever the umask here is."""
    file = tree / BOOT_MEDIUM_ROOT
    file.parent.mkdir(parents=True)
    file.write_bytes(root)
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tree
