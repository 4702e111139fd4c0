"""What is asked of a management controller (BMC): whether its machine has power, and what to do about it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Protocol

from wire.errors import ConfigurationError, TransientError, TrustError

# A name or an IPv4 address, or an IPv6 address in brackets; no word of a command begins with a dash.
HOST = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]"
PORT = r"[0-9]{1,5}"
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


class BmcUnreachable(TransientError):
    """No usable answer from the controller."""

    code = "bmc-unreachable"
    title = "The node's management controller gives no usable answer"
    hint = (
        "Check its address (`bootserver node show NAME`), its network, and whether it hangs; then try again."
    )


class BmcRefused(TrustError):
    """The controller does not take the user or the password, or not for this."""

    code = "bmc-refused"
    title = "The node's management controller refuses the user"
    hint = "Say user and password again with `bootserver node power NAME set`; the user may lack the right."


class BmcCertificateChanged(TrustError):
    """The controller shows another certificate than the one that was confirmed; nothing was said to it."""

    code = "bmc-certificate-changed"
    title = "The node's management controller shows another certificate"
    hint = "If its certificate was renewed, confirm the new one with `bootserver node power NAME set`."


class BmcCannot(ConfigurationError):
    """The controller does not do what is wanted of it."""

    code = "bmc-cannot"
    title = "The node's management controller cannot do this"
    hint = "Choose another medium with --from, or let the firmware's boot order decide and use --no-power."


class BadPowerSetting(ConfigurationError):
    """What is said of a controller cannot be."""

    code = "bad-power-setting"
    title = "The node's power cannot be controlled like this"
    hint = "See `bootserver node power --help`; nothing was changed."


class Source(StrEnum):
    """What a machine starts from once, at its next start."""

    PXE = "pxe"
    USB = "usb"
    CD = "cd"
    DISK = "disk"


class Switch(StrEnum):
    """What is done to the power. A cycle gives power to a machine that had none."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


class Bmc(Protocol):
    """A controller. Each method may raise BmcUnreachable, BmcRefused, BmcCertificateChanged, BmcCannot."""

    def is_on(self) -> bool:
        """Say whether the machine has power."""

    def boot_once_from(self, source: Source) -> None:
        """Let the machine start from there at its next start."""

    def switch(self, how: Switch) -> None:
        """Switch the power at once; the machine is not asked to end well."""


def checked_text(text: str, what: str) -> str:
    """Return a user or password as it may be sent. Raises BadPowerSetting, without the text."""
    if not _TEXT.fullmatch(text):
        raise BadPowerSetting(f"the {what} is not 1 to 255 characters of one line")
    return text
