"""Packets in a TCP stream (RFC 4571): cut out whole wherever the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.framing import FRAME_BYTES_MAX, FrameReader, FramingError, framed

PACKETS = st.lists(st.binary(min_size=1, max_size=FRAME_BYTES_MAX), max_size=6)


@given(PACKETS, st.lists(st.integers(1, 400), max_size=30))
def test_packets_come_out_as_they_went_in_however_the_bytes_arrive(
    packets: list[bytes], sizes: list[int]
) -> None:
    stream = b"".join(map(framed, packets))
    reader = FrameReader()
    out: list[bytes] = []
    for size in sizes:
        out += reader.feed(stream[:size])
        stream = stream[size:]
    out += reader.feed(stream)
    assert out == packets


def test_one_byte_at_a_time() -> None:
    reader = FrameReader()
    got = [reader.feed(bytes([byte])) for byte in framed(b"abc") + framed(b"d")]
    assert [packet for packets in got for packet in packets] == [b"abc", b"d"]


def test_empty_frames_carry_nothing() -> None:
    assert FrameReader().feed(bytes(6) + framed(b"x") + bytes(2)) == [b"x"]


@pytest.mark.parametrize(
    "opening", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n"]
)
def test_who_speaks_another_protocol_is_known_by_the_first_bytes(opening: bytes) -> None:
    with pytest.raises(FramingError):
        FrameReader().feed(opening)


def test_the_longest_frame_and_one_byte_more() -> None:
    longest = bytes(FRAME_BYTES_MAX)
    assert FrameReader().feed(framed(longest)) == [longest]
    with pytest.raises(FramingError):
        FrameReader().feed(framed(longest + b"x"))


def test_no_more_than_a_frame_is_kept() -> None:
    reader = FrameReader()
    for _ in range(1_000):
        reader.feed(framed(bytes(700)) * 3 + b"\x02")
        reader.feed(b"\x00" + bytes(512))
    assert len(reader._partial) <= FRAME_BYTES_MAX + 2
