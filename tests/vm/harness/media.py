"""Making disks and media: blank, layered, holding data, holding a key."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from wire.dongle import marked_start

MIB = 1024 * 1024


def run(*line: str | Path, input_bytes: bytes | None = None) -> bytes:
    """Run a tool of the harness; on failure its error output is in the exception."""
    words = [str(word) for word in line]
    environment = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(words, input=input_bytes, capture_output=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def blank(path: Path, mib: int) -> Path:
    """Make a blank raw disk of `mib` MiB that takes no room yet."""
    with path.open("wb") as image:
        image.truncate(mib * MIB)
    return path


def layered(path: Path, backing: Path, backing_format: str) -> Path:
    """Make a qcow2 disk on top of another image, which stays as it is."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing.resolve(), "-F", backing_format, path)
    return path


def ext4(path: Path, mib: int, label: str = "", tree: Path | None = None) -> Path:
    """Make a disk that holds one ext4 filesystem without partitions, filled from the folder `tree`."""
    blank(path, mib)
    extra: list[str | Path] = ["-d", tree] if tree else []
    run("mkfs.ext4", "-q", "-F", *(["-L", label] if label else []), *extra, path)
    return path


def vfat(path: Path, mib: int, label: str) -> Path:
    """Make a disk that holds one vfat filesystem without partitions."""
    blank(path, mib)
    run("mkfs.vfat", "-n", label, path)
    return path


def marked(path: Path, mib: int) -> Path:
    """Make a blank stick that is marked to become the cache dongle."""
    blank(path, mib)
    with path.open("r+b") as image:
        image.write(marked_start())
    return path


def key_medium(path: Path, text: str, label: str = "BMKEY") -> Path:
    """Make a key medium whose plnode.txt holds `text` (anything: also a malformed one)."""
    vfat(path, 4, label)
    run("mcopy", "-i", path, "-", "::plnode.txt", input_bytes=text.encode())
    return path


def remastered(path: Path, iso: Path, old: str, new: str) -> Path:
    """Make a boot medium whose menu says `new` where the original's says `old`; it boots as before."""
    menu = path.with_suffix(".cfg")
    run("osirrox", "-indev", iso, "-extract", "/boot/grub/grub.cfg", menu)
    text = menu.read_text()
    if old not in text:
        raise ValueError(f"the menu does not hold {old!r}")
    menu.chmod(0o644)
    menu.write_text(text.replace(old, new))
    run(
        "xorriso", "-indev", iso, "-outdev", path, "-boot_image", "any", "replay",
        "-map", menu, "/boot/grub/grub.cfg",
    )  # fmt: skip
    return path


def made_at(iso: Path) -> int:
    """Return when a boot medium says that it was made, in Unix seconds."""
    with tempfile.TemporaryDirectory() as name:
        told = Path(name) / "medium.json"
        run("osirrox", "-indev", iso, "-extract", "/live/medium.json", told)
        return int(json.loads(told.read_text())["made"])


def dated(path: Path, iso: Path, made: int, files: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """Make a boot medium that says that it was made then, with other `files` in place of those of live/."""
    files = {"medium.json": json.dumps({"made": made, "of": path.stem}).encode(), **files}
    folder = path.with_suffix(".live")
    folder.mkdir()
    words: list[str | Path] = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        words += ["-map", folder / name, f"/live/{name}"]
    run("xorriso", "-indev", iso, "-outdev", path, "-boot_image", "any", "replay", *words)
    return path


def without_cd_record(path: Path) -> Path:
    """Take from a boot medium what makes it one on a CD, so that a firmware finds its partitions only."""
    with path.open("r+b") as image:
        # The sector behind the primary volume descriptor says whose boot record it is (El Torito, figure 7).
        image.seek(17 * 2048 + 7)
        image.write(bytes(32))
    return path


def copy(source: Path, target: Path) -> Path:
    """Copy an image, keeping its holes."""
    run("cp", "--sparse=always", "--reflink=auto", source, target)
    return target


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of an image file, byte for byte."""
    with path.open("rb") as image:
        return hashlib.file_digest(image, "sha256").hexdigest()


def room_taken(path: Path) -> int:
    """Return how many bytes an image takes on this host."""
    return path.stat().st_blocks * 512


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links: for files that are replaced, never changed in place."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)
