"""Reward Club (pure): points for what is spent, and the ranks that they reach.

One credit spent is one point of its calendar month (UTC); what is given back takes its points away
from the month it comes back in. A rank that a month's points reach is kept for 60 days from then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from billing_meter.units import UNITS_PER_CREDIT

DAY_MS = 24 * 60 * 60 * 1_000
RANK_KEPT_MS = 60 * DAY_MS
EPOCH = date(1970, 1, 1)
NO_RANK = "none"


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank and the points of one month that reach it."""

    name: str
    points: int


RANKS = (
    Rank("signature", 15),
    Rank("bronze", 50),
    Rank("silver", 250),
    Rank("gold", 1_000),
    Rank("platinum", 5_000),
    Rank("diamond", 15_000),
)
"""From the lowest. The numbers are those that the operator's own page gives."""


@dataclass(frozen=True, slots=True)
class Held:
    """The rank somebody has and until when, unless it is reached again."""

    rank: Rank
    until_ms: int


def points(units: int) -> int:
    """Whole points of what was spent; a month in which more came back has none."""
    return max(0, units) // UNITS_PER_CREDIT


def month_of(day: int) -> int:
    """The month (year × 100 + month) of a day since 1970."""
    found = EPOCH + timedelta(days=day)
    return found.year * 100 + found.month


def month_end_ms(at_ms: int) -> int:
    """When the calendar month of an instant ends."""
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    following = (at.replace(day=28) + timedelta(days=4)).replace(day=1)
    return int(following.replace(hour=0, minute=0, second=0).timestamp()) * 1_000


def reached(before_units: int, after_units: int) -> list[str]:
    """The ranks that a month's sum passes on its way from the one to the other, lowest first."""
    before, after = points(before_units), points(after_units)
    return [rank.name for rank in RANKS if before < rank.points <= after]


def held(reached_at_ms: Mapping[str, int], now_ms: int) -> Held | None:
    """The highest rank that is still kept."""
    for rank in reversed(RANKS):
        at_ms = reached_at_ms.get(rank.name)
        if at_ms is not None and now_ms < at_ms + RANK_KEPT_MS:
            return Held(rank, at_ms + RANK_KEPT_MS)
    return None


def following(points_now: int) -> Rank | None:
    """The next rank that this month's points can reach."""
    return next((rank for rank in RANKS if points_now < rank.points), None)
