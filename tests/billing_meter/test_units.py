"""Units and tariffs: exact in both directions, refused when they cannot be."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_meter.tariff import Component, Tariff
from billing_meter.units import credits_text, units_from_credits


@pytest.mark.parametrize(
    ("text", "units"),
    [("9.99", 59_940), ("27.99", 167_940), ("7", 42_000), ("1.5", 9_000), ("-0.01", -60)],
)
def test_credits_become_units_exactly(text: str, units: int) -> None:
    assert units_from_credits(text) == units
    assert units_from_credits(Decimal(text)) == units


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "0.00001", "1e30", "1,5"])
def test_what_is_not_a_number_of_units_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="credits"):
        units_from_credits(text)


def test_display_has_two_decimals() -> None:
    assert credits_text(37_375) == "6.23"
    assert credits_text(-1) == "-0.00"
    assert credits_text(600) == "0.10"


@given(st.integers(99, 9_999), st.integers(0, 9_999), st.integers(0, 9_999))
def test_hundredths_per_minute_are_units_per_second(private: int, cam: int, audio: int) -> None:
    tariff = Tariff(private, cam, audio)
    per_minute = Decimal(private) / 100
    assert units_from_credits(per_minute) == 60 * tariff.rate(Component.PRIVATE)
    assert tariff.total(Component) == private + cam + audio


@pytest.mark.parametrize("rates", [(98, 0, 0), (10_000, 0, 0), (99, -1, 0), (99, 0, 10_000)])
def test_prices_outside_the_limits_are_refused(rates: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="costs"):
        Tariff(*rates)
    assert Tariff(99, 0, 0).rate(Component.CAM2CAM) == 0
