"""The rules of what is bought at once: prices, who may buy, windows to the millisecond."""

from __future__ import annotations

from dataclasses import replace

import pytest

from billing_meter import features
from billing_meter.features import CONTENT_MS, DAY_MS, STORY_MS, Access, Buy, Feature

T = 1_700_000_000_000
CREDIT = 6_000
ROSE = Buy("k", "ann", "eve", Feature.SURPRISE, "rose", CREDIT, CREDIT)
STORY = Buy("k", "ann", "eve", Feature.STORY, "eve", 5 * CREDIT, 5 * CREDIT)
ALBUM = Buy("k", "ann", "eve", Feature.CONTENT, "album", 10 * CREDIT, 10 * CREDIT)
LETTER = Buy("k", "ann", "eve", Feature.MESSAGE, "m1", 9_000, 9_000)


def priced(buy: Buy, units: int) -> Buy:
    return replace(buy, units=units, price_units=units)


REFUSALS = [
    # what, premium, access until, and what is said
    (ROSE, True, None, None),
    (ROSE, False, None, "premium_required"),
    (priced(ROSE, 1), True, None, None),
    (priced(ROSE, 1_000 * CREDIT), True, None, None),
    (priced(ROSE, 1_000 * CREDIT + 1), True, None, "price_out_of_range"),
    (LETTER, True, None, None),
    (LETTER, False, None, "premium_required"),
    (priced(LETTER, 8_999), True, None, "price_out_of_range"),
    (priced(LETTER, 100 * CREDIT + 1), True, None, "price_out_of_range"),
    (replace(LETTER, price_units=9_001), True, None, "price_changed"),
    (replace(LETTER, price_units=8_999), True, None, "price_changed"),
    (replace(LETTER, price_units=9_001), False, None, "price_changed"),
    (STORY, False, None, None),
    (STORY, False, T + 1, None),
    (priced(STORY, 2_999), True, None, "price_out_of_range"),
    (priced(STORY, 100 * CREDIT + 1), True, None, "price_out_of_range"),
    (ALBUM, False, None, None),
    (ALBUM, True, T + 1, "already_entitled"),
    (replace(ALBUM, price_units=1), True, T + 1, "price_changed"),
    (priced(ALBUM, 2_999), True, None, "price_out_of_range"),
    (priced(ALBUM, 500 * CREDIT + 1), True, None, "price_out_of_range"),
]


@pytest.mark.parametrize(("buy", "premium", "until_ms", "says"), REFUSALS)
def test_who_may_buy_what_at_which_price(buy, premium, until_ms, says) -> None:
    assert features.refusal(buy, premium=premium, access_until_ms=until_ms) == says


def test_the_windows_are_those_of_the_product() -> None:
    assert (STORY_MS, CONTENT_MS) == (7 * 24 * 3_600_000, 90 * 24 * 3_600_000)
    for buy, until_ms, window in (
        (STORY, None, (T, T + STORY_MS)),
        (STORY, T + 5, (T + 5, T + 5 + STORY_MS)),
        (ALBUM, None, (T, T + CONTENT_MS)),
    ):
        given = features.access_of(buy, 7, now_ms=T, access_until_ms=until_ms)
        assert given == Access(7, "ann", buy.feature, buy.object_id, *window)
    for buy in (ROSE, LETTER):
        assert features.access_of(buy, 7, now_ms=T, access_until_ms=None) is None


def weeks(*bounds: tuple[int, int, int]) -> list[Access]:
    """Windows as (transfer, from, until) in days."""
    return [
        Access(transfer, "ann", Feature.STORY, "eve", begin * DAY_MS, end * DAY_MS)
        for transfer, begin, end in bounds
    ]


@pytest.mark.parametrize(
    ("before", "gone", "day", "after"),
    [
        ([(1, 0, 7)], 1, 3, [(1, 0, 3)]),
        ([(1, 0, 7)], 1, 0, [(1, 0, 0)]),
        ([(1, 0, 7)], 1, 7, [(1, 0, 7)]),
        ([(1, 0, 7)], 1, 30, [(1, 0, 7)]),
        ([(1, 0, 7), (2, 7, 14)], 1, 3, [(1, 0, 3), (2, 3, 10)]),
        ([(1, 0, 7), (2, 7, 14)], 2, 3, [(1, 0, 7), (2, 7, 7)]),
        ([(1, 0, 7), (2, 7, 14)], 2, 9, [(1, 0, 7), (2, 7, 9)]),
        ([(1, 0, 7), (2, 7, 14), (3, 14, 21)], 2, 3, [(1, 0, 7), (2, 7, 7), (3, 7, 14)]),
        ([(1, 0, 7), (2, 7, 14), (3, 14, 21)], 1, 9, [(1, 0, 7), (2, 7, 14), (3, 14, 21)]),
        ([(1, 0, 7), (2, 20, 27)], 1, 21, [(1, 0, 7), (2, 20, 27)]),
        # The clock was set back to before the purchase.
        ([(1, 5, 12), (2, 12, 19)], 1, 3, [(1, 5, 5), (2, 5, 12)]),
    ],
)
def test_a_refund_ends_its_own_window_and_costs_no_other_a_day(before, gone, day, after) -> None:
    assert features.without(weeks(*before), gone, day * DAY_MS) == weeks(*after)


@pytest.mark.parametrize(
    "change",
    [
        {"key": ""},
        {"key": "k" * 101},
        {"object_id": ""},
        {"object_id": "o" * 65},
        {"units": 0},
        {"units": -1},
        {"feature": Feature.STORY},
    ],
)
def test_requests_that_cannot_be_meant_are_bugs_of_the_caller(change) -> None:
    with pytest.raises(ValueError, match=r"has 1 to|cannot be paid|all stories"):
        features.checked(replace(ALBUM, **change))


def test_keys_of_members_never_meet() -> None:
    assert features.checked(ALBUM) is ALBUM
    other = replace(ALBUM, member_id="bob")
    assert ALBUM.debit.key != other.debit.key
    assert replace(ALBUM, price_units=1).debit == ALBUM.debit
