"""Options of bootmanager and configmanager, from three places with the same names.

`/etc/bootmanager.conf` (INI, section [bootmanager]), then kernel arguments (`bm.name=value`), then the
command line: the later wins.
"""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from wire.errors import ConfigurationError

CONFIGURATION_FILE = Path("/etc/bootmanager.conf")
KERNEL_COMMAND_LINE = Path("/proc/cmdline")
_PREFIX = "bm."


class BadOption(ConfigurationError):
    """An option is unknown or has a value that it cannot have."""

    code = "bad-option"
    title = "An option is wrong"
    hint = "Options are listed in docs/reference.md; kernel arguments are set in the boot menu."


@dataclass(frozen=True)
class Options:
    """What can be chosen from outside.

    state: target state, or "auto" to ask the server.
    events: a file or device that JSON event lines are also written to, "" for none.
    chain: "kexec", or "reboot" to boot the disk through the firmware.
    neighbours: "on", or "off" to give no image to other nodes and take none from them.
    """

    state: str = "auto"
    events: str = ""
    chain: str = "kexec"
    neighbours: str = "on"


_ALLOWED = {
    "state": ("auto", "new", "inst", "rins", "boot", "dbg"),
    "chain": ("kexec", "reboot"),
    "neighbours": ("on", "off"),
}


def load_options(
    *,
    file: Path = CONFIGURATION_FILE,
    kernel: Path = KERNEL_COMMAND_LINE,
    command_line: Mapping[str, str] | None = None,
) -> Options:
    """Merge the three places. Raises BadOption, which names the place."""
    options = Options()
    options = _merge(options, _from_file(file), str(file))
    options = _merge(options, _from_kernel(kernel.read_text()), "kernel arguments")
    return _merge(options, dict(command_line or {}), "command line")


def _from_file(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
        return dict(parser["bootmanager"]) if parser.has_section("bootmanager") else {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise BadOption(f"{path}: {' '.join(str(error).split())}") from None


def _from_kernel(text: str) -> dict[str, str]:
    try:
        words = [word.partition("=") for word in shlex.split(text) if word.startswith(_PREFIX)]
    except ValueError as error:
        raise BadOption(f"kernel arguments: {error}") from None
    return {name.removeprefix(_PREFIX): value for name, _, value in words}


def _merge(options: Options, found: Mapping[str, str], place: str) -> Options:
    known = {field.name for field in fields(Options)}
    for name, value in found.items():
        if name not in known:
            raise BadOption(f"{place}: there is no option {name!r}")
        if name in _ALLOWED and value not in _ALLOWED[name]:
            raise BadOption(f"{place}: {name} is {value!r}, allowed are {', '.join(_ALLOWED[name])}")
    return replace(options, **found)
