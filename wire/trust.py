"""What the trust in images begins with: TUF root metadata that the node has from a write-protected medium."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# On the key medium, beside the node's configuration, in lower or upper case.
ROOT_FILE = "root.json"
# On a boot medium that was made for one deployment, below its root; it counts before the key medium's.
BOOT_MEDIUM_ROOT = Path("usr/share/bootmanager") / ROOT_FILE
# Where the server has the other metadata.
METADATA_PATH = "/tuf/metadata/"
# In the signed timestamp: how long, in seconds, a node may install from its cache without the server.
OFFLINE_FIELD = "x-offline-seconds"
MAXIMUM_ROOT_BYTES = 64 * 1024
# Targets that are no images: lists of the layers of boot media, for machines that get them over the network.
MEDIUM_TARGETS = "medium/"
# Beside such layers: the list, as sha256sum writes it, and signed metadata by their files' names, in JSON.
LAYERS_FILE = "layers.sha256"
METADATA_FILE = "metadata.json"


@dataclass(frozen=True)
class TrustedRoot:
    """The root metadata as they stand on the medium, b"" where there are none. No secret, never changed."""

    data: bytes
