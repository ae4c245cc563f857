"""Token buckets by key."""

from rooms.bucket import BucketSet

NS = 1_000_000_000


def test_keys_do_not_share() -> None:
    buckets = BucketSet(1.0, 1, 10)
    assert buckets.take("a", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)


def test_the_set_is_bounded_and_forgets_full_ones_first() -> None:
    buckets = BucketSet(1.0, 1, 2)
    buckets.take("old", 0)
    buckets.take("new", 10 * NS)
    buckets.take("third", 10 * NS)  # "old" is full again by now and goes
    assert len(buckets) == 2
    assert not buckets.take("new", 10 * NS)
    buckets.take("fourth", 10 * NS)
    assert len(buckets) == 2
