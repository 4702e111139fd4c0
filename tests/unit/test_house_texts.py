"""Every text that a person at a machine reads is in the catalogue: none is said that was not marked."""

import ast
import re

import pytest

from host.texts import parts_of
from tests.unit.texts_catalogue import CATALOGUE, ROOMS, ROOT, catalogue, messages

FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
# What shows texts, and which of its arguments is the first that is one.
SHOWS = {
    "say": 0,
    "ask": 0,
    "agreed": 1,
    "one_of": 1,
    "page": 1,
    "Entry": 0,
    "fire": 1,
    "Released": 0,
    "Change": 1,
    "NotKept": 0,
    "progress": 0,
    "_progress": 0,
    "on_progress": 0,
    "_on_progress": 0,
    "judged": 2,
    "not_possible": 2,
}
KEYWORDS = {"hint", "ended", "ssh"}
WORD = re.compile("[a-z]{2,}")
# Not a text but what is to be typed.
COMMANDS = {"ssh root@"}


def test_the_catalogue_is_up_to_date():
    """If this fails: python -m tests.unit.texts_catalogue."""
    assert CATALOGUE.read_text() == catalogue()


def test_every_text_can_be_put_together():
    for file, text, _ in messages():
        assert all(name.isidentifier() for name, _, _ in parts_of(text)), (file, text)


def unmarked(call, values):
    """Yield what a call shows that was never marked; `values` are those of the function's variables."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    shown = [keyword.value for keyword in call.keywords if keyword.arg in KEYWORDS]
    if name in SHOWS:
        shown += call.args[SHOWS[name] :]
    if name == "tell":
        waits = (
            each.value for each in call.keywords if each.arg is None and isinstance(each.value, ast.Dict)
        )
        for wait in waits:
            shown += [value for key, value in zip(wait.keys, wait.values, strict=True) if key.value == "for"]
    for each in shown:
        yield from plain(each, values)


def plain(node, values):
    """Yield words in a text that stand there as they are."""
    match node:
        case ast.Constant(value=str(text)) if text not in COMMANDS:
            yield from WORD.findall(text)
        case ast.JoinedStr():
            for part in node.values:
                yield from plain(part, values)
        case ast.IfExp():
            yield from plain(node.body, values)
            yield from plain(node.orelse, values)
        case ast.BoolOp():
            for part in node.values:
                yield from plain(part, values)
        case ast.BinOp():
            yield from plain(node.left, values)
            yield from plain(node.right, values)
        case ast.Name():
            for value in values.pop(node.id, ()):
                yield from plain(value, values)


def functions(path):
    tree = ast.parse(path.read_text(), str(path))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def variables(function):
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def test_what_is_shown_was_marked():
    for path in FILES:
        for function in functions(path):
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    words = list(unmarked(node, variables(function)))
                    assert words == [], f"{path}:{node.lineno}: _(...) around it, and named parts"


def test_a_mark_is_around_a_text_that_the_catalogue_can_have():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: named parts instead"


def test_the_mark_is_no_variable_where_it_is_used():
    for path in FILES:
        for function in functions(path):
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == "_"]
            used = {type(node.ctx) for node in names}
            assert used != {ast.Load, ast.Store}, f"{path}:{function.lineno}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('terminal.say("Trying again.")', ["rying", "again"]),
        ('terminal.say(f"{a}: no such thing")', ["no", "such", "thing"]),
        ('terminal.say(f"{a}: {b}")', []),
        ('terminal.say(_("Trying again."))', []),
        ('Change(Keeps.KEEP, path, "it" if a else _("is"))', ["it"]),
        ('tell("wait.started", **{"for": "a thing", "seconds": 1})', ["thing"]),
        ('what = f"all {of} it"\n    progress(0.5, what)', ["all", "it"]),
    ],
)
def test_what_was_forgotten_is_found(line, words):
    function = ast.parse(f"def f():\n    {line}\n").body[0]
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    assert [word for call in calls for word in unmarked(call, variables(function))] == words
