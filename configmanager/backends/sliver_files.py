"""What is written for a sliver: systemd-nspawn's settings outside, keys and initscript inside.

Formats: systemd.nspawn(5), systemd.service(5), sshd(8) AUTHORIZED_KEYS.
"""

from __future__ import annotations

import hashlib
import json

from configmanager.backends.inside import InsideFile
from wire.slivers import Sliver

INITSCRIPT_SECONDS = 300
_INITSCRIPT = "etc/bm-initscript"
_UNIT = "bm-initscript.service"

# The folder on the image may lack the unit's [Install] link, so a drop-in asks for it.
_WANTS = f"""[Unit]
Wants={_UNIT}
"""

# No default dependencies: a script that hangs must not keep the sliver from being up.
_SERVICE = f"""[Unit]
Description=The slice's initscript
DefaultDependencies=no
After=basic.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/{_INITSCRIPT}
TimeoutStartSec={INITSCRIPT_SECONDS}
"""


def nspawn_text(sliver: Sliver) -> str:
    """Return the sliver's .nspawn file."""
    lines = [
        "# Written by configmanager.",
        "[Exec]",
        "Boot=yes",
        "PrivateUsers=pick",
        # The unit is started when the sliver says that it is up, not when its init runs.
        "NotifyReady=yes",
        "LinkJournal=no",
        "",
        "[Files]",
        "PrivateUsersOwnership=auto",
        "",
        "[Network]",
        "VirtualEthernet=yes",
        *(f"Port={port}" for port in sliver.ports),
    ]
    return "\n".join(lines) + "\n"


def keys_file(sliver: Sliver) -> InsideFile:
    """Return root's authorized keys."""
    text = "".join(f"{item.key}\n" for item in sliver.keys if item.key_type == "ssh")
    return InsideFile("root/.ssh/authorized_keys", text, 0o600, 0o700)


def inside_files(sliver: Sliver) -> tuple[InsideFile, ...]:
    """Return the files that take effect when the sliver starts."""
    script = sliver.script
    if not script.startswith("#!"):
        script = "#!/bin/sh\n" + script
    return (
        InsideFile("etc/hostname", f"{sliver.machine}\n"),
        InsideFile(_INITSCRIPT, script, 0o755),
        InsideFile(f"etc/systemd/system/{_UNIT}", _SERVICE),
        InsideFile("etc/systemd/system/multi-user.target.d/bm-initscript.conf", _WANTS),
    )


def start_digest(sliver: Sliver) -> str:
    """Name all that takes effect only when the sliver starts."""
    inside = [[file.path, file.text, file.mode] for file in inside_files(sliver)]
    return _digest([nspawn_text(sliver), inside])


def digest(sliver: Sliver) -> str:
    """Name all of the sliver's settings."""
    return _digest([start_digest(sliver), keys_file(sliver).text])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
