"""Leaves a sliver running that notes how it ended: `python3 -m tests.guest.halting`, then halt the guest."""

from __future__ import annotations

from pathlib import Path

from images.manifest import parse
from images.store import BlobStore
from tests.guest.conftest import STORE, make_guest
from tests.guest.node_system import lay_over, run
from tests.guest.sliver_guest import FOLDER, SliverGuest

NOTE = FOLDER / "demo-one/upper/root/ended"
# What is connected can be told that somebody goes; so the network must still be there.
UNIT = """[Unit]
After=network.target
[Service]
RemainAfterExit=yes
ExecStart=true
ExecStop=sh -c "sleep 3; ip -o address show dev host0 > /root/ended"
"""


def main() -> None:
    """Make it."""
    lay_over()
    key = Path("/root/slice")
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    image = parse(BlobStore(STORE).get((STORE / "sliver.digest").read_text()))
    node = SliverGuest(make_guest(image), key)
    node.converge(node.sliver())
    node.inside("demo-one", f"echo '{UNIT}' > /etc/systemd/system/end.service; systemctl start end")


if __name__ == "__main__":
    main()
