"""A tree that is put together in memory out of what archives say, before anybody believes it.

Nothing here touches a disk: a link leads from node to node, and so nowhere but into the tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from images.entries import Entry, Kind
from images.sources.base import Member, NotAnImage

# NAME_MAX, and PATH_MAX without the NUL that Linux counts too.
MAXIMUM_NAME_BYTES = 255
MAXIMUM_PATH_BYTES = 4095
# Times in nanoseconds that ext4 holds in inodes of 256 bytes (EXT4_TIMESTAMP_MIN, EXT4_EXTRA_TIMESTAMP_MAX of
# Linux's fs/ext4/ext4.h). Others it changes without a word, and the tree would never be as the image says.
TIMES_NS = range(-(2**31) * 10**9, (2**34 - 2**31) * 10**9)
# An archive of few bytes can ask for very many folders. A large distribution has half a million files.
MAXIMUM_NODES = 4_000_000
# As many links as Linux follows for one path.
_MAXIMUM_LINKS = 40

_MADE_UP = Member(Entry("", Kind.FOLDER, 0o755, 0, 0, 0))


class NoFolder(Exception):
    """A way into the tree leads nowhere; the text says why."""


def split(path: str) -> tuple[str, ...]:
    """Return a path's parts, without leading slashes and `.`.

    Raises ValueError for what no tree may hold: `..`, NUL, names and paths longer than Linux takes.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ValueError("a name with ..")
    if "\0" in path:
        raise ValueError("a name with NUL")
    if any(len(os.fsencode(part)) > MAXIMUM_NAME_BYTES for part in parts):
        raise ValueError(f"a name of more than {MAXIMUM_NAME_BYTES} bytes")
    if len(os.fsencode("/".join(parts))) > MAXIMUM_PATH_BYTES:
        raise ValueError(f"a path of more than {MAXIMUM_PATH_BYTES} bytes")
    return parts


def refusal(where: object, name: str, reason: object) -> NotAnImage:
    """Return the error that says what is wrong with which member of what source."""
    return NotAnImage(f"{where}: {name!r}: {reason}")


@dataclass(slots=True, eq=False)
class Node:
    """A thing in the tree. Hard links are several names of one node. The path in its entry means nothing.

    An image links files only: of other things each name becomes a thing of its own.

    A folder that is `made_up` was named by nobody, only something in it was.
    """

    member: Member
    children: dict[str, Node] = field(default_factory=dict)
    made_up: bool = False

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.member.entry.kind


class Tree:
    """Nodes below a root, which is made up until somebody names it. `where` is for messages."""

    def __init__(self, where: object) -> None:
        self.where = where
        self.root = Node(_MADE_UP, made_up=True)
        self._count = 0

    def folder(self, parts: Sequence[str], *, follow: bool = False, make: bool = False) -> Node:
        """Return the folder at the end of a way, with `follow` through links, with `make` making it up.

        Raises NoFolder.
        """
        way, links = [self.root], 0
        pending = list(reversed(parts))
        while pending:
            part = pending.pop()
            if part == "..":
                # Only from a link: what is above the root is the root.
                del way[max(1, len(way) - 1) :]
                continue
            node = way[-1].children.get(part)
            if node is None:
                if not make:
                    raise NoFolder(f"{part!r} is missing")
                node = self.add(way[-1], part, Node(_MADE_UP, made_up=True))
            if node.kind is Kind.FOLDER:
                way.append(node)
            elif node.kind is Kind.LINK and follow:
                links += 1
                target = node.member.entry.target
                if links > _MAXIMUM_LINKS:
                    raise NoFolder(f"{part!r} is a link that leads on to too many others")
                if target.startswith("/"):
                    del way[1:]
                pending.extend(word for word in reversed(target.split("/")) if word not in ("", "."))
            else:
                raise NoFolder(f"{part!r} is not a folder")
        return way[-1]

    def find(self, parts: Sequence[str], *, follow: bool = False) -> Node | None:
        """Return what is there, or None; `follow` is about the way, not about the last part."""
        if not parts:
            return self.root
        try:
            return self.folder(parts[:-1], follow=follow).children.get(parts[-1])
        except NoFolder:
            return None

    def resolve(self, parts: Sequence[str]) -> Node | None:
        """Return what is at the end of a way with all links followed, or None."""
        for _ in range(_MAXIMUM_LINKS):
            node = self.find(parts, follow=True)
            if node is None or node.kind is not Kind.LINK:
                return node
            target = node.member.entry.target
            words = [word for word in target.split("/") if word not in ("", ".")]
            parts = words if target.startswith("/") else [*parts[:-1], *words]
        return None

    def add(self, folder: Node, name: str, node: Node) -> Node:
        """Put the node there in place of what was. Raises NotAnImage if the tree becomes too large."""
        self._count += name not in folder.children
        if self._count > MAXIMUM_NODES:
            raise NotAnImage(f"{self.where}: more than {MAXIMUM_NODES} files and folders")
        folder.children[name] = node
        return node

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Yield every node with its path: folders before what is in them, by name."""
        pending = [("", self.root)]
        while pending:
            path, node = pending.pop()
            yield path, node
            prefix = f"{path}/" if path else ""
            pending.extend(
                (prefix + name, node.children[name]) for name in sorted(node.children, reverse=True)
            )

    def members(self, *, made_up: bool = True) -> Iterator[Member]:
        """Yield the members in the order of walk(), of a file's several names the first as the file."""
        first: dict[int, str] = {}
        for path, node in self.walk():
            if node.made_up and not made_up:
                continue
            entry = node.member.entry
            if node.kind is Kind.FILE and (target := first.setdefault(id(node), path)) != path:
                yield Member(hard_link(entry, path, target))
            else:
                yield Member(replace(entry, path=path), node.member.read)


def hard_link(entry: Entry, path: str, target: str) -> Entry:
    """Return the entry of another name for the file that is at `target`."""
    return Entry(path, Kind.HARD, entry.mode, entry.uid, entry.gid, entry.mtime_ns, target=target)
