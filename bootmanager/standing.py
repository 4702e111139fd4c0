"""How debug mode stands, kept in a file in RAM: menus in other processes see it too."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from host.terminal import COLUMNS
from wire.structure import dump_json, structure_json

FILE = "debug.json"
NOT_HERE = "The node is not in debug mode."
_WIDTH = COLUMNS - 2
_LABEL = 13
_RULE = "-" * _WIDTH


@dataclass(frozen=True)
class Standing:
    """One stay in debug mode, numbered. `was` is the state on whose way something failed.

    Texts are "" where there is nothing to say; `code`, `title`, `detail` and `hint` are those of the error,
    `step` the step that it ended. `network` are the lines about the network that count. `ended`
    says why the stay is over.
    """

    stay: int
    was: str
    node: str = ""
    addresses: tuple[str, ...] = ()
    step: str = ""
    code: str = ""
    title: str = ""
    detail: str = ""
    hint: str = ""
    ssh: str = ""
    host_key: str = ""
    network: str = ""
    ended: str = ""

    def save(self, folder: Path) -> None:
        """Keep it; there is one only."""
        write_atomic(folder / FILE, dump_json(self), mode=0o600)


def load(folder: Path) -> Standing | None:
    """Return the latest stay, None where there was none in this boot."""
    path = folder / FILE
    return structure_json(path.read_bytes(), Standing) if path.exists() else None


def ended(folder: Path, stay: int) -> str:
    """Say why a stay is over, "" as long as it is not."""
    found = load(folder)
    if found is None or found.stay != stay:
        return NOT_HERE
    return found.ended


def screen(standing: Standing) -> str:
    """Return what a person sees first: at most 16 rows of less than 80 columns, 7-bit."""
    why = f"failed on the way to: {standing.was}" if standing.code else "asked for; nothing failed"
    rows = [_RULE, f"DEBUG MODE   ({why})", _RULE]
    rows += _field("Node", standing.node or "not known: no key medium was read", 1)
    rows += _field("Network", "; ".join(standing.addresses) or "no wired interface", 2)
    if standing.code:
        rows += _field("What failed", f"{standing.title} [{standing.code}]", 1)
        rows += _field("In the step", standing.step or "(none)", 1)
        rows += _field("Why", standing.detail, 3)
        rows += _field("What to do", standing.hint, 2)
    rows += _field("Get in", standing.ssh, 1)
    rows += _field("Host key", standing.host_key, 1) if standing.host_key else []
    return "\n".join([*rows, _RULE])


def _field(label: str, text: str, most: int) -> list[str]:
    wrapped = textwrap.wrap(
        text, _WIDTH - _LABEL - 1, max_lines=most, placeholder=" ...", break_on_hyphens=False
    )
    labels = [f"{label:<{_LABEL - 1}}: ", *[" " * (_LABEL + 1)] * (most - 1)]
    return [(before + row).rstrip() for before, row in zip(labels, wrapped or [""], strict=False)]
