"""Fuzzes RTP headers and header extensions: RtpError and nothing else, parts inside the packet."""

from media import rtp


def seeds() -> list[bytes]:
    one_byte = rtp.build_extensions([(1, b"\x85"), (3, b"abc")])
    two_bytes = rtp.build_extensions([(1, b""), (200, b"x" * 40)])
    plain = rtp.build(96, True, 65_535, 4_294_967_295, 4711, b"payload")
    return [
        plain,
        rtp.build(111, False, 1, 2, 3, b"sound", one_byte),
        rtp.build(96, False, 1, 2, 3, b"picture", two_bytes),
        bytes((0xA0,)) + plain[1:] + b"\x00\x00\x03",
        bytes((0xA0,)) + plain[1:] + b"\xff",
        bytes((0x82,)) + plain[1:12] + bytes(8) + b"with sources",
    ]


def check(data: bytes) -> None:
    try:
        header = rtp.parse(data, len(data))
    except rtp.RtpError:
        return
    assert 0 <= header.extension_start <= header.extension_end <= header.payload_start
    assert rtp.HEADER_BYTES <= header.payload_start <= header.payload_end <= len(data)
    elements = rtp.extensions(data, header)
    assert sum(len(value) for value in elements.values()) <= len(data)
    payload = data[header.payload_start : header.payload_end]
    written = rtp.build(
        header.payload_type,
        header.marker,
        header.sequence,
        header.timestamp,
        header.ssrc,
        payload,
        rtp.build_extensions(elements.items()),
    )
    again = rtp.parse(written, len(written))
    assert (again.payload_type, again.marker, again.sequence, again.timestamp, again.ssrc) == (
        header.payload_type,
        header.marker,
        header.sequence,
        header.timestamp,
        header.ssrc,
    )
    assert written[again.payload_start : again.payload_end] == payload
    assert rtp.extensions(written, again) == elements
