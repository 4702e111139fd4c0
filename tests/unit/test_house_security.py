"""docs/security.md names tests that exist; comparing secrets has one place."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
TESTS = {
    path.stem: path
    for room in ("unit", "host", "vm", "guest")
    for path in (ROOT / "tests" / room).rglob("test_*.py")
}
ROWS = [
    line.strip("| ").split(" | ")
    for line in PAGE.partition("\n## Calls\n")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]
NAMED = sorted(set(re.findall(r"`(test_\w+(?:::\w+)?)`", PAGE)))


@cache
def functions_of(file):
    """Names of all functions in a test file; the page names many of some."""
    tree = ast.parse(TESTS[file].read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_every_named_test_exists(name):
    file, _, function = name.partition("::")
    assert file in TESTS
    assert not function or function in functions_of(file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_promise_has_a_test_or_is_none(row):
    assert len(row) == 2
    assert (row[1] == "*not yet*") != bool(re.search("`test_", row[1]))


def test_every_attack_is_for_a_promise():
    attacks = {stem for stem in TESTS if "attack" in stem}
    assert {stem for stem in attacks if f"`{stem}::" not in PAGE} == set()


def comparisons(path):
    """Comparisons with == or != of something called a MAC, a digest of a key or a secret."""
    # A table's column of MAC addresses, in a query.
    column = re.compile(r"[A-Z]\w+\.mac")
    secret = re.compile(r"\b(mac|call_mac|reply_mac|opening_mac|secret|key_digest|hmac)\b")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
            if any(column.fullmatch(side) for side in sides):
                continue
            text = " ".join(side for side in sides if not side.startswith("len("))
            if secret.search(text):
                yield f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_macs_are_compared_in_one_place():
    rooms = ("wire", "host", "images", "steps", "bootmanager", "configmanager", "bootserver")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert [found for path in files for found in comparisons(path)] == []
    assert "compare_digest" in (ROOT / "wire/session.py").read_text()
    for side in ("host/server.py", "bootserver/sessions.py", "images/documents.py"):
        assert "same_mac(" in (ROOT / side).read_text()


@pytest.mark.parametrize(
    "text", ["session.call_mac(1) == value", "value != self.mac", "key.secret == other.secret"]
)
def test_a_comparison_that_takes_its_time_is_found(tmp_path, text):
    (tmp_path / "x.py").write_text(text)
    assert list(comparisons(tmp_path / "x.py"))
