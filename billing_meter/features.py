"""What members pay for at once, beside sessions (pure): surprises, stories, content, messages.

One table says for each feature what it may cost, who may buy it and for how long it gives access.
A window of access is half-open: it begins with its purchase, and the instant at which it ends is
outside.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from billing_meter.ledger import Debit
from billing_meter.units import UNITS_PER_CREDIT

DAY_MS: Final = 24 * 60 * 60 * 1_000
STORY_MS: Final = 7 * DAY_MS
CONTENT_MS: Final = 90 * DAY_MS
BUYER_KEY_CHARS_MAX: Final = 100
"""The ledger's key is this with the member before it, and has 200 characters."""
OBJECT_CHARS_MAX: Final = 64

RefusalCode = Literal["price_changed", "price_out_of_range", "premium_required", "already_entitled"]


class Feature(enum.StrEnum):
    """What can be bought; also the kind of its transfer, by which earnings are told apart."""

    SURPRISE = "surprise"
    STORY = "story"
    CONTENT = "content"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Terms:
    """The rules of one feature."""

    min_units: int
    max_units: int
    """Above it a price is a slip of the hand; far above what such sites ask."""
    premium_only: bool = False
    lasts_ms: int | None = None
    """How long a purchase gives access to its object; None: it gives none."""
    extends: bool = False
    """A purchase while there is access adds its time at the end; else it is refused, for free."""
    earned_by_reply: bool = False
    """The expert has their share when they answer, once; until then it is the platform's."""


TERMS: Final[Mapping[Feature, Terms]] = {
    Feature.SURPRISE: Terms(1, 1_000 * UNITS_PER_CREDIT, premium_only=True),
    Feature.STORY: Terms(
        UNITS_PER_CREDIT // 2, 100 * UNITS_PER_CREDIT, lasts_ms=STORY_MS, extends=True
    ),
    Feature.CONTENT: Terms(UNITS_PER_CREDIT // 2, 500 * UNITS_PER_CREDIT, lasts_ms=CONTENT_MS),
    Feature.MESSAGE: Terms(
        UNITS_PER_CREDIT * 3 // 2,  # "at least 1.5 Credits"
        100 * UNITS_PER_CREDIT,
        premium_only=True,
        earned_by_reply=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Buy:
    """One member wants one thing of one expert.

    `units` is the price that the member saw and agreed to, and `price_units` the one in force as
    the seller has it. The first is part of the request, the second is not: who asks again after a
    lost answer gets that answer, whatever it costs meanwhile. `object_id` is what access is given
    to, or what was sent; a story pass is for all stories of its expert, so there it is the expert.
    """

    key: str
    member_id: str
    expert_id: str
    feature: Feature
    object_id: str
    units: int
    price_units: int

    @property
    def debit(self) -> Debit:
        """The ledger's request; keys of different members never meet."""
        return Debit(
            f"{KEY_PREFIX}{self.member_id}:{self.key}",
            self.member_id,
            self.expert_id,
            self.units,
            self.feature.value,
            subject(self.feature, self.object_id),
        )


REPLY: Final = "message_reply"
"""The kind of the transfer that gives an expert their share of a message that they answered."""
REPLY_KEY: Final = "reply:"
"""What the key of such a transfer begins with; the number of the message follows."""
KEY_PREFIX: Final = "buy:"
"""Transfers with such a key are purchases, and have a row as one."""


@dataclass(frozen=True, slots=True)
class Access:
    """[from_ms, until_ms), given by the purchase `transfer`."""

    transfer: int
    member_id: str
    feature: Feature
    object_id: str
    from_ms: int
    until_ms: int


def subject(feature: Feature, object_id: str) -> str:
    """What a purchase's transfer is about."""
    return f"{feature.value}:{object_id}"


def checked(buy: Buy) -> Buy:
    """Refuse impossible requests (ValueError): bugs of the caller, not outcomes."""
    if not 1 <= len(buy.key) <= BUYER_KEY_CHARS_MAX:
        raise ValueError(f"a buyer's key has 1 to {BUYER_KEY_CHARS_MAX} characters")
    if not 1 <= len(buy.object_id) <= OBJECT_CHARS_MAX:
        raise ValueError(f"an object's id has 1 to {OBJECT_CHARS_MAX} characters")
    if buy.feature is Feature.STORY and buy.object_id != buy.expert_id:
        raise ValueError("a story pass is for all stories of its expert")
    if buy.units < 1:
        raise ValueError(f"{buy.units} units cannot be paid")
    return buy


def refusal(buy: Buy, *, premium: bool, access_until_ms: int | None) -> RefusalCode | None:
    """Why this is not sold, whatever the member has; None when it is.

    `access_until_ms` is when the access that the member has ends, None without any.
    """
    terms = TERMS[buy.feature]
    if buy.units != buy.price_units:
        return "price_changed"
    if not terms.min_units <= buy.units <= terms.max_units:
        return "price_out_of_range"
    if terms.premium_only and not premium:
        return "premium_required"
    if access_until_ms is not None and terms.lasts_ms is not None and not terms.extends:
        return "already_entitled"
    return None


def access_of(
    buy: Buy, transfer: int, *, now_ms: int, access_until_ms: int | None
) -> Access | None:
    """What a purchase gives access to: from now on, or from the end of what there is."""
    lasts_ms = TERMS[buy.feature].lasts_ms
    if lasts_ms is None:
        return None
    from_ms = now_ms if access_until_ms is None else access_until_ms
    return Access(transfer, buy.member_id, buy.feature, buy.object_id, from_ms, from_ms + lasts_ms)


def without(windows: list[Access], transfer: int, now_ms: int) -> list[Access]:
    """The windows of one member and object after the purchase `transfer` was given back.

    Its own ends now, if it has not ended. What was bought to follow it begins so much earlier:
    nobody loses days that are paid.
    """
    gone = next(window for window in windows if window.transfer == transfer)
    end_ms = min(gone.until_ms, max(gone.from_ms, now_ms))
    earlier_ms = gone.until_ms - end_ms
    after = []
    for window in windows:
        if window.transfer == transfer:
            after.append(_moved(window, window.from_ms, end_ms))
        elif window.from_ms >= gone.until_ms:
            after.append(_moved(window, window.from_ms - earlier_ms, window.until_ms - earlier_ms))
        else:
            after.append(window)
    return after


def _moved(window: Access, from_ms: int, until_ms: int) -> Access:
    return Access(
        window.transfer, window.member_id, window.feature, window.object_id, from_ms, until_ms
    )
