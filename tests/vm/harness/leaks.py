"""Where a secret lies that should lie nowhere: logs, disks, dongles, the server's folder."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from host.run import Runner
from tests.vm.harness.ssh import Shell
from wire.nodeconf import parse

_CHUNK = 4 * 1024 * 1024


def node_key(key_medium: Path) -> bytes:
    """Return the node's key from the image of its key medium."""
    text = Runner()(["mtype", "-i", key_medium, "::plnode.txt"]).stdout
    return parse(text, str(key_medium)).key.secret


def server_secrets(folder: Path) -> dict[Path, bytes]:
    """Return the files of a server that hold a secret, each with a part of it that is in no other file."""
    keys = (folder / "tls/ca.key", folder / "tls/server.pem")
    return {folder / "master.key": (folder / "master.key").read_bytes()} | {key: _middle(key) for key in keys}


def places_on_node(secret: bytes, shell: Shell) -> list[str]:
    """Return where a node has the secret in base64 or hex: files in RAM, command lines, environments."""
    forms = "\n".join((base64.b64encode(secret).rstrip(b"=").decode(), secret.hex(), secret.hex().upper()))
    # The patterns come by standard input, because the search would find itself otherwise.
    search = "grep -rlasF -D skip -f <(printf '%s\\n' \"$forms\")"
    places = "/run /tmp /var/tmp /dev/shm /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    return shell.output(f"forms=$(cat); {search} {places} || true", stdin=forms).split()


def _middle(pem: Path) -> bytes:
    """Return the second line of the private key in a file: the first one is the same for many keys."""
    lines = pem.read_bytes().splitlines()
    return lines[lines.index(b"-----BEGIN PRIVATE KEY-----") + 2]


def holders(secret: bytes, places: Iterable[Path]) -> list[Path]:
    """Return the files, below the given files and folders, that hold the secret raw, in base64 or in hex."""
    forms = (secret, base64.b64encode(secret).rstrip(b"="), secret.hex().encode())
    files = (file for place in places for file in (place.rglob("*") if place.is_dir() else [place]))
    return [file for file in files if file.is_file() and not file.is_symlink() and _holds(file, forms)]


def _holds(file: Path, forms: tuple[bytes, ...]) -> bool:
    longest = max(len(form) for form in forms)
    tail = b""
    for chunk in _data(file):
        window = tail + chunk
        if any(form in window or form.upper() in window for form in forms):
            return True
        tail = window[-longest:]
    return False


def _data(file: Path) -> Iterator[bytes]:
    """Yield what is in a file, without the holes of a sparse one."""
    with file.open("rb", buffering=0) as opened:
        size, start = os.fstat(opened.fileno()).st_size, 0
        while start < size:
            try:
                start = os.lseek(opened.fileno(), start, os.SEEK_DATA)
            except OSError:
                # ENXIO: nothing but holes from here on.
                return
            end = os.lseek(opened.fileno(), start, os.SEEK_HOLE)
            while start < end:
                chunk = os.pread(opened.fileno(), min(_CHUNK, end - start), start)
                if not chunk:
                    return
                yield chunk
                start += len(chunk)
