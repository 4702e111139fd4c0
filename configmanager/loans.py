"""Loans between slivers: what each has when its neighbours' loans are counted.

Semantics and least amounts are those of the original node manager (its database.py of 2006): a loan counts
while its lender keeps the least amount of its own, what was lent to it is not lent on, and a loan to nobody
is none. Room on the disk cannot be lent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wire.slivers import check_name

MINIMUM = {
    "cpu_min": 0,
    "cpu_share": 16,
    "net_min": 0,
    "net_max": 8,
    "net2_min": 0,
    "net2_max": 8,
    "net_share": 1,
}
# Of one sliver, and what XML-RPC and rates may be.
MOST_LOANS = 100
MOST_AMOUNT = 10**12


@dataclass(frozen=True)
class Loan:
    """So much of a resource for another sliver."""

    recipient: str
    resource: str
    amount: int

    def __post_init__(self) -> None:
        # It is kept on the node's disk, whether or not there is such a sliver. So much says what is wrong.
        check_name(self.recipient[:64])
        if self.resource not in MINIMUM:
            raise ValueError(f"{self.resource[:32]!r} cannot be lent, only {', '.join(sorted(MINIMUM))}")
        if not 0 <= self.amount <= MOST_AMOUNT:
            raise ValueError(f"an amount is a whole number from 0 to {MOST_AMOUNT}")

    @classmethod
    def read(cls, data: object) -> tuple[Loan, ...]:
        """Read a list of [recipient, resource, amount]. Raises ValueError."""
        if not isinstance(data, list) or len(data) > MOST_LOANS:
            raise ValueError(f"a list of at most {MOST_LOANS} loans wanted")
        return tuple(map(_one, data))

    def to_plain(self) -> list[object]:
        """Return it as read() takes it."""
        return [self.recipient, self.resource, self.amount]


def effective(
    own: Mapping[str, Mapping[str, int]], loans: Mapping[str, Sequence[Loan]]
) -> dict[str, dict[str, int]]:
    """Return each sliver's resources with loans counted, given its own and what each lends, in that order."""
    having = {name: dict(amounts) for name, amounts in own.items()}
    for lender, amounts in own.items():
        left = dict(amounts)
        for loan in loans.get(lender, ()):
            what = loan.resource
            if loan.recipient not in own or loan.amount > left[what] - MINIMUM[what]:
                continue
            left[what] -= loan.amount
            having[lender][what] -= loan.amount
            having[loan.recipient][what] += loan.amount
    return having


def _one(item: object) -> Loan:
    match item:
        case [str(recipient), str(resource), int(amount)] if not isinstance(amount, bool):
            return Loan(recipient, resource, amount)
    raise ValueError("a loan is [recipient, resource, amount]")
