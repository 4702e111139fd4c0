"""A tar archive as the source of an image, plain or compressed.

A compressed one is decompressed once, into a temporary file without a name in TMPDIR, so that its members can
be read in any order. Nothing is unpacked: what it says is put together in memory, as `tar -x` would on a
disk, only that what tar would warn of, or do outside the tree, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from images.entries import Kind
from images.sources import acl
from images.sources.attributes import chosen
from images.sources.base import Member
from images.sources.compression import (
    LIMIT_BYTES,
    READ_BYTES,
    Compression,
    compression_of,
    decompress,
    read_pieces,
    spool,
)
from images.sources.headers import Header, read_headers, with_acl_mode
from images.sources.nodes import Node, NoFolder, Tree, refusal, split

# Larger than any that people keep by hand.
_MAXIMUM_ACCOUNTS_BYTES = 16 * 1024 * 1024


class TarSource:
    """A plain tar archive in an open file; `where` is for messages. Later members win over earlier ones."""

    def __init__(self, file: BinaryIO, where: object) -> None:
        self._file = file
        self._where = where
        self._tree: Tree | None = None

    def members(self) -> Iterator[Member]:
        """Yield the tree; folders that the archive does not name are made up: root's, 0755, of 1970.

        Raises NotAnImage, OSError.
        """
        tree = self._read()
        for path, node in tree.walk():
            if node.kind is Kind.HARD:
                target = node.member.entry.target
                raise refusal(self._where, path, f"a hard link to {target!r}, which does not come before it")
        yield from tree.members()

    def layer(self) -> Iterator[Member]:
        """Yield only what the archive names, to be laid over other layers.

        A hard link may lead to a file of those. Raises NotAnImage, OSError.
        """
        return self._read().members(made_up=False)

    def find(self, path: str) -> Member | None:
        """Return the member of that name, or that a link of that name leads to, else None.

        Raises NotAnImage, OSError, and ValueError for a name that no member can have.
        """
        node = self._read().resolve(split(path))
        return node.member if node else None

    def _read(self) -> Tree:
        if self._tree is None:
            self._tree = self._build()
        return self._tree

    def _build(self) -> Tree:
        tree = Tree(self._where)
        with_acls = []
        for header in read_headers(self._file, self._where):
            try:
                node = self._put(tree, header)
            except (NoFolder, ValueError) as error:
                raise refusal(self._where, header.entry.path, error) from None
            if header.acls:
                with_acls.append((node, header))
        numbers = _Accounts(tree)
        for node, header in with_acls:
            try:
                _add_acls(node, header, numbers)
            except ValueError as error:
                raise refusal(self._where, header.entry.path, error) from None
        return tree

    def _put(self, tree: Tree, header: Header) -> Node:
        entry = header.entry
        member = Member(entry)
        if entry.kind is Kind.FILE:
            length = sum(length for _, length in entry.data)
            member = Member(entry, partial(self._data, header.data_offset, length, entry.path))
        parts = split(entry.path)
        old = tree.find(parts)
        if old is not None and old.kind is Kind.FOLDER:
            if entry.kind is Kind.FOLDER:
                old.member, old.made_up = member, False
                return old
            if old.children:
                raise ValueError("it is in the place of a folder that is not empty")
        node = Node(member)
        if entry.kind is Kind.HARD:
            target = tree.find(split(entry.target))
            if target is not None and target.kind is Kind.FOLDER:
                raise ValueError(f"a hard link to {entry.target!r}, which is a folder")
            node = target or node
        return tree.add(tree.folder(parts[:-1], make=True), parts[-1], node)

    def _data(self, offset: int, length: int, path: str) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            data = os.pread(self._file.fileno(), min(READ_BYTES, end - offset), offset)
            if not data:
                raise refusal(self._where, path, "the archive became shorter while it was read")
            offset += len(data)
            yield data


class ArchiveSource(TarSource):
    """A tar archive at `path`, to be used as a context manager.

    Compressed by gzip, bzip2, xz or zstd it is refused if it has more than `limit_bytes` decompressed.
    Raises NotAnImage, OSError.
    """

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        with ExitStack() as stack:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            compression = compression_of(os.pread(file.fileno(), 16, 0))
            if compression is not Compression.NONE:
                pieces = decompress(read_pieces(file), compression, path)
                file = stack.enter_context(spool(pieces, path, limit_bytes))
            super().__init__(file, path)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Accounts:
    """The numbers of users and groups whose names an archive's ACLs have, by the archive's own files."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[str, dict[str, int]] = {}

    def __call__(self, what: str, name: str) -> int | None:
        if what not in self._known:
            self._known[what] = self._load({"user": "passwd", "group": "group"}[what])
        return self._known[what].get(name)

    def _load(self, file: str) -> dict[str, int]:
        node = self._tree.resolve(("etc", file))
        if node is None or node.kind is not Kind.FILE or node.member.entry.size > _MAXIMUM_ACCOUNTS_BYTES:
            return {}
        text = b"".join(node.member.read()).decode("utf-8", "surrogateescape")
        lines = [line.split(":") for line in text.splitlines()]
        return {words[0]: int(words[2]) for words in lines if len(words) > 2 and words[2].isdigit()}


def _add_acls(node: Node, header: Header, numbers: acl.Numbers) -> None:
    entry = header.entry
    found = dict(entry.xattrs)
    for name, text in header.acls:
        # Who archives both the text and the attribute itself means the same: tar --acls --xattrs.
        if name not in found:
            found[name] = acl.from_text(text, numbers)
    if node.member.entry is entry:
        described = with_acl_mode(replace(entry, xattrs=chosen(found, entry.kind)))
        node.member = Member(described, node.member.read)
