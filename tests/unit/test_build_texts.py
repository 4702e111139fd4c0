"""A site's translation: what can be put together goes onto the medium, what cannot is named by its line."""

import importlib
import sys

import pytest

from host import texts as shown_texts
from host.texts import Text, shown
from tests.unit.texts_catalogue import CATALOGUE, ROOT

WAIT = "waiting for {what}, at most {seconds:.0f} s"
HEAD = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'


@pytest.fixture
def recipe(monkeypatch):
    """What build/ has is no package."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "build"), *sys.path])
    yield importlib.import_module("texts")
    for name in ("texts", "store"):
        sys.modules.pop(name, None)


@pytest.fixture
def po(tmp_path):
    def one(*entries, head=HEAD, more=""):
        path = tmp_path / "de.po"
        body = "".join(f'msgid "{text}"\nmsgstr "{translation}"\n\n' for text, translation in entries)
        path.write_text(head + body + more, "utf-8")
        return path

    return one


def test_what_is_built_is_shown(recipe, po, monkeypatch, tmp_path, capsys):
    file = po((WAIT, "Warte {seconds:.0f} s auf {what}"), ("Trying again.", ""), ("known", "bekannt"))
    place = tmp_path / "messages.mo"
    place.write_bytes(recipe.compiled(file))
    monkeypatch.setattr(shown_texts, "PLACE", place)
    shown_texts.catalogue.cache_clear()
    assert shown(Text(WAIT, what="x", seconds=3.0)) == "Warte 3 s auf x"
    assert shown("Trying again.") == "Trying again."
    shown_texts.catalogue.cache_clear()
    wanted = CATALOGUE.read_text().count("\nmsgid ") - 1
    assert f"{wanted - 2} of {wanted} texts stay English" in capsys.readouterr().out


def test_the_same_translation_makes_the_same_bytes(recipe, po):
    head = HEAD.replace("Content", 'PO-Revision-Date: 2026-01-01 10:00+0000\\n"\n"Content')
    assert recipe.compiled(po(("known", "bekannt"))) == recipe.compiled(po(("known", "bekannt"), head=head))


@pytest.mark.parametrize(
    ("translation", "fault"),
    [
        ("Warte auf {was}", "{seconds:.0f}, {what}, and has {was}"),
        ("Warte", "{seconds:.0f}, {what}, and has none"),
        ("Warte {seconds} s auf {what}", "and has {seconds}, {what}"),
        ("Warte {seconds:.0f} s auf {what!r}", "and has {seconds:.0f}, {what!r}"),
        ("Warte {seconds:.0f} s auf {what", "expected '}'"),
        ("Warte {seconds:.0f} s auf {what}\\t", "characters that are no text"),
    ],
)
def test_what_could_not_be_put_together_is_an_error(recipe, po, translation, fault):
    with pytest.raises(recipe.TextsError) as error:
        recipe.compiled(po(("known", "bekannt"), (WAIT, translation)))
    assert "de.po:8: " in str(error.value)
    assert fault in str(error.value)


def test_plural_forms_and_what_is_no_po_file_are_errors(recipe, po):
    plural = 'msgid "a disk"\nmsgid_plural "disks"\nmsgstr[0] "eine"\nmsgstr[1] "viele"\n'
    with pytest.raises(recipe.TextsError, match="plural forms"):
        recipe.compiled(po(more=plural))
    with pytest.raises(recipe.TextsError, match=r"de\.po"):
        recipe.compiled(po(more="no such thing\n"))


def test_an_unsure_translation_stays_english(recipe, po, capsys):
    recipe.compiled(po(more='#, fuzzy\nmsgid "known"\nmsgstr "{falsch}"\n'))
    wanted = CATALOGUE.read_text().count("\nmsgid ") - 1
    assert f"{wanted} of {wanted} texts stay English" in capsys.readouterr().out


def test_letters_that_a_screen_may_lack_are_named(recipe, po, capsys):
    recipe.compiled(po(("known", "größer, déjà, añadir"), ("unknown", "žluťoučký")))
    assert "may not have the letters ý č ť ž" in capsys.readouterr().out
    recipe.compiled(po(("known", "größer, déjà, añadir")))
    assert "may not have" not in capsys.readouterr().out
