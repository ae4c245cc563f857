"""RTCP: round trips, aiortc as the second opinion, and bytes from anyone."""

import struct

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from media import rtcp

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)


def read(*packets: bytes) -> list[rtcp.RtcpPacket]:
    compound = b"".join(packets)
    return rtcp.parse(compound, len(compound))


def test_reads_a_compound_in_order() -> None:
    block = rtcp.ReportBlock(9, 128, -5, 70_000, 33, 1, 2)
    compound = (
        rtcp.build_sr(1, 5 << 32 | 7, 90_000, 3, 4),
        rtcp.build_rr(1, [block, block]),
        rtcp.build_sdes(1, "abc"),
        rtcp.build_pli(1, 2),
        rtcp.build_nack(1, 2, [65_535, 0, 5, 900]),
        rtcp.build_remb(1, 2_500_000, [2, 3]),
        rtcp.build_bye(1),
        rtcp.build_reference_time(1, 5 << 32),
        rtcp.build_echo(1, rtcp.Echo(7, 8, 9)),
    )
    assert read(*compound) == [
        rtcp.SenderReport(1, 5 << 32 | 7, 90_000, ()),
        rtcp.ReceiverReport(1, (block, block)),
        rtcp.KeyframeRequest(2),
        rtcp.Nack(2, (65_535, 0, 5, 900)),
        rtcp.Remb(2_500_000 >> 4 << 4),
        rtcp.Bye((1,)),
        rtcp.Echo(7, 8, 9),
    ]


def test_asks_for_an_echo_as_the_standard_writes_it() -> None:
    """RFC 3611 §4.4: block type 4, reserved, two words, NTP time."""
    assert rtcp.build_reference_time(0xAABBCCDD, 0x0102030405060708) == bytes.fromhex(
        "80cf0004 aabbccdd 04000002 0102030405060708"
    )


