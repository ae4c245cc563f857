"""What can be bought: credit packages, by price list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from billing_meter.units import units_from_credits


@dataclass(frozen=True, slots=True)
class Package:
    """Credits for a price in minor currency units (cents)."""

    id: str
    credits_units: int
    price_minor: int
    currency: str
    preselected: bool = False


def _package(package_id: str, credits_text: str, price_minor: int, chosen: bool = False) -> Package:
    return Package(package_id, units_from_credits(credits_text), price_minor, "EUR", chosen)


DEFAULT_PACKAGE_ID = "credits-27"
PACKAGES: Mapping[str, Package] = {
    package.id: package
    for package in (
        _package("credits-9", "9.99", 999),
        _package(DEFAULT_PACKAGE_ID, "27.99", 2_799, chosen=True),
        _package("credits-59", "59.99", 5_999),
        _package("credits-99", "99.99", 9_999),
    )
}
"""The default price list, cheapest first."""
