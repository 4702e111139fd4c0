"""The mark of a finished installation: a file on the installed root, written last.

It carries the run's id that the server gave, so an older or half-made installation never looks like
the finished one. Whatever is not in it is not known of the installation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from host.run import Runner
from host.target import read_installed
from wire.errors import VerificationError
from wire.messages import ImageRef
from wire.structure import MalformedMessage, dump_json, structure_json

PATH = Path("etc/bootmanager/installation.json")


class NotInstalled(VerificationError):
    """There is no finished installation on this machine's disks."""

    code = "not-installed"
    title = "No finished installation"
    hint = "Set the node's state to inst (or rins) at the server: bootserver node state NAME inst."


@dataclass(frozen=True)
class Mark:
    """What was installed, in which run, for which node, by which generation of its configuration.

    `newest` is the newest time authenticated then, in Unix seconds.
    """

    run_id: str
    node_id: int
    images: tuple[ImageRef, ...]
    kernel_arguments: str
    generation: int = 0
    newest: int = 0


def read_mark(run: Runner) -> Mark:
    """Read the mark from the disk. Raises NotInstalled."""
    text = read_installed(run, PATH)
    if text is None:
        raise NotInstalled(f"no /{PATH} on the root volume")
    try:
        return structure_json(text, Mark)
    except MalformedMessage as error:
        raise NotInstalled(f"/{PATH} is damaged: {error.detail}") from None


def write_mark(root: Path, mark: Mark) -> None:
    """Write the mark into the tree mounted at `root`, durably."""
    write_atomic(root / PATH, dump_json(mark))
