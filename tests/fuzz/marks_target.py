"""Fuzzes a page of marks: the record as it is, and the bytes inside one with a right checksum.

What is read is sound and comes out of its own record unchanged; anything else counts as not there.
"""

import zlib

from billing_meter import marks
from billing_meter.marks import Figures


def seeds() -> list[bytes]:
    page = [
        ("s1", Figures(1_700_000_000_000, None, 0, 0, 0, 0, 0, 0)),
        ("x" * 64, Figures(2**62, 1, 59, 59_999, 3, 3_000, 0, 999)),
    ]
    return [marks.pack([]), marks.pack(page), marks.pack(page)[5:], b"\x91\x93\xa1a\x01\x02"]


def check(data: bytes) -> None:
    body = bytes((marks.VERSION,)) + zlib.crc32(data).to_bytes(4, "big") + data
    for record in (data, body):
        page = marks.unpack(record)
        if page is None:
            continue
        read = {name: figures for name, mark in page.items() if (figures := marks.figures_in(mark))}
        assert all(0 < len(session_id) <= 64 for session_id in read)
        for figures in read.values():
            assert figures.private_s * 1_000 <= figures.held_ms
        again = marks.unpack(marks.pack(read.items()))
        assert again is not None
        assert {name: marks.figures_in(mark) for name, mark in again.items()} == read
