"""Weights of processors, which are all that control groups know, such that a guarantee holds.

Of the node's processor time slivers together are sure of 90 % (weight 1800 of 2000, beside 100 each of the
node's services and of people logged in). With m for a sliver's guarantee as a part of that, M for the sum of
all, s for its share and S for the sum of all shares, its weight is

    s + m * S / (1 - M)

The weights add up to S / (1 - M), so when all compete each gets m + (1 - M) * s / S: its guarantee, and its
share of the rest. When some are idle, everybody gets more. Without a guarantee the weight is the share.
See cgroup-v2, "Weights": 1 to 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from wire.slivers import Sliver

SLIVERS_WEIGHT = 1800
_SLIVERS_PART = 0.9
# The rest is what is divided by shares: nobody is left with nothing.
GUARANTEED_PART = 0.8
_MOST = 10_000


@dataclass(frozen=True)
class Weights:
    """Weights by the slivers' names; `refused` are those whose guarantee the node cannot give."""

    by_name: dict[str, int]
    refused: frozenset[str]


def cpu_weights(slivers: Iterable[Sliver], processors: int) -> Weights:
    """Divide the node's processors. Where guarantees are too many, the oldest slices have theirs."""
    ordered = sorted(slivers, key=lambda sliver: (sliver.slice_id, sliver.name))
    room = int(1000 * processors * GUARANTEED_PART)
    guaranteed: dict[str, int] = {}
    for sliver in ordered:
        if sliver.rspec.cpu_min <= room:
            guaranteed[sliver.name] = sliver.rspec.cpu_min
            room -= sliver.rspec.cpu_min
    whole = 1000 * processors * _SLIVERS_PART
    shares = sum(sliver.rspec.cpu_share for sliver in ordered)
    each = shares / (1 - sum(guaranteed.values()) / whole)
    exact = {
        sliver.name: sliver.rspec.cpu_share + guaranteed.get(sliver.name, 0) / whole * each
        for sliver in ordered
    }
    scale = _scale(max(exact.values(), default=0.0))
    return Weights(
        {name: max(1, math.ceil(weight * scale)) for name, weight in exact.items()},
        frozenset(sliver.name for sliver in ordered if sliver.name not in guaranteed),
    )


def _scale(largest: float) -> float:
    """Return what brings the largest weight into bounds; a power of two, so that it seldom changes."""
    return 1.0 if largest <= _MOST else 0.5 ** math.ceil(math.log2(largest / _MOST))
