"""Units: the one integer in which all money is counted, and its text for people.

1 credit is 6,000 units. A price in hundredths of a credit per minute is then exactly the same
number of units per second (2.99 credits/min = 299 units/s), so no rate is ever rounded.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

UNITS_PER_CREDIT = 6_000
CREDITS_MAX = 10**9
"""Larger amounts are refused on input: no real one comes near, and every sum stays below 2^63."""
_CENT = Decimal("0.01")


def units_from_credits(text: str | Decimal) -> int:
    """Credits as typed (``"27.99"``) to units; ValueError unless it is a whole number of units."""
    try:
        credits_value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"not a number of credits: {text!r}") from error
    if not credits_value.is_finite() or abs(credits_value) > CREDITS_MAX:
        raise ValueError(f"not a usable number of credits: {text!r}")
    units = credits_value * UNITS_PER_CREDIT
    if units != units.to_integral_value():
        raise ValueError(f"{text} credits are not a whole number of units")
    return int(units)


def credits_text(units: int) -> str:
    """Units as credits with two decimals, for display only (37,375 units → ``"6.23"``)."""
    value = (Decimal(units) / UNITS_PER_CREDIT).quantize(_CENT, rounding=ROUND_HALF_EVEN)
    return f"{value:.2f}"
