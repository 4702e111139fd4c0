#!/usr/bin/env python3
"""Build the boot medium, the base filesystem and the sliver image; see docs/recipes.md."""

from __future__ import annotations

import argparse
import configparser
import json
import os
import shutil
import sys
import time
from pathlib import Path

import aptsources
import pylayer
import store
import texts
from distribution import BOOT_FILES, RECIPES, Distribution, listed, squashfs, tarball
from guest import obtain_guest
from store import ROOT, run

# What the boot medium may take, in bytes, unless a site puts firmware of its own choice there.
LIMIT = 200_000_000


def project_sources() -> list[Path]:
    """What the project layer is made from: the packages setup.cfg lists, and their metadata."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    packages = [
        line for line in setup["options"]["packages"].split("\n") if line and not line.startswith("#")
    ]
    folders = sorted({package.split(".")[0] for package in packages})
    return [ROOT / name for name in ("setup.cfg", "pyproject.toml", *folders)]


def obtain_project(medium: Path, catalogue: bytes) -> Path:
    """The project's code as a layer over the medium and as one over the base filesystem.

    :param catalogue: the translation of what people read at the machine, for the medium; b"" for none
    """
    files = ["project.squashfs", "project.tar.zst"]
    recipe = [RECIPES / name for name in ("project", "images.py", "distribution.py", "pylayer.py")]
    translated = [catalogue.hex()] if catalogue else []
    key = store.content_key([*project_sources(), *recipe], medium.name, *translated)

    def make(work: Path, out: Path) -> None:
        # What an earlier setuptools run left would be packed again, deleted modules too.
        shutil.rmtree(ROOT / ".build" / "setuptools", ignore_errors=True)
        code = work / "code"
        for wheel in pylayer.build_wheels([str(ROOT)], work / "built"):
            pylayer.install_wheel(wheel, code)
        pylayer.compile_for(medium / "distribution.squashfs", code)
        # A fixed date, since its content names the layer; the byte code does not look at dates.
        epoch = "1735689600"
        for system in ("medium", "node"):
            layer = work / system
            run(["cp", "-a", str(code), str(layer)])
            run(["cp", "-a", f"{RECIPES / 'project' / system}/.", str(layer)])
            if catalogue and system == "medium":
                (layer / texts.TARGET).parent.mkdir(parents=True, exist_ok=True)
                (layer / texts.TARGET).write_bytes(catalogue)
            run(["chown", "-R", "0:0", str(layer)], root=True)
        times = ["-all-time", epoch, "-mkfs-time", epoch]
        run(squashfs(work / "medium", out / files[0], *times), root=True)
        run(tarball(work / "node", out / files[1], epoch), root=True)
        run(["chown", "-R", f"{os.getuid()}:{os.getgid()}", str(out)], root=True)

    return store.obtain("project", key, files, make)


def make_esp(medium: Path, target: Path) -> None:
    """The boot medium's EFI system partition: what UEFI starts GRUB by, with or without Secure Boot."""
    files = {
        "::/EFI/BOOT/BOOTX64.EFI": medium / "shimx64.efi",
        "::/EFI/BOOT/grubx64.efi": medium / "grubx64.efi",
        "::/boot/grub/grub.cfg": RECIPES / "iso" / "esp.cfg",
    }
    # In sectors of 512 bytes, with room for the file system itself.
    sectors = sum(path.stat().st_size for path in files.values()) // 512 + 1024
    run(["mformat", "-C", "-i", str(target), "-T", str(sectors), "-v", "BMEFI", "::"])
    run(["mmd", "-i", str(target), "::/EFI", "::/EFI/BOOT", "::/boot", "::/boot/grub"])
    for name, path in files.items():
        run(["mcopy", "-i", str(target), str(path), name])


def obtain_iso(medium: Path, project: Path) -> Path:
    """The boot medium: one image for USB sticks and CDs, BIOS and UEFI."""
    recipe = [RECIPES / "iso", RECIPES / "images.py"]
    key = store.content_key(recipe, medium.name, project.name)

    def make(work: Path, out: Path) -> None:
        esp = work / "esp.img"
        make_esp(medium, esp)
        # By this a node knows which of two media is newer. It is in no key: what is kept is not made anew.
        told = work / "medium.json"
        told.write_text(json.dumps({"made": int(time.time()), "of": key}) + "\n", "utf-8")
        content = {
            "live/medium.json": told,
            "live/vmlinuz": medium / "vmlinuz",
            "live/initrd": medium / "initrd",
            "live/10-distribution.squashfs": medium / "distribution.squashfs",
            "live/20-project.squashfs": project / "project.squashfs",
            "boot/grub/grub.cfg": RECIPES / "iso" / "grub.cfg",
        }
        grafts = [f"{name}={path}" for name, path in content.items()]
        run(
            [
                "grub-mkrescue",
                "--directory=/usr/lib/grub/i386-pc",
                "--locales=",
                "--fonts=",
                "--themes=",
                "--compress=xz",
                f"--output={out / 'boot.iso'}",
                *grafts,
                # A partition of a stick, and the UEFI's boot image of a CD. BIOS machines know nothing of it.
                *["-append_partition", "2", "0xef", str(esp)],
                *["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"],
                "--",
                "-volid",
                "BMBOOT",
            ]
        )

    return store.obtain("iso", key, ["boot.iso"], make)


def main() -> int:
    """Build what is asked for and missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", metavar="URI", help="Debian archive to build from, not this machine's")
    parser.add_argument(
        "--only", choices=["medium", "base", "sliver"], help="build one distribution layer and stop"
    )
    parser.add_argument(
        "--firmware",
        type=Path,
        metavar="FILE",
        help="list of further firmware packages, for medium and nodes",
    )
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="translation (.po) of what people read at a machine"
    )
    options = parser.parse_args()
    try:
        pairs = aptsources.candidates(options.mirror)
        firmware = listed(options.firmware) if options.firmware else []
        catalogue = texts.compiled(options.texts) if options.texts else b""
        distributions = {
            "medium": Distribution("medium", ["distribution.squashfs", *BOOT_FILES], pairs, firmware),
            "base": Distribution("base", ["base.tar.zst"], pairs, firmware),
            "sliver": Distribution("sliver", ["sliver.tar.zst"], pairs),
        }
        with store.lock():
            if options.only:
                distributions[options.only].obtain()
                return 0
            folders = {name: distribution.obtain() for name, distribution in distributions.items()}
            project = obtain_project(folders["medium"], catalogue)
            iso = obtain_iso(folders["medium"], project)
            size = (iso / "boot.iso").stat().st_size
            if size > LIMIT and not firmware:
                raise RuntimeError(
                    f"the boot medium has {size / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} are wanted"
                )
            guest = obtain_guest(folders["base"])
            store.write_index([*folders.values(), project, iso, guest])
    except (aptsources.SourcesError, store.CommandError, texts.TextsError, RuntimeError, OSError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
