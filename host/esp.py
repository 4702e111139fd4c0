"""The EFI system partition: by it UEFI firmware starts the installed system, with Secure Boot on or off.

The loaders are the image's, signed: the firmware knows shim, and shim Debian's GRUB and kernel. They lie
where firmware looks on every disk (UEFI specification, 3.5.1.1), so no entry in its memory is needed and a
reset of it does no harm. A running node mounts nothing of this. vfat has no journal, so what is not as it
shall be is made anew, and the loader that the firmware looks for is written last.
"""

from __future__ import annotations

from pathlib import Path

from host.files import read_regular, write_atomic
from host.mark import NotInstalled
from host.mounts import mounted
from host.run import CommandFailed, Runner
from host.storage import ESP_NUMBER, PartitionType
from host.target import partition_of_root
from wire.errors import VerificationError

ESP_LABEL = "BM-EFI"
# Where Debian's signed GRUB looks, from wherever it was started: compiled into it.
_MENU = Path("EFI/debian/grub.cfg")
_GO_ON = """# Written by bootmanager.
search --no-floppy --fs-uuid {boot} --set=root
configfile ($root)/grub/grub.cfg
"""
# Here and in the image (shim-signed, grub-efi-amd64-signed); shim starts the file of that name beside it.
_LOADERS = {
    Path("EFI/BOOT/grubx64.efi"): Path("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    Path("EFI/BOOT/BOOTX64.EFI"): Path("usr/lib/shim/shimx64.efi.signed"),
}
_LOADER_BYTES = 16 * 1024 * 1024


class NoSignedLoader(VerificationError):
    """The image lacks what UEFI firmware starts it by."""

    code = "no-signed-loader"
    title = "The image has no signed boot loader for UEFI"
    hint = "Publish a base image with the files of Debian's shim-signed and grub-efi-amd64-signed."


def esp_of_root(run: Runner) -> str:
    """Return the node of the EFI system partition on the disk that the root volume lies on.

    Found by the claim and the type in that disk's table, since it may be made anew. Raises NotInstalled.
    """
    found = partition_of_root(run, ESP_NUMBER, PartitionType.EFI_SYSTEM)
    if found is None:
        raise NotInstalled("the disk of the root volume has no EFI system partition")
    return found


def make_esp(run: Runner, device: str, root: Path, boot: str) -> None:
    """Make the EFI system partition anew, durably, with the loaders of the image in the tree `root`.

    They go on with the menu in the file system whose UUID is `boot`.

    Raises NoSignedLoader, CommandFailed, OSError.
    """
    wanted = _wanted(root, boot)
    run(["mkfs.vfat", "-F", "32", "-n", ESP_LABEL, device])
    with mounted(run, device, fstype="vfat") as folder:
        for path, content in wanted.items():
            write_atomic(folder / path, content)


def is_whole(run: Runner, device: str, root: Path, boot: str) -> bool:
    """Say whether all is there as make_esp() leaves it; changes nothing. Raises NoSignedLoader."""
    wanted = _wanted(root, boot)
    try:
        with mounted(run, device, fstype="vfat", options=("ro",)) as folder:
            return all(_read(folder / path) == content for path, content in wanted.items())
    except CommandFailed:
        return False


def _wanted(root: Path, boot: str) -> dict[Path, bytes]:
    wanted = {_MENU: _GO_ON.format(boot=boot).encode()}
    for path, source in _LOADERS.items():
        content = _read(root / source)
        if not content:
            raise NoSignedLoader(f"/{source} is missing or empty")
        wanted[path] = content
    return wanted


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LOADER_BYTES)
    except OSError:
        return b""
