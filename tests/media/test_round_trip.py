"""The smoothed round trip: follows what is measured, ignores what cannot be."""

from hypothesis import given
from hypothesis import strategies as st

from media.round_trip import ROUND_TRIP_NS_MAX, RoundTrip

MS = 1_000_000


def test_waits_as_told_until_something_was_measured() -> None:
    trip = RoundTrip()
    assert trip.smoothed_ns is None
    assert trip.wait_ns(80 * MS) == 80 * MS
    trip.sample(-1)
    trip.sample(ROUND_TRIP_NS_MAX + 1)
    assert trip.wait_ns(80 * MS) == 80 * MS


def test_the_first_measurement_counts_whole_and_is_not_trusted_far() -> None:
    trip = RoundTrip()
    trip.sample(100 * MS)
    assert (trip.smoothed_ns, trip.wait_ns(0)) == (100 * MS, 150 * MS)


def test_settles_on_a_steady_path_and_follows_a_change() -> None:
    trip = RoundTrip()
    for _ in range(60):
        trip.sample(50 * MS)
    assert trip.smoothed_ns == 50 * MS
    assert trip.wait_ns(0) < 51 * MS
    trip.sample(130 * MS)
    assert 110 * MS < trip.wait_ns(0) < 120 * MS
    for _ in range(60):
        trip.sample(130 * MS)
    assert abs((trip.smoothed_ns or 0) - 130 * MS) < MS


@given(st.lists(st.integers(-(10**12), 10**12)))
def test_stays_within_what_was_measured(samples: list[int]) -> None:
    trip = RoundTrip()
    for sample in samples:
        trip.sample(sample)
    usable = [sample for sample in samples if 0 <= sample <= ROUND_TRIP_NS_MAX]
    if usable:
        assert trip.smoothed_ns is not None
        assert min(usable) - 8 <= trip.smoothed_ns <= max(usable)
        assert trip.wait_ns(1) >= trip.smoothed_ns
    else:
        assert trip.wait_ns(1) == 1
