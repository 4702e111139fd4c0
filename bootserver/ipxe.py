"""The scripts by which iPXE starts the boot medium's kernel (ipxe.org/scripting, ipxe.org/cmd)."""

from __future__ import annotations

import re

# What build/iso/grub.cfg passes, and why, but for where the layers are.
MEDIUM_ARGUMENTS = "boot=live panic=60 init_on_alloc=0 quiet loglevel=4 systemd.show_status=false"
# Nothing that iPXE takes for a variable, a quote, a comment or the end of a command.
_WORD = re.compile(r"[A-Za-z0-9_.,:=/@%+*~^-]+")

# Leads each machine to its own script, by its MAC address; by itself until somebody answers.
FIRST = """#!ipxe
:again
chain --replace --autofree ${netX/mac:hexhyp}.ipxe ||
echo The boot server does not answer, or has no boot medium published: again in 10 s
sleep 10
goto again
"""


def split(arguments: str) -> tuple[list[str], list[str]]:
    """Return the words of kernel arguments that can stand in a script, and those that cannot."""
    words = arguments.split()
    return [word for word in words if _WORD.fullmatch(word)], [
        word for word in words if not _WORD.fullmatch(word)
    ]


def start(base: str, key: str, arguments: str) -> str:
    """Return the script that starts the published medium `key` of the server whose URL is `base`.

    The address that iPXE has is handed on: the initial ramdisk asks nobody for one.
    """
    can, cannot = split(arguments)
    network = "BOOTIF=01-${netX/mac:hexhyp} ip=${netX/ip}::${netX/gateway}:${netX/netmask}:::none"
    words = ["initrd=initrd", MEDIUM_ARGUMENTS, f"live-url={base}/netboot/{key}", network, *can]
    lines = ["#!ipxe"]
    if cannot:
        lines.append(f"echo {len(cannot)} of the kernel arguments cannot stand in a script and are left out")
    lines += [
        f"kernel {key}/vmlinuz {' '.join(words)} || goto failed",
        f"initrd --name initrd {key}/initrd || goto failed",
        "boot ||",
        ":failed",
        "echo This machine cannot be started over the network: again in 60 s",
        "sleep 60",
        "reboot",
    ]
    return "\n".join(lines) + "\n"
