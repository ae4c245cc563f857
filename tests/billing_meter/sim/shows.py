"""Group sessions as the people in them know them, and what they must have cost them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from billing_meter.group_rules import GroupTerms
from billing_meter.groups import Contributed

GROUPS = sa.text(
    "SELECT group_id, state, played_ms, pledged_units, goal_pledge FROM group_sessions"
)
STEPS = {
    "scheduled": {"pre_session", "cancelled", "expired"},
    "pre_session": {"live", "cancelled", "expired", "ended"},
    "live": {"ended"},
    "ended": set(),
    "cancelled": set(),
    "expired": set(),
}
"""From what was seen after one step of the simulation to what may be seen after the next."""


@dataclass
class Gift:
    """A contribution that its member was told to have made."""

    member: str
    units: int
    late_ms: int | None


@dataclass
class Show:
    """One group. What was shown lies between what was told and what was asked for."""

    name: str
    expert: str
    terms: GroupTerms
    gifts: dict[str, Gift] = field(default_factory=dict)
    state: str = "scheduled"
    played_ms: int = 0
    told_ms: int = 0
    asked_ms: int = 0
    starters: set[str] = field(default_factory=set)

    def gave(self, told: Contributed) -> None:
        """Somebody heard that their contribution counts."""
        pledge = told.pledge
        self.gifts[pledge.pledge_id] = Gift(pledge.member_id, pledge.units, pledge.joined_ms)
        if told.started:
            self.starters.add(pledge.pledge_id)
            assert len(self.starters) == 1, f"{self.name} was started twice"

    @property
    def over(self) -> bool:
        return self.state in ("ended", "cancelled", "expired")

    @property
    def watchers(self) -> set[str]:
        """Who gave the minimum before the start, and who came late."""
        given: Counter[str] = Counter()
        for gift in self.gifts.values():
            if gift.late_ms is None:
                given[gift.member] += gift.units
        early = {name for name, units in given.items() if units >= self.terms.minimum_units}
        return early

    def _paid(self) -> list[Gift]:
        if self.state not in ("live", "ended"):
            return []
        early = self.watchers
        return [g for g in self.gifts.values() if g.late_ms is not None or g.member in early]

    def spent(self) -> Counter[str]:
        """By member, what was captured."""
        spent: Counter[str] = Counter()
        for gift in self._paid():
            spent[gift.member] += gift.units
        return spent

    def back(self) -> Counter[str]:
        """By member, what of that went back since it was not shown."""
        back: Counter[str] = Counter()
        if self.state == "ended":
            for gift in self._paid():
                left = self.terms.length_ms - (gift.late_ms or 0)
                seen = max(0, self.played_ms - (gift.late_ms or 0))
                back[gift.member] += math.ceil(gift.units * (1 - Fraction(seen, left)))
        return back

    def seen(self, row: Any, holds: dict[str, Any]) -> None:
        """Compare with what is durable after a step."""
        name = self.name
        assert row.state == self.state or row.state in STEPS[self.state], (
            f"{name} went from {self.state} to {row.state}"
        )
        self.state, self.played_ms = row.state, row.played_ms
        assert self.told_ms <= row.played_ms <= self.asked_ms, f"{name} shows {row.played_ms}"
        total = sum(gift.units for gift in self.gifts.values())
        assert row.pledged_units == total, f"{name} has {row.pledged_units}, given {total}"
        assert (row.goal_pledge is not None) == (total >= self.terms.goal_units), name
        for pledge_id, gift in self.gifts.items():
            hold = holds.get(pledge_id)
            if self.state == "pre_session":
                assert hold is not None, f"{name}: a pledge of {gift.member} is not held"
                assert hold.rest_units == gift.units
            else:
                assert hold is None, f"{name} is {self.state}, and a pledge is held"
