"""The RTP headers of one packet for many viewers, a column at a time. Pure.

Every viewer's header differs by constants: an offset to the sequence number, one to the timestamp,
the SSRC. The viewers' numbers stand side by side in one large integer, as many bits apart as no sum
can leave, so that a column costs one addition whatever the number of viewers. A vector library does
the same sum in less time while all its code is in the caches, and in three times more at a camera's
pace, where it never is (`docs/decisions/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WORD_BYTES: Final = 4
"""A header's field. Sequence numbers are 16 bits, so their sums stay inside."""
_PAIR_BYTES: Final = 8
"""Room for the sum of two timestamps; its lower word is what is sent."""


class HeaderColumns:
    """Headers for viewers with these `sequence_offsets`, `timestamp_offsets` and `ssrcs`.

    A column is a memoryview of 32-bit items, a viewer each, in network byte order.
    """

    __slots__ = ("_bytes", "_ones", "_pair_ones", "_sequences", "_stamps", "ssrcs")

    def __init__(
        self,
        sequence_offsets: Sequence[int],
        timestamp_offsets: Sequence[int],
        ssrcs: Sequence[int],
    ) -> None:
        count = len(ssrcs)
        self._bytes = count * _WORD_BYTES
        self._ones = _side_by_side([1] * count, _WORD_BYTES)
        self._pair_ones = _side_by_side([1] * count, _PAIR_BYTES)
        self._sequences = _side_by_side([n & 0xFFFF for n in sequence_offsets], _WORD_BYTES)
        self._stamps = _side_by_side([n & 0xFFFFFFFF for n in timestamp_offsets], _PAIR_BYTES)
        self.ssrcs = memoryview(b"".join(n.to_bytes(_WORD_BYTES) for n in ssrcs)).cast("I")
        """The third words."""

    def first_words(self, word: int, index: int) -> memoryview:
        """Sequence numbers for a packet with this source index, under the bits of `word`."""
        ones = self._ones
        sums = self._sequences + ones * (index & 0xFFFF) & ones * 0xFFFF
        return memoryview((sums | ones * word).to_bytes(self._bytes)).cast("I")

    def timestamps(self, timestamp: int) -> memoryview:
        """The second words for a packet with this timestamp of the source."""
        sums = self._stamps + self._pair_ones * (timestamp & 0xFFFFFFFF)
        sums &= self._pair_ones * 0xFFFFFFFF
        return memoryview(sums.to_bytes(2 * self._bytes)).cast("I")[1::2]


def _side_by_side(numbers: Sequence[int], size: int) -> int:
    """One integer of all of them, the first one highest, each in `size` bytes."""
    return int.from_bytes(b"".join(n.to_bytes(size) for n in numbers))
