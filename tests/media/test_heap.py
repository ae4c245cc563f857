"""When freed memory goes back to the system: once for a crowd, and never for nothing."""

from media.heap import TRIM_WAIT_NS, Heap

MS = 1_000_000


def test_one_trim_serves_all_who_came_together() -> None:
    trims: list[int] = []
    heap = Heap(lambda: trims.append(1))
    heap.sweep(0)
    heap.freed(0)
    heap.freed(500 * MS)
    heap.sweep(TRIM_WAIT_NS - 1)
    assert trims == []
    heap.sweep(TRIM_WAIT_NS)
    heap.sweep(10 * TRIM_WAIT_NS)
    assert trims == [1]
    heap.freed(11 * TRIM_WAIT_NS)
    heap.sweep(12 * TRIM_WAIT_NS)
    assert trims == [1, 1]


def test_the_system_is_asked_without_harm() -> None:
    heap = Heap()
    heap.freed(0)
    heap.sweep(TRIM_WAIT_NS)
