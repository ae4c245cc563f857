"""What members bought for a time, by an independent count: days that were paid, less days used."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

DAY_MS = 24 * 60 * 60 * 1_000
DAYS = {"story": 7, "content": 90}
PURCHASES = sa.text(
    "SELECT transfer, member_id, feature, object_id, at_ms, refund_transfer, refunded_at_ms,"
    " refunded_units = units AS whole"
    " FROM feature_purchases ORDER BY transfer"
)
ACCESS = sa.text("SELECT transfer, from_ms, until_ms FROM feature_access")


@dataclass
class Stay:
    """One purchase's part of somebody's time."""

    transfer: int
    begin: int
    length: int


def replay(purchases: list[Any]) -> dict[int, tuple[int, int]]:
    """Transfer → (from, until), from the purchases and refunds in the journal's order."""
    events = [(row.transfer, row, False) for row in purchases]
    # A part that went back takes no day.
    events += [(row.refund_transfer, row, True) for row in purchases if row.whole]
    stays: defaultdict[tuple[str, str, str], list[Stay]] = defaultdict(list)
    for _, row, refunded in sorted(events, key=lambda event: event[0]):
        if row.feature not in DAYS:
            continue
        mine = stays[(row.member_id, row.feature, row.object_id)]
        if refunded:
            give_up(mine, row.transfer, row.refunded_at_ms)
            continue
        end = max((stay.begin + stay.length for stay in mine if stay.length), default=row.at_ms)
        if row.feature == "content":
            assert end <= row.at_ms, f"{row.member_id} paid twice for {row.object_id}"
        mine.append(Stay(row.transfer, max(end, row.at_ms), DAYS[row.feature] * DAY_MS))
    return {
        stay.transfer: (stay.begin, stay.begin + stay.length)
        for mine in stays.values()
        for stay in mine
    }


def give_up(mine: list[Stay], transfer: int, now: int) -> None:
    """A purchase went back: its unused days are gone, those of later ones are not."""
    [gone] = [stay for stay in mine if stay.transfer == transfer]
    end = gone.begin + gone.length
    unused = max(0, min(gone.length, end - now))
    gone.length -= unused
    for stay in mine:
        if stay is not gone and stay.begin >= end:
            stay.begin -= unused