def test_reads_echoes_among_other_extended_reports_and_few_of_many() -> None:
    statistics = b"\6\xe8\0\1" + bytes(4)
    echo = struct.pack("!III", 1, 2, 3)
    body = bytes(4) + statistics + b"\5\0\0\6" + echo + echo + statistics
    packet = bytes((0x80, 207, 0, len(body) // 4)) + body
    assert read(packet) == [rtcp.Echo(1, 2, 3)] * 2
    body = bytes(4) + (b"\5\0\0\x0f" + echo * 5) * 15
    packet = bytes((0x80, 207, 0, len(body) // 4)) + body
    assert read(packet) == [rtcp.Echo(1, 2, 3)] * rtcp.ECHOES_MAX


def test_takes_a_sender_report_with_a_profile_extension() -> None:
    packet = bytearray(rtcp.build_sr(1, 2, 3, 4, 5) + b"EXTENSION123")
    packet[3] += 3
    assert read(bytes(packet)) == [rtcp.SenderReport(1, 2, 3, ())]


def test_reads_every_stream_of_a_fir() -> None:
    body = bytes(8) + b"\0\0\0\7\1\0\0\0" + b"\0\0\0\10\1\0\0\0"
    assert read(bytes((0x84, 206, 0, len(body) // 4)) + body) == [
        rtcp.KeyframeRequest(7),
        rtcp.KeyframeRequest(8),
    ]


def test_reads_few_of_many_reports() -> None:
    block = rtcp.ReportBlock(9, 128, -5, 70_000, 33, 1, 2)
    [report] = read(rtcp.build_rr(1, [block] * 31))
    assert report == rtcp.ReceiverReport(1, (block,) * rtcp.BLOCKS_MAX)


def test_takes_padding_off() -> None:
    packet = bytearray(rtcp.build_nack(1, 2, [7]) + b"\0\0\0\4")
    packet[0] |= 0x20
    packet[3] += 1
    assert read(bytes(packet)) == [rtcp.Nack(2, (7,))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc8\0",
        b"\x80\xc8\0\6" + bytes(20),  # an SR cut off
        b"\x80\xc8\0\1" + bytes(4),  # an SR too short
        b"\x81\xce\0\1" + bytes(4),  # a PLI without a stream
        b"\x9f\xcb\0\1" + bytes(4),  # a BYE that promises 31 streams
        b"\x8f\xce\0\3" + bytes(8) + b"REMB",
        b"\x40\xc9\0\1" + bytes(4),
        b"\x80\xcc\0\1" + bytes(4),  # APP
        b"\x80\xcf\0\0",
        b"\x80\xcf\0\2" + bytes(4) + b"\5\0\0\3",  # an XR block cut off
        b"\x80\xcf\0\4" + bytes(4) + b"\5\0\0\2" + bytes(8),  # two thirds of an echo
    ],
)
def test_leaves_out_what_is_cut_off_or_unknown(data: bytes) -> None:
    assert rtcp.parse(data, len(data)) == []


def test_reading_is_bounded() -> None:
    assert len(read(*[rtcp.build_pli(1, 2)] * 300)) == rtcp.PACKETS_MAX
    assert sum(len(p.sequences) for p in read(_huge_nack()) if isinstance(p, rtcp.Nack)) == 512


def test_many_small_requests_in_one_compound_cost_no_more_than_one_large() -> None:
    dense = rtcp.build_nack(1, 2, range(rtcp.NACKS_MAX))
    asked = [got for got in read(*[dense] * 11) if isinstance(got, rtcp.Nack)]
    assert sum(len(nack.sequences) for nack in asked) == rtcp.NACKS_MAX
    fir = bytes.fromhex("84ce00ac") + bytes(8) + bytes(8) * 170
    assert len(read(fir)) == rtcp.FIRS_MAX


def _huge_nack() -> bytes:
    body = bytes(8) + b"\0\0\xff\xff" * 300
    return b"\x81\xcd" + (len(body) // 4).to_bytes(2, "big") + body


@given(st.binary(max_size=300))
def test_bytes_from_anyone_raise_nothing(data: bytes) -> None:
    rtcp.parse(data, len(data))


@given(st.integers(200, 207), st.integers(0, 31), st.integers(0, 40), st.binary(max_size=160))
def test_well_framed_bytes_from_anyone_raise_nothing(
    kind: int, count: int, words: int, body: bytes
) -> None:
    data = bytes((0x80 | count, kind, 0, words)) + body
    rtcp.parse(data, len(data))


@given(st.lists(U16, max_size=60))
def test_nacks_carry_exactly_what_was_lost(sequences: list[int]) -> None:
    packet = rtcp.build_nack(1, 2, sequences)
    (nack,) = read(packet)
    assert isinstance(nack, rtcp.Nack)
    assert set(nack.sequences) == set(sequences)
    (theirs,) = aiortc_rtp.RtcpPacket.parse(packet)
    assert {lost & 0xFFFF for lost in theirs.lost} == set(sequences)


def test_a_run_of_seventeen_takes_one_entry() -> None:
    assert len(rtcp.build_nack(1, 2, [(65_530 + n) & 0xFFFF for n in range(17)])) == 16


@given(U32, st.integers(0, 2**64 - 1), U32, U32, U32)
def test_aiortc_reads_our_sender_reports(
    ssrc: int, ntp: int, timestamp: int, packets: int, octets: int
) -> None:
    (report,) = aiortc_rtp.RtcpPacket.parse(rtcp.build_sr(ssrc, ntp, timestamp, packets, octets))
    info = report.sender_info
    assert (report.ssrc, info.ntp_timestamp, info.rtp_timestamp) == (ssrc, ntp, timestamp)
    assert (info.packet_count, info.octet_count) == (packets, octets)


@given(st.integers(0, 255), st.integers(-0x900000, 0x900000), U32, U32)
def test_aiortc_reads_our_receiver_reports(
    fraction: int, lost: int, highest: int, jitter: int
) -> None:
    block = rtcp.ReportBlock(5, fraction, lost, highest, jitter, 6, 7)
    (report,) = aiortc_rtp.RtcpPacket.parse(rtcp.build_rr(1, [block]))
    (theirs,) = report.reports
    assert theirs.fraction_lost == fraction
    assert theirs.packets_lost == max(min(lost, 0x7FFFFF), -0x800000)
    assert (theirs.highest_sequence, theirs.jitter) == (highest, jitter)


@given(st.integers(0, 10**10), st.lists(U32, min_size=1, max_size=3))
def test_aiortc_reads_our_remb(bitrate_bps: int, ssrcs: list[int]) -> None:
    (packet,) = aiortc_rtp.RtcpPacket.parse(rtcp.build_remb(1, bitrate_bps, ssrcs))
    theirs, their_ssrcs = aiortc_rtp.unpack_remb_fci(packet.fci)
    assert their_ssrcs == ssrcs
    assert bitrate_bps * 0.9999 - 1 <= theirs <= bitrate_bps


@given(st.text(max_size=300))
def test_source_descriptions_are_whole_words(cname: str) -> None:
    packet = rtcp.build_sdes(1, cname)
    assert len(packet) % 4 == 0
    assert packet[-1] == 0
    assert read(packet, rtcp.build_bye(1)) == [rtcp.Bye((1,))]


def test_delay_is_in_units_of_2_to_the_minus_16_seconds() -> None:
    assert rtcp.delay_ns(3 << 15) == 1_500_000_000


@given(st.integers(0, 2**40))
def test_ntp_conversion_is_exact_to_a_nanosecond(time_ns: int) -> None:
    assert abs(rtcp.ns_from_ntp(rtcp.ntp_from_ns(time_ns)) - time_ns) <= 1
