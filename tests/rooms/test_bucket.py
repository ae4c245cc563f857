"""Token buckets."""

from rooms.bucket import BucketSet, TokenBucket

NS = 1_000_000_000


def test_five_at_once_then_one_a_second() -> None:
    bucket = TokenBucket(5, 1.0, 0)
    assert [bucket.take(0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(NS - 1)
    assert bucket.take(NS)
    assert not bucket.take(NS)


def test_it_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(2, 1.0, 0)
    assert bucket.full(100 * NS)
    assert [bucket.take(100 * NS) for _ in range(3)] == [True, True, False]
    assert not bucket.full(101 * NS)


def test_keys_do_not_share() -> None:
    buckets = BucketSet(1, 1.0, 10)
    assert buckets.take("a", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)


def test_the_set_is_bounded_and_forgets_full_ones_first() -> None:
    buckets = BucketSet(1, 1.0, 2)
    buckets.take("old", 0)
    buckets.take("new", 10 * NS)
    buckets.take("third", 10 * NS)  # "old" is full again by now and goes
    assert len(buckets) == 2
    assert not buckets.take("new", 10 * NS)
    buckets.take("fourth", 10 * NS)
    assert len(buckets) == 2
