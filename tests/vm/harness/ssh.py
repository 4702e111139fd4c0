"""A shell on a machine under test, through a forwarded port."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path


def free_port() -> int:
    """Return a TCP port of the loopback that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def make_key(folder: Path) -> Path:
    """Make a technician's key pair; the public half is at `<path>.pub`."""
    key = folder / "technician"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "technician", "-f", str(key)], check=True
        )
    return key


@dataclass(frozen=True)
class Shell:
    """How to reach a machine by ssh: a port of this host and a private key."""

    port: int
    key: Path
    user: str = "root"

    def argv(self, *command: str) -> list[str]:
        """Return the command line; without a command it opens an interactive shell."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        options += ["IdentitiesOnly=yes", "ConnectTimeout=20", "BatchMode=yes"]
        line = ["ssh", "-i", str(self.key), "-p", str(self.port)]
        line += [word for option in options for word in ("-o", option)]
        return [*line, f"{self.user}@127.0.0.1", *command]

    def run(self, *command: str, timeout: float = 60, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command there and return its status and output; a time-out in seconds raises."""
        return subprocess.run(
            self.argv(*command), capture_output=True, text=True, timeout=timeout, input=stdin, check=False
        )

    def output(self, *command: str, timeout: float = 60, stdin: str = "") -> str:
        """Run a command that must succeed and return what it printed."""
        done = self.run(*command, timeout=timeout, stdin=stdin)
        assert done.returncode == 0, f"{command}: status {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout
