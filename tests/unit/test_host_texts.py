"""Texts in a site's language: English until they are shown, and English where a translation is of no use."""

import copy
import json

import pytest

from host import texts
from host.report import portable
from host.texts import Text, error_text, joined, shown
from steps.check_hardware import InsufficientMemory

WAIT = "waiting for {what}, at most {seconds:.0f} s"
ADDRESS = "an address on {device}"
GERMAN = {WAIT: "Warte {seconds:.0f} s auf {what}", ADDRESS: "eine Adresse für {device}", "known": "bekannt"}


def waiting(device="eth0"):
    return Text(WAIT, what=Text(ADDRESS, device=device), seconds=90.0)


def test_without_a_catalogue_all_is_english(monkeypatch, tmp_path):
    monkeypatch.setattr(texts, "PLACE", tmp_path / "none.mo")
    texts.catalogue.cache_clear()
    assert shown(waiting()) == waiting() == "waiting for an address on eth0, at most 90 s"
    assert not texts.is_translated()


def test_it_is_translated_where_it_is_shown_and_english_elsewhere(texts_of):
    texts_of(GERMAN)
    text = waiting()
    assert shown(text) == "Warte 90 s auf eine Adresse für eth0"
    assert [str(text), f"{text}", json.loads(json.dumps(text))] == [
        "waiting for an address on eth0, at most 90 s"
    ] * 3
    # What goes to the server is no text of a kind that XML-RPC does not know.
    assert type(portable({"for": text})["for"]) is str
    assert shown(copy.deepcopy(text)) == shown(text)


def test_a_plain_text_is_translated_as_a_whole_and_data_never(texts_of):
    texts_of(GERMAN)
    assert shown("known") == "bekannt"
    assert shown(Text("{step}: {state}", step="known", state=Text("known"))) == "known: bekannt"
    assert shown(joined(", ", [Text("known"), "known"])) == "bekannt, known"
    assert shown("") == ""


def test_braces_in_what_is_put_in_are_data(texts_of):
    texts_of(GERMAN)
    assert shown(waiting("{what}{0}{")) == "Warte 90 s auf eine Adresse für {what}{0}{"


@pytest.mark.parametrize(
    "broken",
    [
        "Warte auf {was}",
        "Warte auf {what}",
        "Warte {seconds:d} s auf {what}",
        "Warte {seconds} s auf {what}",
        "Warte {seconds:.0f} s auf {what.__class__}",
        "Warte {seconds:.0f} s auf {what!r}",
        "Warte {seconds:.0f} s auf {what} {0}",
        "Warte {seconds:.0f} s auf {what} {",
        "Warte {seconds:.0f} s auf {what} }",
    ],
)
def test_a_translation_with_other_parts_is_not_used(texts_of, broken):
    texts_of({**GERMAN, WAIT: broken})
    assert shown(waiting()) == "waiting for eine Adresse für eth0, at most 90 s"


@pytest.mark.parametrize("data", [b"", b"x", b"no catalogue", bytes(100), b"\xde\x12\x04\x95" + b"\xff" * 30])
def test_what_is_no_catalogue_is_as_none(texts_of, data):
    texts_of(GERMAN)
    texts.PLACE.write_bytes(data)
    texts.catalogue.cache_clear()
    assert shown(waiting()) == waiting()


def test_a_catalogue_that_is_cut_off_anywhere_stops_nobody(texts_of):
    texts_of(GERMAN)
    whole = texts.PLACE.read_bytes()
    for length in range(len(whole)):
        texts.PLACE.write_bytes(whole[:length])
        texts.catalogue.cache_clear()
        assert shown(waiting())


def test_an_error_is_what_it_is_in_a_log_and_translated_for_people(texts_of):
    error = InsufficientMemory("512 MiB, 1024 MiB are needed")
    assert error_text(error) == str(error)
    assert error_text(OSError(5, "Input/output error")) == "[Errno 5] Input/output error"
    texts_of({InsufficientMemory.title: "Zu wenig Speicher"})
    assert shown(error_text(error)) == "Zu wenig Speicher: 512 MiB, 1024 MiB are needed [insufficient-memory]"
