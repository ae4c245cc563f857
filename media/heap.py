"""The process's memory: on large pages what stays, back to the system what a crowd took.

A handshake holds some 60 kB for a second or two. When many join at once, what they free
lies between what they keep, and the C library never returns that by itself: `malloc_trim` (glibc)
does, page by page.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

HUGE_PAGE_BYTES: Final = 2 << 20
_MADV_COLLAPSE: Final = 25
"""From linux/mman.h: now, and not when the kernel finds the time (Linux 6.1)."""
_MAPS: Final = Path("/proc/self/maps")
_MAPPING: Final = re.compile(r"^(\w+)-(\w+) rw\S+ \S+ \S+ 0 *(?:\[heap\])?$", re.MULTILINE)
"""Of these: memory of our own that no file stands for."""

TRIM_WAIT_NS: Final = 2_000_000_000
"""From the first that is freed: until then those who came with it are done too."""


def collapse() -> int:
    """Put what the process has loaded on huge pages; how many there are now.

    A process that wakes up for every packet finds its tables of addresses cold, and 60 MB are
    15,000 small pages. Takes some 0.1 s: for the start. What the kernel refuses stays as it is.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    pages = list(_huge_ranges(_MAPS.read_text())) if _MAPS.exists() else []
    return sum(libc.madvise(at, HUGE_PAGE_BYTES, _MADV_COLLAPSE) == 0 for at in pages)


def _huge_ranges(maps: str) -> Iterator[int]:
    """Where a huge page has room in the process's own memory."""
    for start, end in _MAPPING.findall(maps):
        first = -(-int(start, 16) // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        yield from range(first, int(end, 16) - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES)


def _malloc_trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(ctypes.c_size_t(0))


class Heap:
    """Knows when the next trim is worth its 0.5 ms (measured at 60 viewers)."""

    def __init__(self, trim: Callable[[], None] = _malloc_trim) -> None:
        self._trim = trim
        self._due_ns: int | None = None

    def freed(self, now_ns: int) -> None:
        """A handshake's memory was let go."""
        if self._due_ns is None:
            self._due_ns = now_ns + TRIM_WAIT_NS

    def sweep(self, now_ns: int) -> None:
        """Trim, when it is due."""
        if self._due_ns is not None and now_ns >= self._due_ns:
            self._due_ns = None
            self._trim()
