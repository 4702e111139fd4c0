"""Several sources laid over one another, the later on top of the earlier.

What is laid down goes where links that are there already lead, as it would on a disk; they lead within the
tree only (nodes.py). There are two ways to read a folder in the place of a link to one:

- of a file system that is made of parts, it is that folder: `lib/` over `lib -> usr/lib` keeps the link, and
  lib/x goes to usr/lib/x, as `tar --keep-directory-symlink` does. The folder that the link leads to keeps its
  mode and owner;
- of an OCI image, it replaces the link, because a layer is what has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

from images.entries import Kind
from images.sources.base import Member, Source
from images.sources.nodes import Node, NoFolder, Tree, refusal, split

# The names by which a layer removes what is below it: the OCI image format's layer.md, "Whiteouts".
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# aufs' own books, which old layers may hold.
_RESERVED = ".wh..wh."


@runtime_checkable
class Layer(Protocol):
    """A source that can say what it names itself, without folders that it had to make up."""

    def layer(self) -> Iterator[Member]:
        """Yield everything that is named. A hard link may lead to a file of an earlier layer.

        Raises NotAnImage, OSError.
        """


class LayeredSource:
    """`sources` over one another, bottom first; with `whiteouts` by the rules of OCI's layers."""

    def __init__(self, sources: Sequence[Source | Layer], *, whiteouts: bool = False) -> None:
        self._sources = sources
        self._whiteouts = whiteouts

    def members(self) -> Iterator[Member]:
        """Yield the tree that results. Raises NotAnImage with the member that cannot be laid, OSError."""
        tree = Tree("the layers")
        for source in self._sources:
            _Lay(tree, self._whiteouts).all(source.layer() if isinstance(source, Layer) else source.members())
        return tree.members()


class _Lay:
    """Lays one source over a tree."""

    def __init__(self, tree: Tree, whiteouts: bool) -> None:
        self._tree = tree
        self._whiteouts = whiteouts

    def all(self, members: Iterator[Member]) -> None:
        # Folders come before what is in them, and links after the files that they lead to.
        ordered = sorted(
            ((split(member.entry.path), member) for member in members),
            key=lambda both: (both[1].entry.kind is Kind.HARD, both[0]),
        )
        if self._whiteouts:
            ordered = self._remove(ordered)
        for parts, member in ordered:
            try:
                self._put(parts, member)
            except NoFolder as error:
                raise refusal(self._tree.where, member.entry.path, error) from None

    def _remove(self, ordered: list[tuple[tuple[str, ...], Member]]) -> list[tuple[tuple[str, ...], Member]]:
        """Remove what the layer says, all of it before anything of the layer itself is there."""
        kept = []
        for parts, member in ordered:
            marks = [part for part in parts if part.startswith(_WHITEOUT)]
            if not marks:
                kept.append((parts, member))
            elif parts[-1] == _OPAQUE:
                self._hide(parts[:-1])
            elif not marks[0].startswith(_RESERVED):
                name = parts[-1].removeprefix(_WHITEOUT)
                if len(marks) > 1 or name in ("", ".", "..") or not parts[-1].startswith(_WHITEOUT):
                    raise refusal(self._tree.where, member.entry.path, "no name of something to remove")
                with suppress(NoFolder):
                    self._tree.folder(parts[:-1], follow=True).children.pop(name, None)
        return kept

    def _hide(self, parts: Sequence[str]) -> None:
        with suppress(NoFolder):
            self._tree.folder(parts, follow=True).children.clear()

    def _put(self, parts: Sequence[str], member: Member) -> None:
        kind = member.entry.kind
        if not parts:
            self._tree.root.member, self._tree.root.made_up = member, False
            return
        folder = self._tree.folder(parts[:-1], follow=True, make=True)
        old = folder.children.get(parts[-1])
        if kind is Kind.FOLDER and old is not None:
            if old.kind is Kind.FOLDER:
                old.member, old.made_up = member, False
                return
            if not self._whiteouts and self._leads_to_folder(parts):
                return
        node = self._linked(member) if kind is Kind.HARD else Node(member)
        self._tree.add(folder, parts[-1], node)

    def _leads_to_folder(self, parts: Sequence[str]) -> bool:
        try:
            self._tree.folder(parts, follow=True)
        except NoFolder:
            return False
        return True

    def _linked(self, member: Member) -> Node:
        entry = member.entry
        node = self._tree.find(split(entry.target), follow=True)
        if node is None or node.kind is Kind.FOLDER:
            raise refusal(self._tree.where, entry.path, f"a hard link to {entry.target!r}, which is no file")
        return node
