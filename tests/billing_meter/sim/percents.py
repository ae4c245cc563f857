"""What experts of the simulation earn of each feature: odd and different, so that floors show."""

from __future__ import annotations

from fractions import Fraction

from billing_meter.shares import Shares
from billing_meter.tariff import Component

SHARES = {
    "eve": Shares(57, 83, 31, 7, 99, 13, 43, 67),
    "gus": Shares(61, 1, 77, 53, 11, 97, 59, 3),
}
OF_KIND = {
    "surprise": "surprise",
    "story": "story",
    "content": "content",
    "group_session": "group",
    "group": "private",
}
"""Kinds of debits, and whose percentage they have: what has none of its own has the session's."""


def percent(expert: str, feature: str) -> int:
    """The percentage that an expert was given."""
    return int(getattr(SHARES[expert], feature))


def of_debit(expert: str, feature: str, units: int) -> int:
    """What an expert has of one debit."""
    return int(Fraction(units * percent(expert, feature), 100))


def of_session(expert: str, units: dict[Component, int]) -> int:
    """What an expert has of a session: one sum, rounded down once."""
    return int(sum(Fraction(n * percent(expert, c.value), 100) for c, n in units.items()))
