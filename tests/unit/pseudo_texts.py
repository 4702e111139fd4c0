"""A translation of every text in which no letter is left as it was: what still is plain was forgotten."""

import re
from string import Formatter, ascii_letters

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from host import texts
from tests.unit.texts_catalogue import messages

_ACCENTED = str.maketrans(ascii_letters, "åƀçđéƒĝĥîĵķļɱñöþǫřšţûṽŵẋýžÅƁÇĐÉƑĜĤÎĴĶĻṀÑÖÞǪŘŠŢÛṼŴẊÝŽ")
_WORD = re.compile("[A-Za-z]{2,}")


def pseudo(text):
    """Return a text in «», every letter of it another one; its parts are left alone."""
    found = []
    for literal, name, form, conversion in Formatter().parse(text):
        found.append(literal.translate(_ACCENTED))
        if name is not None:
            found.append(
                "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            )
    return f"«{''.join(found)}»"


def use(monkeypatch, folder, translations):
    """Let texts be shown by these translations."""
    catalogue = Catalog(charset="utf-8")
    for text, translation in translations.items():
        catalogue.add(text, translation)
    place = folder / "messages.mo"
    with place.open("wb") as file:
        write_mo(file, catalogue)
    monkeypatch.setattr(texts, "PLACE", place)
    texts.catalogue.cache_clear()


def use_all(monkeypatch, folder):
    use(monkeypatch, folder, {text: pseudo(text) for _, text, _ in messages()})


def plain_words(shown, *data):
    """Return the words that nobody translated, but for what is no text of the program's: `data`."""
    # Long lines are wrapped.
    shown = " ".join(shown.split())
    for each in sorted(data, key=len, reverse=True):
        shown = shown.replace(each, "")
    return _WORD.findall(shown)
