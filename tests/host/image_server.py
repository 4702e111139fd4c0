"""A blob server on the loopback that can be told to misbehave, and trees to make images of."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from host.http import HttpClient
from images.cache import Cache
from images.fetch import Transfer
from images.make import make_image
from images.manifest import Manifest, SignedImage
from images.progress import Progress, silent
from images.source import HttpSource
from images.sources.folder import FolderSource
from images.store import BlobStore
from images.unpack import load_manifest, unpack
from tests.host import loopback

# struct posix_acl_xattr_header and _entry of linux/posix_acl_xattr.h: version 2; then tag, permissions, id.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (0x01, 6, 2**32 - 1),
        (0x02, 4, 1234),
        (0x04, 4, 2**32 - 1),
        (0x08, 6, 77),
        (0x10, 6, 2**32 - 1),
        (0x20, 0, 2**32 - 1),
    )
)


class BlobServer(ThreadingHTTPServer):
    """Serves a BlobStore at /images/blobs/; counts bytes; drops the next `hiccups` answers half way."""

    def __init__(self, store: BlobStore) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store
        self.hiccups = 0
        self.served: list[str] = []
        self.pause = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlobServer

    def do_GET(self) -> None:
        digest = self.path.removeprefix("/images/blobs/")
        if not self.server.store.has(digest):
            self.send_error(404)
            return
        data = self.server.store.path(digest).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.hiccups:
            self.server.hiccups -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)
        self.server.served.append(digest)

    def handle(self) -> None:
        # Who has what it wants, or is killed, may go at any moment.
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def serving(store: BlobStore) -> AbstractContextManager[BlobServer]:
    """Serve the store for the length of a with block."""
    return loopback.serving(BlobServer(store))


@contextmanager
def ext4(folder: Path, mib: int, *, options: str = "loop"):
    """A small ext4 file system in a file, mounted."""
    image, where = folder / "medium.img", folder / "medium"
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(mib * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, str(image), str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def put_in(
    server: BlobServer, manifest: Manifest, target: Path, cache: Cache, on_progress: Progress = silent
) -> Transfer:
    """Install an image as a node does."""
    signed = SignedImage(manifest.name, manifest.digest, len(manifest.to_bytes()))
    source = source_at(server)
    known, moved = load_manifest(signed, source, cache)
    return moved + unpack(known, target, source, cache, on_progress)


def source_at(server: BlobServer) -> HttpSource:
    """Return how a node gets blobs from there."""
    return HttpSource(HttpClient, server.url)


def publish_tree(name: str, tree: Path, store: BlobStore) -> Manifest:
    """Make an image of a folder."""
    return make_image(name, FolderSource(tree), store)


def make_tree(root: Path, *, random_mib: int = 0) -> Path:
    """A tree with every kind of thing that a distribution has."""
    for folder in ("usr/lib", "usr/bin", "etc", "var/empty", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "tmp").chmod(0o1777)
    program = root / "usr/bin/program"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o4755)
    os.setxattr(program, "user.note", b"\x00\xff")
    # cap_net_raw+ep, as ping carries it (struct vfs_cap_data of linux/capability.h, version 2).
    os.setxattr(program, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    (root / "usr/bin/hard").hardlink_to(program)
    secret = root / "etc/secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    os.chown(secret, 12345, 54321)
    os.utime(secret, (1_000_000_000, 1_000_000_000))
    os.mknod(root / "usr/null", 0o020666, os.makedev(1, 3))
    os.mkfifo(root / "usr/pipe")
    (root / "etc/ünïcode name").write_text("x")
    for number in range(random_mib):
        (root / f"usr/lib/{number}").write_bytes(os.urandom(1024 * 1024))
    return root


def make_archive(root: Path, archive: Path) -> Path:
    """A tar.zst of the tree."""
    # Times of last access would make each archive of the same tree another one.
    same = ("--sort=name", "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/pax/%f")
    names = ("--xattrs", "--xattrs-include=*", "--acls", "-C", str(root), ".")
    subprocess.run(["tar", "-c", "--zstd", "-f", str(archive), *same, *names], check=True)
    return archive


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that shall survive, by path."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        content: object = ""
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        keys = sorted(os.listxattr(path, follow_symlinks=False))
        xattrs = tuple((key, os.getxattr(path, key)) for key in keys)
        owner = (status.st_uid, status.st_gid)
        links = status.st_nlink if path.is_file() else 0
        found[str(path.relative_to(root))] = (
            status.st_mode,
            owner,
            int(status.st_mtime),
            links,
            status.st_rdev,
            content,
            xattrs,
        )
    return found
