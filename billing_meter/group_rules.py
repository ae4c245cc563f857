"""Group sessions (pure): what a group may ask for, its states, who takes part, what goes back.

Contributions of a pre-session are pledges: held, and either captured when the group starts or given
back, never both. Those who gave the minimum take part. What they paid is for the whole length: for
the part that was not shown, their money goes back, rounded in their favour.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from billing_meter.units import UNITS_PER_CREDIT

GROUP_KIND: Final = "group_session"
"""Of the transfers that capture a contribution; the feature in an expert's earnings."""
MINUTE_MS: Final = 60_000
LENGTH_MS: Final = (3 * MINUTE_MS, 15 * MINUTE_MS)
PRE_SESSION_MS: Final = (1 * MINUTE_MS, 5 * MINUTE_MS)
MINIMUM_UNITS: Final = (2 * UNITS_PER_CREDIT, 500 * UNITS_PER_CREDIT)
GOAL_UNITS: Final = (6 * UNITS_PER_CREDIT, 999 * UNITS_PER_CREDIT)
GOAL_UNITS_PER_MINUTE: Final = 2 * UNITS_PER_CREDIT
"""A goal is at least so much for each minute of the session: six credits for the shortest."""
PLEDGE_UNITS_MAX: Final = GOAL_UNITS[1]
"""One contribution; nobody need give more than the highest goal at once."""
PLEDGES_MAX: Final = 1_000
"""Of one group: all of them are captured in one transaction, which other money waits for."""

Fault = Literal["bad_length", "bad_pre_session", "bad_minimum", "bad_goal"]
EndReason = Literal[
    "time_up",
    "expert_ended",
    "expert_lost",
    "expert_cancelled",
    "goal_missed",
    "never_opened",
    "server_stopped",
]
"""Why a group is over: shown whole, ended early, the expert did not come back; called off before
the start; short of its goal; never opened; its process died."""


class GroupState(enum.StrEnum):
    """`ended`, `cancelled` and `expired` are for ever."""

    SCHEDULED = "scheduled"
    PRE_SESSION = "pre_session"
    LIVE = "live"
    ENDED = "ended"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class StartPolicy(enum.StrEnum):
    """When a group starts without its expert: at the goal, or when also the pre-session is over."""

    ON_GOAL = "on_goal"
    ON_GOAL_AND_TIME = "on_goal_and_time"


OVER: Final = frozenset({GroupState.ENDED, GroupState.CANCELLED, GroupState.EXPIRED})
NEXT: Final[Mapping[GroupState, frozenset[GroupState]]] = {
    GroupState.SCHEDULED: frozenset(
        {GroupState.PRE_SESSION, GroupState.CANCELLED, GroupState.EXPIRED}
    ),
    GroupState.PRE_SESSION: frozenset({GroupState.LIVE, GroupState.CANCELLED, GroupState.EXPIRED}),
    GroupState.LIVE: frozenset({GroupState.ENDED}),
    GroupState.ENDED: frozenset(),
    GroupState.CANCELLED: frozenset(),
    GroupState.EXPIRED: frozenset(),
}
"""Every step that there is. Nobody cancels a group that is live: it ends, and what was not shown
goes back."""


@dataclass(frozen=True, slots=True)
class GroupTerms:
    """What an expert offers; frozen when the group is made."""

    goal_units: int
    minimum_units: int
    length_ms: int
    pre_session_ms: int
    start_policy: StartPolicy = StartPolicy.ON_GOAL
    allow_late: bool = False
    """Whether somebody may join a live group, for the minimum or more at once."""

    @property
    def units_per_minute(self) -> int:
        """The price that is shown: the minimum over the length, rounded up."""
        return -(-self.minimum_units * MINUTE_MS // self.length_ms)


class Pledged(Protocol):
    """What these rules need of a pledge."""

    @property
    def member_id(self) -> str: ...
    @property
    def units(self) -> int: ...


def fault(terms: GroupTerms) -> Fault | None:
    """What is wrong with an offer, or None."""
    least_goal = max(GOAL_UNITS[0], -(-GOAL_UNITS_PER_MINUTE * terms.length_ms // MINUTE_MS))
    if not LENGTH_MS[0] <= terms.length_ms <= LENGTH_MS[1]:
        return "bad_length"
    if not PRE_SESSION_MS[0] <= terms.pre_session_ms <= PRE_SESSION_MS[1]:
        return "bad_pre_session"
    if not least_goal <= terms.goal_units <= GOAL_UNITS[1]:
        return "bad_goal"
    if not MINIMUM_UNITS[0] <= terms.minimum_units <= min(MINIMUM_UNITS[1], terms.goal_units):
        return "bad_minimum"
    return None


def may_go(state: GroupState, to: GroupState) -> bool:
    """Whether there is such a step."""
    return to in NEXT[state]


def taking_part(pledges: Iterable[Pledged], minimum_units: int) -> frozenset[str]:
    """Who gave the minimum or more, in however many contributions."""
    given: Counter[str] = Counter()
    for pledge in pledges:
        given[pledge.member_id] += pledge.units
    return frozenset(member for member, units in given.items() if units >= minimum_units)


def pledge_refusal(
    state: GroupState, terms: GroupTerms, units: int, pledges: int, played_ms: int = 0
) -> str | None:
    """Why a contribution is not taken, whatever its member has; None when it is."""
    if state in OVER:
        return "group_over"
    if state is GroupState.LIVE and terms.allow_late and played_ms >= terms.length_ms:
        return "group_over"  # it was shown whole: there is nothing left to pay for
    if state is GroupState.SCHEDULED:
        return "group_not_open"
    if state is GroupState.LIVE and not terms.allow_late:
        return "group_live"
    if state is GroupState.LIVE and units < terms.minimum_units:
        return "below_minimum"
    if not 1 <= units <= PLEDGE_UNITS_MAX:
        return "units_out_of_range"
    return "group_full" if pledges >= PLEDGES_MAX else None


def unplayed_units(units: int, *, joined_ms: int, played_ms: int, length_ms: int) -> int:
    """What goes back of a contribution to a group that ended after `played_ms` of its length.

    Who joined after `joined_ms` paid for what was left then.
    """
    paid_for_ms = length_ms - joined_ms
    if paid_for_ms <= 0:
        return 0
    shown_ms = min(paid_for_ms, max(0, played_ms - joined_ms))
    return units - units * shown_ms // paid_for_ms
