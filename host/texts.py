"""What people read at a machine, in the language of the site: gettext, with one catalogue on the boot medium.

A text is marked where it stands, `_("waiting for {what}", what=...)`, and translated where it is shown, by
shown(). In between it is English: events, logs, the server and whoever compares texts know no other.
`bootmanager/texts.pot` lists all of them, and the titles and hints of errors.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from string import Formatter

from wire.errors import BootError

log = logging.getLogger(__name__)

# `make images TEXTS=FILE` puts it there.
PLACE = Path("/usr/share/bootmanager/messages.mo")


class Text(str):
    """An English text that remembers what it was made of: a message and named parts, texts among them too."""

    _message: str
    _parts: dict[str, object]

    def __new__(cls, message: str, /, **parts: object) -> Text:
        """Put it together as str.format does."""
        made = super().__new__(cls, message.format(**parts) if parts else message)
        made._message, made._parts = message, parts
        return made

    def shown(self) -> str:
        """Return it in the site's language."""
        said = _translated(self._message)
        if not self._parts:
            return said
        return said.format(
            **{name: part.shown() if isinstance(part, Text) else part for name, part in self._parts.items()}
        )


# The name that gettext's tools look for.
_ = Text


def shown(text: str) -> str:
    """Return a text as people are to see it; one that the catalogue does not know stays as it is."""
    return text.shown() if isinstance(text, Text) else _translated(text)


def error_text(error: BaseException) -> Text:
    """Return what str(error) is, for people too."""
    if not isinstance(error, BootError):
        return Text(str(error))
    return Text("{title}: {detail} [{code}]", title=Text(error.title), detail=error.detail, code=error.code)


def joined(separator: str, texts: Sequence[str]) -> Text:
    """Return texts as a list."""
    parts = {f"part{number}": text for number, text in enumerate(texts)}
    return Text(separator.join(f"{{{name}}}" for name in parts), **parts)


def parts_of(message: str) -> frozenset[tuple[str, str | None, str | None]]:
    """Return the parts that a message has room for, and how each is written. Raises ValueError."""
    return frozenset(
        (name, form, conversion)
        for _literal, name, form, conversion in Formatter().parse(message)
        if name is not None
    )


def is_translated() -> bool:
    """Say whether texts are shown in another language than English."""
    return isinstance(catalogue(), GNUTranslations)


@cache
def catalogue() -> NullTranslations:
    """Return the site's translations; none where there is no catalogue, or one that cannot be read."""
    try:
        with PLACE.open("rb") as file:
            return GNUTranslations(file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, LookupError, struct.error) as error:
        # Nobody is helped by a machine that does not boot for want of a translation.
        log.error("%s: %s: all texts are English", PLACE, error)
    return NullTranslations()


def _translated(message: str) -> str:
    # The empty message is the catalogue's own header.
    said = catalogue().gettext(message) if message else ""
    if said == message:
        return message
    try:
        return said if parts_of(said) == parts_of(message) else message
    except ValueError:
        return message
