"""The catalogue of all texts that a site can translate. To write it: python -m tests.unit.texts_catalogue."""

import io
from functools import cache
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import write_po

from host.texts import parts_of
from steps.base import Step
from tests.unit.errors_manual import all_errors

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "bootmanager/texts.pot"
# What runs from the boot medium.
ROOMS = ("wire", "host", "hwdetect", "images", "steps", "bootmanager")

HEAD = """# Every text that bootmanager shows to a person at a machine. How to translate it: docs/texts.md.
# Written by: python -m tests.unit.texts_catalogue
msgid ""
msgstr ""
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


@cache
def messages():
    """Return each text: file, text, what a translator should know of it."""
    return tuple(_messages())


def _messages():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for _, text, _, _ in extract_from_file("python", path, keywords={"_": None}):
                yield str(path.relative_to(ROOT)), text, ()
    for kind in all_errors():
        if kind.__module__.split(".")[0] in ROOMS:
            yield _file(kind), kind.title, (f"title of the error {kind.code}",)
            yield _file(kind), kind.hint, (f"hint of the error {kind.code}",)
    for kind in sorted(_steps(Step), key=lambda kind: kind.__name__):
        yield _file(kind), kind.title, (f"title of the step {kind.name}",)


def catalogue():
    catalog = Catalog()
    for file, text, comments in messages():
        message = catalog.add(text, locations=[(file, 1)], auto_comments=comments)
        # A percent sign is nothing but that.
        message.flags.clear()
        if parts_of(text):
            message.flags.add("python-brace-format")
    body = io.BytesIO()
    write_po(body, catalog, omit_header=True, sort_by_file=True, include_lineno=False, width=100)
    return HEAD + body.getvalue().decode()


def _file(kind):
    return kind.__module__.replace(".", "/") + ".py"


def _steps(kind):
    for each in kind.__subclasses__():
        if each.__module__.startswith("steps.") and "title" in each.__dict__:
            yield each
        yield from _steps(each)


if __name__ == "__main__":
    CATALOGUE.write_text(catalogue())
