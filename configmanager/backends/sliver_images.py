"""Image trees: each image unpacked once, by its digest, and shared by all slivers that were made from it.

Nothing writes to a tree once it is whole: it is the lower folder of overlays, mounted there read-only, or
what a service's files are copied from. It is unpacked beside and renamed, so a tree that has its name is
whole and on the disk.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from configmanager.backends.base import Node
from configmanager.backends.sliver_tree import SLIVERS, remove_folder
from host.files import sync_folder
from images.plan import OldTree
from wire.messages import ImageRef

IMAGES = SLIVERS / ".images"
_NEW = ".new-"
_GONE = ".gone-"
_SYNC_SECONDS = 600.0


class SliverImages:
    """The trees of images on this node, in `folder` below its root."""

    def __init__(self, node: Node, folder: Path = IMAGES) -> None:
        self._node = node
        self._folder = node.root / folder

    def tree(self, manifest: str) -> Path:
        """Where the image with that manifest's digest is, or would be."""
        return self._folder / manifest

    def all(self) -> set[str]:
        """Return the digests of the manifests whose images are there."""
        return {path.name for path in self._whole()} if self._folder.is_dir() else set()

    def obtain(self, ref: ImageRef) -> Path:
        """Return the image's tree, unpacking it if it is not there. Raises what Node.unpack does, OSError."""
        tree = self.tree(ref.manifest)
        if tree.is_dir():
            return tree
        self._folder.mkdir(parents=True, exist_ok=True)
        # Trees hold set-user-id programs that the node's own users must not reach.
        self._folder.parent.chmod(0o700)
        beside = self._folder / f"{_NEW}{ref.manifest}"
        remove_folder(self._node.run, beside)
        others = [OldTree(path, path.name) for path in self._whole()]
        beside.mkdir()
        try:
            self._node.unpack(ref, beside, others)
            self._node.run(["sync", "--file-system", self._folder], timeout=_SYNC_SECONDS)
        except BaseException:
            # A full disk shall not stay full for the sake of half an image.
            remove_folder(self._node.run, beside)
            raise
        beside.rename(tree)
        sync_folder(self._folder)
        return tree

    def collect(self, used: Collection[str]) -> None:
        """Remove the trees that nothing uses, and what is left of those that were never whole."""
        if not self._folder.is_dir():
            return
        for tree in self._whole():
            if tree.name not in used:
                # Renamed first, so that what is left of it after a power cut never looks whole.
                tree.rename(self._folder / f"{_GONE}{tree.name}")
        for path in list(self._folder.iterdir()):
            if path.name.startswith((_NEW, _GONE)):
                remove_folder(self._node.run, path)

    def _whole(self) -> list[Path]:
        return [path for path in sorted(self._folder.iterdir()) if not path.name.startswith(".")]
