"""What is written for a sliver: the settings of its unit, and what the node gives to it.

`settings` is read by sliver@.service and sliver-host. What is in `given` is mounted in the sliver, read-only,
so that nothing is ever written into a tree that the sliver's root can change. Formats: systemd.exec(5)
EnvironmentFile=, systemd.network(5), journald.conf(5), systemd.service(5).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends.sliver_tree import GIVEN, SLIVERS
from configmanager.slots import Slot
from host.files import write_atomic
from wire.slivers import Sliver

INITSCRIPT_SECONDS = 300
SETTINGS = "settings"
_IMAGE = "IMAGE"
_INITSCRIPT = f"{GIVEN}/initscript"

# The address never changes as long as the slot is the sliver's, so nobody has to be asked for it.
_NETWORK = """# From the node.
[Match]
Name=host0

[Network]
Address={address}/30
Gateway={gateway}
LinkLocalAddressing=no
"""

# A journal on the disk begins with 8 MiB, which is more than all else that a sliver writes.
_JOURNAL = """# From the node; a file of a higher name in /etc/systemd/journald.conf.d has its way.
[Journal]
Storage=volatile
RuntimeMaxUse=2M
"""

# A sliver is up when nothing is left to be started, and that must not wait for a script that hangs; so that
# counts as started when it runs, and RuntimeMaxSec= ends it. What it left in the background stays.
_UNIT = f"""[Unit]
Description=The slice's initscript
DefaultDependencies=no
After=basic.target network.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
RemainAfterExit=yes
ExecStart=/run/sliver/initscript
RuntimeMaxSec={INITSCRIPT_SECONDS}
"""

_WANTS = """[Unit]
Wants=bm-initscript.service
"""


@dataclass(frozen=True)
class SliverFile:
    """A file in the sliver's folder; a private one is read by root of the node and of the sliver only."""

    path: str
    text: str
    mode: int = 0o644
    private: bool = False


def files_of(sliver: Sliver, slot: Slot, manifest: str) -> tuple[SliverFile, ...]:
    """Return all that takes effect when the sliver starts."""
    script = sliver.script
    if not script.startswith("#!"):
        script = "#!/bin/sh\n" + script
    settings = {
        "FIRST_USER": slot.first_user,
        _IMAGE: manifest,
        "INTERFACE": slot.interface,
        "GATEWAY": slot.gateway,
    }
    return (
        SliverFile(SETTINGS, "".join(f"{name}={value}\n" for name, value in settings.items())),
        SliverFile(f"{GIVEN}/host0.network", _NETWORK.format(address=slot.address, gateway=slot.gateway)),
        SliverFile(f"{GIVEN}/journald.conf", _JOURNAL),
        SliverFile(f"{GIVEN}/bm-initscript.service", _UNIT),
        SliverFile(f"{GIVEN}/initscript.conf", _WANTS),
        SliverFile(_INITSCRIPT, script, 0o500, private=True),
    )


def write(files: tuple[SliverFile, ...], folder: Path, slot: Slot) -> None:
    """Write them into the sliver's folder. Raises OSError."""
    for file in files:
        path = folder / file.path
        write_atomic(path, file.text, mode=file.mode)
        if file.private:
            os.chown(path, slot.first_user, slot.first_user)


def written(root: Path) -> set[str]:
    """Return the machines that have a folder with settings."""
    folder = root / SLIVERS
    entries = os.scandir(folder) if folder.is_dir() else ()
    return {entry.name for entry in entries if os.access(f"{entry.path}/{SETTINGS}", os.F_OK)}


def image_in(folder: Path) -> str:
    """Return the image that a sliver's settings name, "" if they are not there."""
    try:
        lines = (folder / SETTINGS).read_text().splitlines()
    except FileNotFoundError:
        return ""
    return dict(line.partition("=")[::2] for line in lines).get(_IMAGE, "")


def start_digest(files: tuple[SliverFile, ...]) -> str:
    """Name all that takes effect only when the sliver starts."""
    return _digest([[file.path, file.text, file.mode] for file in files])


def digest(sliver: Sliver) -> str:
    """Name what makes a sliver, of all that the server has a say in."""
    return _digest([sliver.script, keys_text(sliver), _NETWORK, _JOURNAL, _UNIT, _WANTS])


def keys_text(sliver: Sliver) -> str:
    """Return the slice's keys, one a line (sshd(8), AUTHORIZED_KEYS)."""
    return "".join(f"{item.key}\n" for item in sliver.keys if item.key_type == "ssh")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
