"""Promotions (pure): which one a purchase gets, and what it then costs.

Two promotions never stack: the one that leaves the lowest price is applied, and among equal ones
the first by id. The price is rounded up to a whole minor unit, so that no discount is ever more
than its percentage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PERCENT_MAX = 90
NEVER_REDUCED = frozenset({"bitcoin", "gift_card", "pay_by_phone", "paysafecard"})
"""Ways to pay that no promotion applies to."""
PROMOTION_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
COUNTRY = re.compile(r"[A-Z]{2}")
"""ISO 3166-1 alpha-2."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """`percent` off in [starts_at_ms, ends_at_ms), UTC. Empty sets mean "all" (or "none more").

    A promotion for some countries is for nobody whose country is not known.
    """

    promotion_id: str
    percent: int
    starts_at_ms: int
    ends_at_ms: int
    packages: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    excluded_methods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Price:
    """What an order costs, in minor currency units, and why; frozen in the order."""

    price_minor: int
    list_price_minor: int
    promotion: Promotion | None = None


def fault(promotion: Promotion) -> str | None:
    """Why a promotion is refused, or None."""
    if not PROMOTION_ID.fullmatch(promotion.promotion_id):
        return "its id has 1 to 40 of a-z, 0-9 and -, and begins with a letter or digit"
    if not 1 <= promotion.percent <= PERCENT_MAX:
        return f"a discount is 1 to {PERCENT_MAX} percent"
    if promotion.ends_at_ms <= promotion.starts_at_ms:
        return "it ends before it begins"
    bad = sorted(code for code in promotion.countries if not COUNTRY.fullmatch(code))
    if bad:
        return f"{bad[0]!r} is not a country code such as NO"
    return None


def applies(
    promotion: Promotion, package_id: str, method: str, country: str | None, at_ms: int
) -> bool:
    """Whether a purchase at this instant gets the discount."""
    return (
        promotion.starts_at_ms <= at_ms < promotion.ends_at_ms
        and (not promotion.packages or package_id in promotion.packages)
        and (not promotion.countries or country in promotion.countries)
        and method not in NEVER_REDUCED
        and method not in promotion.excluded_methods
    )


def reduced(list_price_minor: int, percent: int) -> int:
    """The list price less `percent` of it, rounded up to a whole minor unit."""
    return -(-list_price_minor * (100 - percent) // 100)


def price(
    promotions: Iterable[Promotion],
    package_id: str,
    list_price_minor: int,
    method: str,
    country: str | None,
    at_ms: int,
) -> Price:
    """What a package costs this way, here and now."""
    offers = [
        (reduced(list_price_minor, promotion.percent), promotion.promotion_id, promotion)
        for promotion in promotions
        if applies(promotion, package_id, method, country, at_ms)
    ]
    if not offers:
        return Price(list_price_minor, list_price_minor)
    price_minor, _, promotion = min(offers, key=lambda offer: offer[:2])
    return Price(price_minor, list_price_minor, promotion)
