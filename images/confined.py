"""tar, shut in the tree that it unpacks into.

GNU tar keeps a single archive from following links that it made itself, but a link that an earlier layer
left is a folder like any other to it, and links in a file system are followed from the root of whoever
follows them. So tar gets the tree for its root: an absolute link, one with `..`, whatever the archives say
or the kernel resolves, ends within.

The tree has no programs yet. This machine's root is therefore mounted, read-only, on an empty folder in the
tree, and tar is started from there by the dynamic loader. The mount is in a mount namespace of tar's own:
nobody else sees it, and it is gone with tar, however that ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from host.run import Argument, CommandMissing

# $1 the tree, $2 the folder in it, as seen from its root; then the command, as seen from its root.
_SCRIPT = """
tree=$1 tools=$2
shift 2
mount --bind / "$tree$tools" && mount -o remount,bind,ro "$tree$tools" && exec chroot "$tree" "$@"
"""


@contextmanager
def confined(words: Sequence[Argument], tree: Path) -> Iterator[list[Argument]]:
    """Give the command that runs `words` with `tree` for its root, for the length of the with block.

    Of this machine it sees its programs, and can write nothing but the tree. Needs root.
    Raises CommandMissing, OSError.
    """
    tools = Path(tempfile.mkdtemp(prefix=".bm-tools-", dir=tree))
    try:
        inside = Path("/") / tools.name
        loader, program = _loader(), _program(os.fspath(words[0]))
        libraries = inside / loader.parent.relative_to("/")
        yield [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", _SCRIPT, "confined", tree.resolve(), inside),
            *(inside / loader.relative_to("/"), "--library-path", libraries),
            *(inside / program.relative_to("/"), *words[1:]),
        ]
    finally:
        # An archive has a time for the tree itself too, which the folder must not change.
        after = tree.stat()
        tools.rmdir()
        os.utime(tree, ns=(after.st_atime_ns, after.st_mtime_ns))


def _program(name: str) -> Path:
    found = shutil.which(name, path="/usr/bin:/bin")
    if found is None:
        raise CommandMissing(name)
    return Path(found).resolve()


def _loader() -> Path:
    """Return the dynamic loader: the one that loaded this very program, all links resolved.

    Libraries are beside it on Debian. Raises CommandMissing.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.name.startswith("ld-"):
            return path.resolve()
    raise CommandMissing("the dynamic loader")
