"""Boot media for machines that start over the network: taken out of an image, and signed.

`netboot/KEY/` has vmlinuz, initrd, the layers and the list of their hashes; KEY is a hash of all of it. What
is served as the initial ramdisk is the medium's own, and behind it an archive with that list and the drivers
of network cards, which a stick does not need so early.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from bootserver.ramdisk import append
from bootserver.signing import Signing
from bootserver.state import State
from bootserver.tables import Node, Setting
from host.files import sync_folder
from host.run import CommandFailed, Runner
from images.manifest import sha256
from images.store import BlobStore
from wire.errors import ConfigurationError
from wire.medium import KERNEL, RAMDISK
from wire.trust import LAYERS_FILE, MEDIUM_TARGETS

PUBLISHED = "netboot"
ARGUMENTS = "netboot-arguments"
_KEY_CHARACTERS = 16
_SECONDS = 600.0
_MODULES = "usr/lib/modules"
# Each has a twin in .bin, which is what is read.
_FOR_PEOPLE = (".alias", ".dep", ".symbols")
_NETWORK_CARDS = re.compile(
    r"kernel/drivers/net/((ethernet|hyperv|mdio|phy|usb|vmxnet3)/.*|(virtio_net|xen-netfront)\.ko.*)"
)


class NotBootMediumImage(ConfigurationError):
    """The file is something else than an image of the boot medium, or lacks what belongs onto one."""

    code = "not-boot-medium-image"
    title = "This is no image of the boot medium"
    hint = "Give the boot.iso of make images."


def publish(state: State, iso: Path, arguments: str, run: Runner) -> tuple[str, bool]:
    """Let machines start what is in the image `iso`; return its key, and whether that is something new.

    `arguments` are those of the kernel where nothing is known of a machine.
    Raises NotBootMediumImage, NotSigning, CommandFailed, CommandMissing, StoreUnusable, OSError.
    """
    # One publication at a time: the end of one removes what it does not know.
    with BlobStore(state.netboot).held(alone=True):
        key, listed = _take(state.netboot, iso, run)
        with state.database.write() as session:
            former = published(session)
            # Machines that are starting the one before are not stopped half way.
            stay = {key, former}
            signing = Signing(state.metadata, session, state.master)
            known = {name for name in signing.targets().targets if name.startswith(MEDIUM_TARGETS)}
            signing.vouch(MEDIUM_TARGETS + key, listed, known - {MEDIUM_TARGETS + each for each in stay})
            session.merge(Setting(key=PUBLISHED, value=key))
            session.merge(Setting(key=ARGUMENTS, value=arguments))
        if former != key:
            for other in state.netboot.iterdir():
                if other.name not in stay:
                    shutil.rmtree(other)
    return key, former != key


def _take(folder: Path, iso: Path, run: Runner) -> tuple[str, bytes]:
    """Make the folder of this medium unless it is there; return its key, and the list of its layers."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as name:
        work = Path(name)
        medium = extract(iso, work / "medium", run)
        layers = sorted(medium.glob("*.squashfs"))
        listed = "".join(f"{_digest(layer)}  {layer.name}\n" for layer in layers).encode()
        parts = "".join(f"{_digest(medium / file)}\n" for file in (KERNEL, RAMDISK)).encode()
        key = sha256(parts + listed)[:_KEY_CHARACTERS]
        if not (folder / key).is_dir():
            _add_to_ramdisk(medium / RAMDISK, work / "tree", layers, listed, run)
            (medium / LAYERS_FILE).write_bytes(listed)
            _keep(medium, folder / key)
    return key, listed


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def published(session: Session) -> str:
    """Return the key of what machines start now, "" if nothing was published."""
    found = session.get(Setting, PUBLISHED)
    return found.value if found else ""


def arguments_for(session: Session, mac: str) -> str:
    """Return the kernel arguments for the machine with that MAC address (with colons).

    They are its node's, if just one node has told that it has this address, else those for all.
    """
    told = cast(Node.inventory, String).contains(mac, autoescape=True)
    rows = session.execute(select(Node.kernel_arguments, Node.inventory).where(told))
    found = [arguments for arguments, inventory in rows if mac.lower() in _addresses(inventory)]
    if len(found) == 1:
        return str(found[0])
    general = session.get(Setting, ARGUMENTS)
    return general.value if general else ""


def _addresses(inventory: object) -> set[str]:
    """Return the MAC addresses in what a node told, which may have any form."""
    nics = inventory.get("nics") if isinstance(inventory, dict) else None
    rows = nics if isinstance(nics, list) else []
    return {str(row.get("mac")).lower() for row in rows if isinstance(row, dict)}


def extract(iso: Path, medium: Path, run: Runner) -> Path:
    """Copy kernel, ramdisk and layers out of a boot medium's image into the new folder `medium`; return it.

    Raises NotBootMediumImage, CommandMissing, OSError.
    """
    words: list[str | Path] = ["-osirrox", "on", "-indev", iso, "-extract", "/live", medium]
    try:
        run(["xorriso", *words], timeout=_SECONDS)
    except CommandFailed:
        # It takes any file for an empty image.
        raise NotBootMediumImage(f"{iso} has no folder live") from None
    # As on the medium, nobody may write.
    medium.chmod(0o755)
    for file in medium.iterdir():
        file.chmod(0o644)
    if not all((medium / file).is_file() for file in (KERNEL, RAMDISK)):
        raise NotBootMediumImage(f"{iso} has no {KERNEL} or {RAMDISK}")
    return medium


def _add_to_ramdisk(ramdisk: Path, tree: Path, layers: Iterable[Path], listed: bytes, run: Runner) -> None:
    """Put the list, drivers and all that they need behind the initial ramdisk."""
    for layer in layers:
        run(["unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-dest", tree, layer, _MODULES])
        if (tree / _MODULES).is_dir():
            break
    else:
        raise NotBootMediumImage("none of its layers has kernel modules")
    (tree / "conf").mkdir()
    (tree / "conf" / LAYERS_FILE).write_bytes(listed)
    wanted = [tree / "conf" / LAYERS_FILE]
    for version in (tree / _MODULES).iterdir():
        wanted += [version / name for name in _with_needed((version / "modules.dep").read_text())]
        # They tell udev which driver is whose, and know all of the system's, most of which are not there yet.
        wanted += [file for file in version.glob("modules.*") if file.suffix not in _FOR_PEOPLE]
    append(ramdisk, tree, wanted, run)


def _with_needed(dependencies: str) -> set[str]:
    """Return the drivers of network cards and what they need, from the text of modules.dep."""
    needs = {
        name: rest.split() for name, _, rest in (line.partition(":") for line in dependencies.split("\n"))
    }
    # The file names all that a module needs, also indirectly.
    return {each for name in needs if _NETWORK_CARDS.fullmatch(name) for each in (name, *needs[name])}


def _keep(medium: Path, folder: Path) -> None:
    """Give the folder its name when all of it is on the disk."""
    for file in medium.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    sync_folder(medium)
    medium.rename(folder)
    sync_folder(folder.parent)
