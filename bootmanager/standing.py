"""How debug mode stands, kept in a file in RAM: menus in other processes see it too."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from host.files import write_atomic
from host.terminal import COLUMNS
from host.texts import _, shown
from wire.structure import dump_json, structure_json

FILE = "debug.json"
NOT_HERE = _("The node is not in debug mode.")
_WIDTH = COLUMNS - 2
_LABEL = 12
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
        """Keep it; there is one only. A file forgets what texts were made of, so it has what people see."""
        seen = replace(self, detail=shown(self.detail), ssh=shown(self.ssh), ended=shown(self.ended))
        write_atomic(folder / FILE, dump_json(seen), mode=0o600)


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
    """Return what a person sees first: at most 17 rows of less than 80 columns, in English 7-bit."""
    why = _("failed on the way to: {state}", state=standing.was)
    if not standing.code:
        why = _("asked for; nothing failed")
    fields = [
        (_("Node"), standing.node or _("not known: no key medium was read"), 1),
        (_("Network"), "; ".join(standing.addresses) or _("no wired interface"), 2),
    ]
    if standing.code:
        fields += [
            (_("What failed"), f"{shown(standing.title)} [{standing.code}]", 1),
            (_("In the step"), standing.step or _("(none)"), 1),
            (_("Why"), standing.detail, 3),
            (_("What to do"), standing.hint, 2),
        ]
    fields.append((_("Get in"), standing.ssh, 1))
    if standing.host_key:
        # Beside long labels it takes two rows, and is of no use without its end.
        fields.append((_("Host key"), standing.host_key, 2))
    width = max(_LABEL, *(len(shown(label)) for label, _text, _most in fields))
    rows = [row for label, text, most in fields for row in _field(shown(label), shown(text), most, width)]
    return "\n".join([_RULE, shown(_("DEBUG MODE   ({why})", why=why)), _RULE, *rows, _RULE])


def _field(label: str, text: str, most: int, width: int) -> list[str]:
    wrapped = textwrap.wrap(
        text, _WIDTH - width - 2, max_lines=most, placeholder=" ...", break_on_hyphens=False
    )
    labels = [f"{label:<{width}}: ", *[" " * (width + 2)] * (most - 1)]
    return [(before + row).rstrip() for before, row in zip(labels, wrapped or [""], strict=False)]
