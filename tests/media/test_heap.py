"""What the process asks of the system's memory: large pages at the start, a trim for a crowd."""

from media.heap import TRIM_WAIT_NS, Heap, _huge_ranges, collapse

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


MAPS = """\
55615b8bf000-55615bfff000 rw-p 00000000 00:00 0                          [heap]
7f5c58200000-7f5c58600000 rw-p 00000000 00:00 0
7f5c59000000-7f5c591ff000 rw-p 00000000 00:00 0
7f5c5a000000-7f5c5a400000 r-xp 00000000 00:00 0
7f5c5b000000-7f5c5b400000 rw-p 00000000 fe:00 1234                       /usr/lib/libx.so
7ffc00000000-7ffc00400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_huge_pages_have_room_where_memory_is_our_own_and_aligned() -> None:
    found = [hex(at) for at in _huge_ranges(MAPS)]
    assert found == ["0x55615ba00000", "0x55615bc00000", "0x7f5c58200000", "0x7f5c58400000"]


def test_what_the_system_cannot_do_is_no_error() -> None:
    assert collapse() >= 0
