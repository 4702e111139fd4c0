"""The documentation leads somewhere: links exist, the events and options it lists are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from bootmanager.plan import MEDIUM_STEPS, PLANS
from host.options import Options

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_row_belongs_to_a_table(page):
    """A blank line ends a table: what follows is shown as text."""
    lines = ["", *page.read_text().splitlines(), ""]
    begun = zip(lines, lines[1:], lines[2:], strict=False)
    heads = [(line, rule) for before, line, rule in begun if line[:1] == "|" != before[:1]]
    assert [line for line, rule in heads if not re.fullmatch(r"\|(-+\|)+", rule)] == []


def test_every_option_is_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text()
    assert [field.name for field in fields(Options) if f"| `{field.name}` |" not in reference] == []


def test_every_event_is_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text()
    told = set()
    for room in ("host", "hwdetect", "images", "steps", "bootmanager", "configmanager"):
        for path in (ROOT / room).rglob("*.py"):
            told |= set(re.findall(r"""\btell\(\s*"([a-z.]+)\"""", path.read_text()))
    assert sorted(event for event in told if f"`{event}`" not in reference) == []


def test_every_step_of_a_plan_is_offered():
    offered = (ROOT / "setup.cfg").read_text()
    names = {name for plan in (*PLANS.values(), MEDIUM_STEPS) for name in plan}
    assert [name for name in names if f"    {name} = steps." not in offered] == []
