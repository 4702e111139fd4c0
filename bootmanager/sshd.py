"""The ssh server of debug mode: only keys, and only those that the operator gave."""

from __future__ import annotations

from pathlib import Path

from host.files import write_atomic
from host.run import Runner

AUTHORIZED_KEYS = Path("/root/.ssh/authorized_keys")
HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key.pub")


def start_sshd(run: Runner, keys: tuple[str, ...]) -> str:
    """Let these public keys in as root; return the fingerprint of the host key. Raises CommandFailed."""
    write_atomic(AUTHORIZED_KEYS, "".join(f"{key}\n" for key in keys), mode=0o600)
    AUTHORIZED_KEYS.parent.chmod(0o700)
    if not HOST_KEY.exists():
        run(["ssh-keygen", "-A"])
    run(["systemctl", "start", "ssh.service"])
    # Bits, fingerprint, somebody's comment, kind.
    bits, fingerprint, *_, kind = run(["ssh-keygen", "-lf", HOST_KEY]).stdout.split()
    return f"{bits} {fingerprint} {kind}"
