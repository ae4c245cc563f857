"""RTP parsing and building: tables, round trips, and bytes from anyone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import rtp

PLAIN = bytes.fromhex("80e0 0001 00000002 00000003".replace(" ", ""))


def test_reads_the_fields_of_a_plain_packet() -> None:
    header = rtp.parse(PLAIN + b"abc", 15)
    assert (header.payload_type, header.marker, header.sequence) == (96, True, 1)
    assert (header.timestamp, header.ssrc) == (2, 3)
    assert (header.payload_start, header.payload_end) == (12, 15)


def test_takes_csrcs_extension_and_padding_off_the_payload() -> None:
    block = rtp.build_extensions([(3, b"xyz")])
    packet = bytes((0xB1,)) + PLAIN[1:] + b"CSRC" + block + b"payload" + b"\0\0\3"
    header = rtp.parse(packet, len(packet))
    assert packet[header.payload_start : header.payload_end] == b"payload"
    assert rtp.extensions(packet, header) == {3: b"xyz"}


def test_a_padding_only_packet_has_an_empty_payload() -> None:
    packet = bytes((0xA0,)) + PLAIN[1:] + bytes(254) + b"\xff"
    header = rtp.parse(packet, len(packet))
    assert header.payload_start == header.payload_end


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        PLAIN[:11],
        bytes((0x40,)) + PLAIN[1:],
        bytes((0x8F,)) + PLAIN[1:],
        bytes((0x90,)) + PLAIN[1:],
        bytes((0x90,)) + PLAIN[1:] + b"\xbe\xde\x00\x01",
        bytes((0xA0,)) + PLAIN[1:],
        bytes((0xA0,)) + PLAIN[1:] + b"\0",
        bytes((0xA0,)) + PLAIN[1:] + b"\x03\x03",
    ],
    ids=["empty", "short", "version", "csrc", "ext", "ext body", "no pad", "pad 0", "pad long"],
)
def test_refuses_what_is_cut_off_or_contradicts_itself(packet: bytes) -> None:
    with pytest.raises(rtp.RtpError):
        rtp.parse(packet, len(packet))


@given(st.binary(max_size=200))
def test_bytes_from_anyone_raise_nothing_else(data: bytes) -> None:
    try:
        header = rtp.parse(data, len(data))
    except rtp.RtpError:
        return
    assert 12 <= header.payload_start <= header.payload_end <= len(data)
    rtp.extensions(data, header)


@given(st.binary(max_size=60), st.integers(0, 0xFFFF))
def test_extension_blocks_from_anyone_raise_nothing(body: bytes, profile: int) -> None:
    body += bytes(-len(body) % 4)
    packet = bytes((0x90,)) + PLAIN[1:] + profile.to_bytes(2, "big")
    packet += (len(body) // 4).to_bytes(2, "big") + body
    for value in rtp.extensions(packet, rtp.parse(packet, len(packet))).values():
        assert value in packet


@given(
    st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=6),
    st.binary(max_size=50),
    st.booleans(),
)
def test_built_packets_read_back(elements: dict[int, bytes], payload: bytes, marker: bool) -> None:
    block = rtp.build_extensions(elements.items())
    packet = rtp.build(111, marker, 65_535, 2**32 - 1, 7, payload, block)
    header = rtp.parse(packet, len(packet))
    assert packet[header.payload_start : header.payload_end] == payload
    assert rtp.extensions(packet, header) == elements
    assert (header.payload_type, header.marker, header.sequence) == (111, marker, 65_535)


def test_small_extensions_take_the_one_byte_form() -> None:
    assert rtp.build_extensions([(1, b"\x7f"), (14, b"0123456789abcdef")])[:2] == b"\xbe\xde"
    assert rtp.build_extensions([(15, b"\x7f")])[:2] == b"\x10\x00"
    assert rtp.build_extensions([]) == b""


def test_only_listed_extensions_are_forwarded_and_by_name() -> None:
    ids = {rtp.URI_AUDIO_LEVEL: 1, rtp.URI_MID: 4, rtp.URI_ABS_SEND_TIME: 3}
    assert rtp.forwarded_ids(ids) == ((rtp.URI_AUDIO_LEVEL, 1),)


def test_abs_send_time_counts_a_second_as_one_in_6_18_fixed_point() -> None:
    one_ns, two_ns = 1_000_000_000, 65_000_000_000
    assert rtp.abs_send_time(one_ns) == (1 << 18).to_bytes(3, "big")
    assert rtp.abs_send_time(two_ns) == (1 << 18).to_bytes(3, "big")  # it wraps after 64 s


@pytest.mark.parametrize(
    ("value", "near", "expected"),
    [(0, 65_535, 65_536), (65_535, 65_536, 65_535), (65_535, 0, -1), (5, 131_072, 131_077)],
)
def test_unwrap_takes_the_nearest(value: int, near: int, expected: int) -> None:
    assert rtp.unwrap(value, near) == expected


@given(st.integers(0, 10**9), st.integers(-32_767, 32_768), st.sampled_from([16, 32]))
def test_unwrap_finds_any_number_within_half_a_turn(near: int, delta: int, bits: int) -> None:
    assert rtp.unwrap((near + delta) % (1 << bits), near, bits) == near + delta
