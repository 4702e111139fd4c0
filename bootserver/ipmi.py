"""A machine's power by IPMI 2.0, through ipmitool.

The password goes in by standard input: an argument or the environment is there for others to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bootserver.bmc import HOST, PORT, BadPowerSetting, BmcCannot, BmcRefused, BmcUnreachable, Source, Switch
from host.run import CommandFailed, CommandMissing, CommandTimedOut, Runner
from wire.errors import quoted

LIMIT_SECONDS = 90.0
# What RMCP+ has room for (IPMI 2.0, 22.28 and 22.30).
LONGEST_USER = 16
LONGEST_PASSWORD = 20
_ADDRESS = re.compile(rf"(?P<host>{HOST})(:(?P<port>{PORT}))?")
_POWER = re.compile("^Chassis Power is (on|off)$", re.MULTILINE)
# "Primary removable media" is what the specification has for a stick, and ipmitool calls it so.
_DEVICES = {Source.PXE: "pxe", Source.USB: "floppy", Source.CD: "cdrom", Source.DISK: "disk"}
# What ipmitool -v says where the key exchange fails by user or password, and where the right is missing.
_REFUSED = ("RAKP 2", "Insufficient privilege", "privilege level")
_NO_SESSION = "Unable to establish"


@dataclass(frozen=True)
class Ipmi:
    """A controller by its address, HOST or HOST:PORT; see bootserver.bmc.Bmc."""

    address: str
    user: str
    password: str = field(repr=False)
    run: Runner = field(repr=False)

    def __post_init__(self) -> None:
        """Raise BadPowerSetting for what ipmitool would take for something else, or cut off."""
        if not _ADDRESS.fullmatch(self.address):
            raise BadPowerSetting(f"{self.address!r} is not HOST or HOST:PORT")
        if len(self.user.encode()) > LONGEST_USER or len(self.password.encode()) > LONGEST_PASSWORD:
            raise BadPowerSetting(
                f"IPMI takes users of {LONGEST_USER} and passwords of {LONGEST_PASSWORD} bytes at most"
            )

    def is_on(self) -> bool:
        """Say whether the machine has power."""
        found = _POWER.search(self._ask("power", "status"))
        if found is None:
            raise BmcUnreachable(f"{self.address} does not say whether the power is on")
        return found[1] == "on"

    def boot_once_from(self, source: Source) -> None:
        """Let the machine start from there at its next start."""
        self._ask("bootdev", _DEVICES[source])

    def switch(self, how: Switch) -> None:
        """Switch the power at once."""
        # The specification lets a machine without power ignore a cycle.
        if how is Switch.CYCLE and not self.is_on():
            how = Switch.ON
        self._ask("power", str(how))

    def _ask(self, *words: str) -> str:
        found = _ADDRESS.fullmatch(self.address)
        host, port = (found["host"].strip("[]"), found["port"] or "623") if found else ("", "")
        line = ["ipmitool", "-v", "-I", "lanplus", "-H", host, "-p", port, "-U", self.user]
        line += ["-N", "1", "-R", "3", "-f", "/dev/stdin", "chassis", *words]
        try:
            return self.run(line, input=f"{self.password}\n".encode(), timeout=LIMIT_SECONDS).stdout
        except CommandMissing:
            raise BmcCannot("ipmitool is not installed", hint="Install ipmitool on the server.") from None
        except CommandTimedOut:
            raise BmcUnreachable(f"{self.address}: waited {LIMIT_SECONDS:.0f} s") from None
        except CommandFailed as error:
            said = quoted(error.stderr.strip().rpartition("\n")[2])
            if any(sign in error.stderr for sign in _REFUSED):
                raise BmcRefused(f"{self.address}, user {self.user}: {said}") from None
            kind = BmcUnreachable if _NO_SESSION in error.stderr else BmcCannot
            raise kind(f"{self.address}: {said}") from None
