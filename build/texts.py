"""A translation of what people read at a machine: a site's .po file, checked and made for the boot medium."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from store import ROOT

from host.texts import PLACE, parts_of

CATALOGUE = ROOT / "bootmanager/texts.pot"
# Where it lies in a layer.
TARGET = PLACE.relative_to("/")
# The letters of the font that a screen has before anybody loads another one.
_SCREEN = "cp437"


class TextsError(Exception):
    """A translation that cannot be used; the text names each fault by its line."""


def compiled(translation: Path) -> bytes:
    """The catalogue for the medium; says what of it stays English, or may not be seen on a screen.

    :raises TextsError: it is no .po file, or has texts that bootmanager could not put together
    """
    found = [message for message in _read(translation) if message.id and message.string and not message.fuzzy]
    faults = [f"{translation}:{message.lineno}: {fault}" for message in found if (fault := _fault(message))]
    if faults:
        raise TextsError("\n".join(faults))
    wanted = {message.id for message in _read(CATALOGUE) if message.id}
    missing = wanted - {message.id for message in found}
    print(f"images: {translation}: {len(missing)} of {len(wanted)} texts stay English", flush=True)
    unseen = sorted({letter for message in found for letter in message.string if not _is_seen(letter)})
    if unseen:
        print(f"images: {translation}: a screen may not have the letters {' '.join(unseen)}", flush=True)
    # A fixed date: the same translation makes the same bytes.
    made = Catalog(charset="utf-8", creation_date=datetime(2025, 1, 1, tzinfo=UTC))
    for message in found:
        made.add(message.id, message.string)
    out = io.BytesIO()
    write_mo(out, made)
    return out.getvalue()


def _read(path: Path) -> Catalog:
    try:
        with path.open("rb") as file:
            return read_po(file, abort_invalid=True)
    except (PoFileError, UnicodeDecodeError, ValueError, LookupError) as error:
        raise TextsError(f"{path}: {error}") from None


def _fault(message: Message) -> str:
    """Why a translation cannot be used, "" if it can."""
    if not isinstance(message.id, str) or message.context:
        return "plural forms and contexts are not used here"
    if not all(each.isprintable() or each == "\n" for each in message.string):
        return f"{message.string!r} has characters that are no text"
    wanted = parts_of(message.id)
    try:
        given = parts_of(message.string)
    except ValueError as error:
        return f"{message.string!r}: {error}"
    if wanted == given:
        return ""
    return f"{message.string!r} must have exactly the parts {_written(wanted)}, and has {_written(given)}"


def _written(parts: frozenset[tuple[str, str | None, str | None]]) -> str:
    words = (
        "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
        for name, form, conversion in parts
    )
    return ", ".join(sorted(words)) or "none"


def _is_seen(letter: str) -> bool:
    try:
        return bool(letter.encode(_SCREEN))
    except UnicodeEncodeError:
        return False
