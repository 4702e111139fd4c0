"""Distribution layers: trees of Debian 13 packages, made by mmdebstrap and packed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import aptsources
import pylayer
import store
from store import BUILD, ROOT, run

RECIPES = ROOT / "build"
PACKAGE_CACHE = BUILD / "apt-cache"
MKSQUASHFS = [
    "-comp",
    "zstd",
    "-Xcompression-level",
    "15",
    "-b",
    "256K",
    "-noappend",
    "-quiet",
    "-no-progress",
]
# Never on a node: documentation, translations, and drivers for what a machine in a rack does not do.
EXCLUDED = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/i18n/locales/*",
    "/usr/share/zsh/*",
    *(
        f"/usr/lib/modules/*/kernel/{folder}/*"
        for folder in ("sound", "drivers/media", "drivers/gpu/drm/amd", "drivers/gpu/drm/i915")
    ),
    *(
        f"/usr/lib/modules/*/kernel/drivers/gpu/drm/{folder}/*"
        for folder in ("nouveau", "radeon", "xe", "gma500", "vmwgfx")
    ),
]

# What lies in the medium's /boot, by the names that it has beside the medium's squashfs.
BOOT_FILES = {
    "vmlinuz": "vmlinuz-*",
    "initrd": "initrd.img-*",
    "shimx64.efi": "shimx64.efi",
    "grubx64.efi": "grubx64.efi",
}


class Distribution:
    """One recipe: a package list and a script that finishes the tree, turned into files by `pack`."""

    def __init__(
        self, name: str, files: list[str], pairs: list[tuple[str, str]], firmware: Sequence[str] = ()
    ) -> None:
        """`firmware` are packages besides the recipe's, of Debian's main or non-free-firmware."""
        self.name = name
        self.files = files
        self.pairs = pairs
        self.firmware = firmware
        self.folder = RECIPES / name

    def key(self) -> str:
        """Changes with the recipe, with how it is run and packed, and with the package sources.

        It does not change with the project's code, nor with how the lines of this file are written.
        """
        bootstrap = shlex.join(self._bootstrap(Path("tree"), Path("sources"))).replace(str(ROOT), "")
        packing = self._pack_squashfs if self.squashfs else self._pack_tarball
        return store.content_key(
            [self.folder, RECIPES / "common.sh"],
            bootstrap,
            repr(self.pairs),
            shlex.join(packing(Path("tree"), Path("out"), "0")),
        )

    @property
    def squashfs(self) -> bool:
        """Whether it is for the boot medium rather than for a node."""
        return self.name == "medium"

    def obtain(self) -> Path:
        """The folder with the recipe's files."""
        return store.obtain(self.name, self.key(), self.files, self._make)

    def _packages(self) -> list[str]:
        return [*listed(self.folder / "packages.txt"), *self.firmware]

    def _bootstrap(self, tree: Path, sources: Path) -> list[str]:
        script, folder = _quoted(RECIPES / "common.sh"), _quoted(self.folder)
        return [
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--variant=essential",
            "--architectures=amd64",
            f"--include={','.join(self._packages())}",
            *(f"--aptopt={option}" for option in aptsources.apt_options()),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
            *_cache_hooks(),
            f'--essential-hook={script} prepare {folder} "$1"',
            f'--customize-hook={script} finish {folder} "$1"',
            aptsources.SUITE,
            str(tree),
            str(sources),
        ]

    def _pack_squashfs(self, tree: Path, target: Path, _epoch: str) -> list[str]:
        # Kernel and initial ramdisk lie beside it on the medium, where GRUB and QEMU read them.
        return squashfs(tree, target, "-wildcards", "-e", "boot/*", "vmlinuz*", "dev/*")

    def _pack_tarball(self, tree: Path, target: Path, epoch: str) -> list[str]:
        return tarball(tree, target, epoch)

    def _make(self, work: Path, out: Path) -> None:
        components = ["main", *([aptsources.FIRMWARE] if self.firmware else [])]
        text, epoch = aptsources.probe(self.pairs, components, work)
        sources = work / "sources.list"
        sources.write_text(text, "utf-8")
        PACKAGE_CACHE.mkdir(parents=True, exist_ok=True)
        tree = work / "tree"
        # INITRD=No: the medium's initial ramdisk is made once at the end, a node's is made on the node.
        environment = {"SOURCE_DATE_EPOCH": str(epoch), "INITRD": "No", "TMPDIR": str(work)}
        run(self._bootstrap(tree, sources), root=True, env=environment)
        self._add_wheels(work, tree)
        if self.squashfs:
            for file, pattern in BOOT_FILES.items():
                (found,) = (tree / "boot").glob(pattern)
                run(["cp", str(found), str(out / file)], root=True)
        packing = self._pack_squashfs if self.squashfs else self._pack_tarball
        run(packing(tree, out / self.files[0], str(epoch)), root=True, env=environment)
        run(["chown", "-R", f"{os.getuid()}:{os.getgid()}", str(out)], root=True)

    def _add_wheels(self, work: Path, tree: Path) -> None:
        if not (self.folder / "wheels.txt").exists():
            return
        layer = work / "wheels"
        requirement = ["--require-hashes", "--requirement", str(self.folder / "wheels.txt")]
        for wheel in pylayer.build_wheels(requirement, work / "built"):
            pylayer.install_wheel(wheel, layer)
        pylayer.compile_for(tree, layer)
        run(["cp", "-a", "--no-preserve=ownership", f"{layer}/.", str(tree)], root=True)


def _cache_hooks() -> list[str]:
    """Hard links between one package cache and the tree's: nothing is downloaded twice, nothing copied."""
    cache, archives = _quoted(PACKAGE_CACHE), '"$1"/var/cache/apt/archives'
    fill = f'mkdir -p {archives}; find {cache} -name "*.deb" -exec ln -t {archives} {{}} +'
    keep = f'find {archives} -maxdepth 1 -name "*.deb" -exec cp -nl -t {cache} {{}} +'
    return [
        "--skip=download/empty,essential/unlink",
        f"--setup-hook={fill}",
        f"--extract-hook={keep}",
        f"--customize-hook={keep}",
    ]


def listed(path: Path) -> list[str]:
    """The packages that a list names, one a line; lines that begin with # are comments."""
    lines = path.read_text("utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def squashfs(tree: Path, target: Path, *more: str) -> list[str]:
    """The command that packs a tree for the boot medium."""
    return ["mksquashfs", str(tree), str(target), *MKSQUASHFS, *more]


def tarball(tree: Path, target: Path, epoch: str) -> list[str]:
    """The command that packs a tree for a node.

    Names are sorted, owners are numbers, no date is after `epoch` (Unix seconds): equal trees, equal bytes.
    """
    pack = [
        "tar",
        "--create",
        "--directory",
        str(tree),
        "--sort=name",
        "--numeric-owner",
        "--xattrs",
        "--acls",
    ]
    pack += [f"--mtime=@{epoch}", "--clamp-mtime", "--format=posix", "--exclude=./dev/*"]
    pack += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "."]
    return ["bash", "-o", "pipefail", "-c", f"{shlex.join(pack)} | zstd -q -9 -T0 -o {_quoted(target)}"]
