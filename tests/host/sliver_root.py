"""The root of a sliver, as systemd-nspawn makes it: shifted users, and a folder of the node's, read-only.

    python -m tests.host.sliver_root FOLDER FIRST_USER SCRIPT

Runs a script of the shell that finds the folder at /mnt.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

_NEW_MOUNTS = 0x0002_0000
_NEW_USERS = 0x1000_0000


def main() -> None:
    """Become that root, and run the script."""
    folder, first_user, script = sys.argv[1:]
    _unshare(_NEW_MOUNTS)
    for words in (["--make-rprivate", "/"], ["--bind", folder, "/mnt"], ["-o", "remount,bind,ro", "/mnt"]):
        subprocess.run(["mount", *words], check=True)
    # Who maps the users has to be outside.
    ours, theirs = os.pipe()
    outside = os.fork()
    if outside == 0:
        os.read(ours, 1)
        for kind in ("uid", "gid"):
            Path(f"/proc/{os.getppid()}/{kind}_map").write_text(f"0 {first_user} 65536")
        os._exit(0)
    # Mounts that come from another's namespace keep their flags.
    _unshare(_NEW_USERS | _NEW_MOUNTS)
    os.write(theirs, b"x")
    assert os.waitpid(outside, 0)[1] == 0
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.execvp("sh", ["sh", "-c", script])


def _unshare(what: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
