"""The results of hardware tests as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bootmanager.hwtest.result import Result
from host.terminal import COLUMNS

_FIRST = 42


def text(results: Sequence[Result]) -> str:
    """Return rows of less than 80 columns: test, target, outcome, why and by which limit."""
    rows = [f"{'test':<8} {'what':<19} {'outcome':<12} found"]
    for result in results:
        limit = f" (limit: {result.limit})" if result.limit else ""
        found = textwrap.wrap(result.detail + limit, COLUMNS - 1 - _FIRST, break_on_hyphens=False) or [""]
        begin = f"{result.test:<8} {result.target[:19]:<19} {result.outcome:<12} "
        rows += [f"{begin:<{_FIRST}}{found[0]}", *(" " * _FIRST + row for row in found[1:])]
    return "\n".join(rows)
