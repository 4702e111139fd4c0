"""The results of hardware tests as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bootmanager.hwtest.result import Result
from host.terminal import COLUMNS
from host.texts import _, shown

_FIRST = 42


def text(results: Sequence[Result]) -> str:
    """Return rows of less than 80 columns: test, target, outcome, why and by which limit."""
    rows = [_begin(shown(_("test")), _("what"), _("outcome")) + shown(_("found"))]
    for result in results:
        said = shown(result.detail)
        if result.limit:
            said = shown(_("{found} (limit: {limit})", found=result.detail, limit=result.limit))
        found = textwrap.wrap(said, COLUMNS - 1 - _FIRST, break_on_hyphens=False) or [""]
        begin = _begin(result.test, result.target, result.outcome)
        rows += [begin + found[0], *(" " * _FIRST + row for row in found[1:])]
    return "\n".join(rows)


def _begin(test: str, target: str, outcome: str) -> str:
    return f"{test:<8} {shown(target)[:19]:<19} {shown(outcome):<12} "
