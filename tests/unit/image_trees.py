"""Trees of entries made up in memory, as a source of images."""

import hashlib

from hypothesis import strategies as st

from images.entries import Entry, Kind
from images.manifest import Blob, ImageKind, Manifest, Piece, sha256
from images.sources.base import Member

ROOT = Entry("", Kind.FOLDER, 0o755, 0, 0, 0)


def manifest_of(name, content=b"1"):
    """A manifest whose only blob is `content`: for tests that do not look into it."""
    return Manifest(name, ImageKind.TREE, (Piece(Blob(sha256(content), len(content)), 10, ()),))


def folder(path, **more):
    return Entry(path, Kind.FOLDER, **{"mode": 0o755, "uid": 0, "gid": 0, "mtime_ns": 0, **more})


def file(path, content=b"", holes=(), **more):
    """A file and its data; `content` has zeros where the holes are."""
    digest = hashlib.sha256(content).hexdigest()
    values = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 0, **more}
    return Entry(path, Kind.FILE, size=len(content), sha256=digest, holes=tuple(holes), **values)


class Tree:
    """A source: entries in any order, and the contents of files by path."""

    def __init__(self, *entries, **contents):
        self.entries = list(entries)
        self.contents = contents

    def add(self, path, content=b"", **more):
        self.entries.append(file(path, content, **more))
        self.contents[path] = content
        return self

    def members(self):
        for entry in self.entries:
            data = self.contents.get(entry.path, b"")
            yield Member(entry, lambda entry=entry, data=data: (data[at : at + n] for at, n in entry.data))


_names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..") and len(name.encode(errors="surrogatepass")) < 200
)
_names = _names.map(lambda name: name.encode(errors="surrogatepass").decode(errors="surrogateescape"))
_xattrs = st.dictionaries(
    st.sampled_from(["user.a", "user.b", "security.capability", "system.posix_acl_access"]),
    st.binary(max_size=20),
    max_size=2,
).map(lambda found: tuple(sorted(found.items())))
_attributes = {
    "mode": st.integers(0, 0o7777),
    "uid": st.integers(0, 2**32 - 2),
    "gid": st.integers(0, 2**32 - 2),
    "mtime_ns": st.integers(-(2**62), 2**62),
    "xattrs": _xattrs,
}


@st.composite
def trees(draw):
    """Any tree: folders, files (sparse ones too), links, hard links, devices, pipes."""
    tree, folders, files = Tree(ROOT), [""], []
    taken = {""}
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(folders))
        path = (parent + "/" if parent else "") + draw(_names)
        if path in taken:
            continue
        taken.add(path)
        more = {name: draw(values) for name, values in _attributes.items()}
        kind = draw(st.sampled_from(list(Kind)))
        if kind is Kind.HARD and not files:
            kind = Kind.FILE
        match kind:
            case Kind.FOLDER:
                folders.append(path)
                tree.entries.append(Entry(path, kind, **more))
            case Kind.FILE:
                files.append(path)
                content, holes = draw(st.binary(max_size=40)), ()
                if draw(st.booleans()):
                    before, hole = len(content), draw(st.integers(1, 50))
                    content += bytes(hole) + draw(st.binary(max_size=5))
                    holes = ((before, hole),)
                tree.add(path, content, holes=holes, **more)
            case Kind.LINK:
                target = draw(
                    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=30)
                )
                tree.entries.append(Entry(path, kind, target=target, **more))
            case Kind.HARD:
                tree.entries.append(Entry(path, kind, target=draw(st.sampled_from(files)), **more))
            case Kind.CHARACTER | Kind.BLOCK:
                tree.entries.append(Entry(path, kind, device=draw(st.integers(0, 2**32)), **more))
            case Kind.PIPE:
                tree.entries.append(Entry(path, kind, **more))
    return tree
