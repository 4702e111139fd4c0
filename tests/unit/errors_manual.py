"""The table in docs/errors.md, from the error classes. To write it: python -m tests.unit.errors_manual."""

import importlib
import pkgutil
from pathlib import Path

import bootmanager
import bootserver
import configmanager
import host
import hwdetect
import images
import steps
import wire
from wire.errors import BootError

MANUAL = Path(__file__).parents[2] / "docs/errors.md"
ROOMS = (wire, host, hwdetect, images, steps, bootmanager, configmanager, bootserver)

HEAD = """# Errors

Every failure has a stable code, which is what to search for or to send. A node shows code, title, detail and
hint on its console, in the event log (`error`) and at the server.

Groups say what happens next: **transient** errors are tried again, bounded and with growing pauses; after
a **trust** error no further calls are made until the next try; everything else needs a person or another
intent.

"""


def all_errors() -> list[type[BootError]]:
    for package in ROOMS:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    rooms = {room.__name__ for room in ROOMS}
    return [kind for _, kind in sorted(BootError.registry.items()) if kind.__module__.split(".")[0] in rooms]


def manual() -> str:
    rows = ["| code | group | what happened | what to do |", "|---|---|---|---|"]
    for kind in all_errors():
        group = next(base for base in kind.__mro__[1:] if not base.__dict__.get("code"))
        name = group.__name__.removesuffix("Error").replace("UnsupportedHardware", "hardware").lower()
        rows.append(f"| `{kind.code}` | {name or 'boot'} | {kind.title} | {kind.hint} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    MANUAL.write_text(manual())
