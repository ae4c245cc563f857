"""What a group may ask for, its steps, who takes part, what goes back: tables of vectors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from billing_meter import group_rules
from billing_meter.group_rules import GroupState, GroupTerms

CREDIT, MINUTE = 6_000, 60_000
TERMS = GroupTerms(20 * CREDIT, 5 * CREDIT, 5 * MINUTE, 2 * MINUTE)
S = GroupState


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"length_ms": 3 * MINUTE - 1}, "bad_length"),
        ({"length_ms": 3 * MINUTE}, None),
        ({"length_ms": 15 * MINUTE, "goal_units": 30 * CREDIT}, None),
        ({"length_ms": 15 * MINUTE + 1, "goal_units": 40 * CREDIT}, "bad_length"),
        ({"pre_session_ms": MINUTE - 1}, "bad_pre_session"),
        ({"pre_session_ms": MINUTE}, None),
        ({"pre_session_ms": 5 * MINUTE}, None),
        ({"pre_session_ms": 5 * MINUTE + 1}, "bad_pre_session"),
        ({"length_ms": 3 * MINUTE, "goal_units": 6 * CREDIT}, None),
        ({"length_ms": 3 * MINUTE, "goal_units": 6 * CREDIT - 1}, "bad_goal"),
        ({"goal_units": 10 * CREDIT}, None),
        ({"goal_units": 10 * CREDIT - 1}, "bad_goal"),
        ({"goal_units": 999 * CREDIT}, None),
        ({"goal_units": 999 * CREDIT + 1}, "bad_goal"),
        ({"minimum_units": 2 * CREDIT}, None),
        ({"minimum_units": 2 * CREDIT - 1}, "bad_minimum"),
        ({"minimum_units": 20 * CREDIT}, None),
        ({"minimum_units": 20 * CREDIT + 1}, "bad_minimum"),
        ({"goal_units": 999 * CREDIT, "minimum_units": 500 * CREDIT}, None),
        ({"goal_units": 999 * CREDIT, "minimum_units": 500 * CREDIT + 1}, "bad_minimum"),
    ],
)
def test_what_a_group_may_ask_for(change, says) -> None:
    assert group_rules.fault(replace(TERMS, **change)) == says


def test_every_step_that_there_is() -> None:
    steps = {(one, two) for one, two in itertools.product(S, S) if group_rules.may_go(one, two)}
    assert steps == {
        (S.SCHEDULED, S.PRE_SESSION),
        (S.SCHEDULED, S.CANCELLED),
        (S.SCHEDULED, S.EXPIRED),
        (S.PRE_SESSION, S.LIVE),
        (S.PRE_SESSION, S.CANCELLED),
        (S.PRE_SESSION, S.EXPIRED),
        (S.LIVE, S.ENDED),
    }


@dataclass
class Given:
    member_id: str
    units: int


def test_who_takes_part() -> None:
    gifts = [Given("ann", 3), Given("bob", 5), Given("ann", 2), Given("cid", 4)]
    assert group_rules.taking_part(gifts, 5) == {"ann", "bob"}
    assert group_rules.taking_part(gifts, 6) == frozenset()
    assert group_rules.taking_part([], 1) == frozenset()


LATE = replace(TERMS, allow_late=True)


@pytest.mark.parametrize(
    ("state", "terms", "units", "pledges", "says"),
    [
        (S.SCHEDULED, TERMS, CREDIT, 0, "group_not_open"),
        (S.PRE_SESSION, TERMS, 1, 0, None),
        (S.PRE_SESSION, TERMS, 999 * CREDIT, 0, None),
        (S.PRE_SESSION, TERMS, 999 * CREDIT + 1, 0, "units_out_of_range"),
        (S.PRE_SESSION, TERMS, 0, 0, "units_out_of_range"),
        (S.PRE_SESSION, TERMS, 1, 999, None),
        (S.PRE_SESSION, TERMS, 1, 1_000, "group_full"),
        (S.LIVE, TERMS, 999 * CREDIT, 0, "group_live"),
        (S.LIVE, LATE, 5 * CREDIT - 1, 0, "below_minimum"),
        (S.LIVE, LATE, 5 * CREDIT, 0, None),
        (S.ENDED, LATE, 5 * CREDIT, 0, "group_over"),
        (S.CANCELLED, TERMS, CREDIT, 0, "group_over"),
        (S.EXPIRED, TERMS, CREDIT, 0, "group_over"),
    ],
)
def test_which_contributions_are_taken(state, terms, units, pledges, says) -> None:
    assert group_rules.pledge_refusal(state, terms, units, pledges) == says


@pytest.mark.parametrize(
    ("units", "joined_ms", "played_ms", "back"),
    [
        (30_000, 0, 300_000, 0),
        (30_000, 0, 0, 30_000),
        (30_000, 0, 150_000, 15_000),
        (30_000, 0, 299_999, 1),
        (30_001, 0, 100_000, 20_001),
        (1, 0, 299_999, 1),
        (30_000, 0, 400_000, 0),
        (30_000, 0, -1, 30_000),
        (30_000, 150_000, 150_000, 30_000),
        (30_000, 150_000, 225_000, 15_000),
        (30_000, 150_000, 300_000, 0),
        (30_000, 300_000, 300_000, 0),
    ],
)
def test_what_was_not_shown_goes_back_rounded_for_the_member(
    units, joined_ms, played_ms, back
) -> None:
    told = group_rules.unplayed_units(
        units, joined_ms=joined_ms, played_ms=played_ms, length_ms=300_000
    )
    assert told == back


def test_the_price_that_is_shown() -> None:
    assert TERMS.units_per_minute == CREDIT
    assert replace(TERMS, minimum_units=30_001).units_per_minute == 6_001
