"""Token buckets."""

from media.bucket import TokenBucket

NS = 1_000_000_000
MS = 1_000_000


def test_five_at_once_then_one_a_second() -> None:
    bucket = TokenBucket(1.0, 5)
    assert [bucket.take(0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait_ns(0) == NS
    assert not bucket.take(NS - 1)
    assert bucket.wait_ns(NS - 1) == 1
    assert bucket.wait_ns(NS) == 0
    assert bucket.take(NS)
    assert not bucket.take(NS)


def test_it_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(1.0, 2)
    assert bucket.full(100 * NS)
    assert [bucket.take(100 * NS) for _ in range(3)] == [True, True, False]
    assert not bucket.full(101 * NS)
    assert bucket.full(102 * NS)


def test_it_gives_what_it_has() -> None:
    bucket = TokenBucket(1_000, 10)
    assert [bucket.take_up_to(n, 0) for n in (0, 4, 4, 4, 4)] == [0, 4, 4, 2, 0]
    assert bucket.take_up_to(9, 3 * MS) == 3
