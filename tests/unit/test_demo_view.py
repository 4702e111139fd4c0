"""Lines of the demo, where there is no terminal."""

import io
from typing import Any

from rich.console import Console

from tests.vm.demo.view import View


def said(**event: Any) -> str:
    screen = io.StringIO()
    View(Console(file=screen)).event(event)
    return " ".join(screen.getvalue().split())


def test_the_plan_of_an_image() -> None:
    sizes = {"tree_bytes": 3_000_000, "cache_bytes": 500_000, "fetch_bytes": 10_000_000}
    line = said(event="image.planned", image="base", **sizes)
    where = "3.0 MB from the disk, 0.5 MB from the dongle, 10.0 MB to fetch"
    assert line.endswith(f"image base, planned: {where}")
