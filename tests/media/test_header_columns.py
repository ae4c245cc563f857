"""Headers for many viewers at once are those that each would get alone."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from media.header_columns import HeaderColumns

UNWRAPPED = st.integers(-(2**40), 2**40)
"""Offsets and indexes are counted without end, and offsets may be negative."""
VIEWERS = st.lists(st.tuples(UNWRAPPED, UNWRAPPED, st.integers(0, 2**32 - 1)), min_size=1)


@given(VIEWERS, st.integers(0, 0xFFFF), UNWRAPPED, UNWRAPPED)
def test_a_column_is_what_each_viewer_would_get_alone(
    viewers: list[tuple[int, int, int]], upper: int, index: int, timestamp: int
) -> None:
    sequence_offsets, timestamp_offsets, ssrcs = map(list, zip(*viewers, strict=True))
    columns = HeaderColumns(sequence_offsets, timestamp_offsets, ssrcs)
    word = upper << 16
    found = zip(
        columns.first_words(word, index).tolist(),
        columns.timestamps(timestamp).tolist(),
        columns.ssrcs.tolist(),
        strict=True,
    )
    assert [struct.pack("=III", *header) for header in found] == [
        struct.pack(
            "!III",
            word | index + sequence_offset & 0xFFFF,
            timestamp + timestamp_offset & 0xFFFFFFFF,
            ssrc,
        )
        for sequence_offset, timestamp_offset, ssrc in viewers
    ]
