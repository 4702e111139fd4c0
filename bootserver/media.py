"""The key medium: a small vfat image with the node's secret, in its configuration file, and root.json."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from host.files import sync_folder, write_atomic
from host.run import Runner
from wire.dongle import marked_start
from wire.errors import ConfigurationError
from wire.nodeconf import FILE_NAMES, one_line, parse, parse_any
from wire.session import NodeKey
from wire.trust import ROOT_FILE

LABEL = "BMKEY"
# The least that mkfs.vfat lays out with a label and FAT12 without complaint, with room to spare.
IMAGE_BYTES = 2 * 1024 * 1024


class NoServerUrl(ConfigurationError):
    """Nobody said where the node finds the server."""

    code = "no-server-url"
    title = "The server's URL is not known"
    hint = "Give it with --server https://HOST:PORT, here or once at `bootserver init`."


class CannotWriteMedium(ConfigurationError):
    """The medium's file cannot be written."""

    code = "cannot-write-medium"
    title = "The medium cannot be written"
    hint = "Name a new or existing regular file; copy it to a stick with dd."


@dataclass(frozen=True)
class KeyFile:
    """What stands in the file. `static` is ADDRESS/LENGTH, "" for DHCP; `authority` PEM, "" without TLS.

    `others` are keys of the network, as they stand in the file.
    """

    node_id: int
    hostname: str
    key: NodeKey = field(repr=False)
    server: str
    static: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    device: str = ""
    proxy: str = ""
    authority: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the text; it holds the node's secret. Raises MalformedNodeConfiguration."""
        host, _, domain = self.hostname.partition(".")
        values = {
            "NODE_ID": str(self.node_id),
            "NODE_KEY": self.key.to_text(),
            "BOOT_SERVER": self.server,
            "BOOT_CA": one_line(self.authority) if self.authority else "",
            "HOST_NAME": host,
            "DOMAIN_NAME": domain,
            "NET_DEVICE": self.device,
            "PROXY_SERVER": self.proxy,
            **self._network(),
            **self.others,
        }
        lines = [f'{name}="{value}"\n' for name, value in values.items() if value]
        text = "".join(["# The node's identity and secret. Write-protect this medium.\n", *lines])
        # Read as the node will read it, so that no medium is written that a node refuses.
        parse(text, "the key medium")
        return text

    def _network(self) -> dict[str, str]:
        if not self.static:
            return {"IP_METHOD": "dhcp"}
        interface = ipaddress.IPv4Interface(self.static)
        servers = {f"IP_DNS{number}": address for number, address in enumerate(self.dns, 1)}
        return {
            "IP_METHOD": "static",
            "IP_ADDRESS": str(interface.ip),
            "IP_NETMASK": str(interface.netmask),
            "IP_NETADDR": str(interface.network.network_address),
            "IP_BROADCASTADDR": str(interface.network.broadcast_address),
            "IP_GATEWAY": self.gateway,
            **servers,
        }


@dataclass(frozen=True)
class EnrolmentFile:
    """What stands in the file of a medium without an identity. `token` is "" to wait for a person."""

    server: str
    device: str = ""
    proxy: str = ""
    authority: str = ""
    token: str = field(default="", repr=False)
    others: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return the text; it holds the token. Raises MalformedNodeConfiguration."""
        values = {
            "BOOT_SERVER": self.server,
            "BOOT_CA": one_line(self.authority) if self.authority else "",
            "ENROL_TOKEN": self.token,
            "NET_DEVICE": self.device,
            "PROXY_SERVER": self.proxy,
            "IP_METHOD": "dhcp",
            **self.others,
        }
        lines = [f'{name}="{value}"\n' for name, value in values.items() if value]
        text = "".join(["# For nodes that have no identity yet.\n", *lines])
        parse_any(text, "the enrolment medium")
        return text


def write_key_medium(path: Path, content: KeyFile | EnrolmentFile, root: bytes, run: Runner) -> None:
    """Write the image, mode 0600, whole or not at all; the secret is never an argument of a command.

    `root` are the root metadata to trust. Raises CannotWriteMedium, MalformedNodeConfiguration,
    CommandFailed, CommandMissing.
    """
    if path.exists() and not path.is_file():
        raise CannotWriteMedium(f"{path} is not a regular file")
    try:
        # Beside the target and of mode 0700: nobody else can look in, and the rename stays on one disk.
        with tempfile.TemporaryDirectory(prefix=".key-", dir=path.absolute().parent) as folder:
            key_image(Path(folder), content, root, run).replace(path)
            sync_folder(path.absolute().parent)
    except OSError as error:
        raise CannotWriteMedium(f"{path}: {error.strerror}") from None


def write_dongle_mark(path: Path) -> None:
    """Write what marks a stick for the cache, whole or not at all. Raises CannotWriteMedium."""
    if path.exists() and not path.is_file():
        raise CannotWriteMedium(f"{path} is not a regular file")
    try:
        write_atomic(path, marked_start())
    except OSError as error:
        raise CannotWriteMedium(f"{path}: {error.strerror}") from None


def key_image(folder: Path, content: KeyFile | EnrolmentFile, root: bytes, run: Runner) -> Path:
    """Make the image of a key medium in a folder that nobody else can look into, mode 0600.

    Raises MalformedNodeConfiguration, CommandFailed, CommandMissing, OSError.
    """
    image = folder / "key.img"
    files = {image.name: b"", FILE_NAMES[0]: content.to_text().encode(), ROOT_FILE: root}
    for name, data in files.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
    os.truncate(image, IMAGE_BYTES)
    run(["mkfs.vfat", "-n", LABEL, image])
    run(["mcopy", "-i", image, folder / FILE_NAMES[0], folder / ROOT_FILE, "::"])
    with image.open("rb") as opened:
        os.fsync(opened.fileno())
    return image
