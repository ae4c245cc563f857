"""Fuzzes the TCP stream of a stranger: only FramingError, packets as RFC 4571 cuts them, no hoard.

The first byte says in what pieces the rest arrives.
"""

from media.framing import FRAME_BYTES_MAX, LENGTH_BYTES, FrameReader, FramingError, framed


def seeds() -> list[bytes]:
    return [
        b"\x01" + framed(b"check") + framed(b"") + framed(b"\x80\x60packet"),
        b"\x40" + framed(bytes(FRAME_BYTES_MAX)),
        b"\x05GET / HTTP/1.1\r\n\r\n",
        b"\x03" + framed(b"whole") + b"\x05\x00cut",
    ]


def check(data: bytes) -> None:
    step, stream = 1 + data[0] if data else 1, data[1:]
    reader = FrameReader()
    packets: list[bytes] = []
    refused = False
    for start in range(0, len(stream), step):
        try:
            packets += reader.feed(stream[start : start + step])
        except FramingError:
            refused = True
            break
        assert len(reader._partial) < LENGTH_BYTES + FRAME_BYTES_MAX
    expected, whole = _expected(stream)
    if refused:
        assert not whole
        assert packets == expected[: len(packets)]
    else:
        assert whole
        assert packets == expected


def _expected(stream: bytes) -> tuple[list[bytes], bool]:
    """The packets of the whole stream, and whether it can be read to its end."""
    packets = []
    while len(stream) >= LENGTH_BYTES:
        length = int.from_bytes(stream[:LENGTH_BYTES])
        if length > FRAME_BYTES_MAX:
            return packets, False
        if len(stream) < LENGTH_BYTES + length:
            break
        if length:
            packets.append(stream[LENGTH_BYTES : LENGTH_BYTES + length])
        stream = stream[LENGTH_BYTES + length :]
    return packets, True
