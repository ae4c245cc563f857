"""Fuzzes RTCP compounds: nothing is raised, everything is bounded, what we can write is stable."""

from media import rtcp

BLOCK = rtcp.ReportBlock(0xB0, 12, -3, 70_000, 99, 0x12345678, 4_000)


def seeds() -> list[bytes]:
    report = rtcp.build_rr(1, [BLOCK, BLOCK])
    fir = b"\x84\xce\x00\x04" + bytes(8) + b"\x00\x00\x00\xb0\x07\x00\x00\x00"
    return [
        report + rtcp.build_nack(1, 0xB0, [5, 6, 9, 65_535, 0]),
        rtcp.build_sr(1, 1 << 63, 90_000, 10, 1_000) + rtcp.build_sdes(1, "cname"),
        rtcp.build_rr(1) + rtcp.build_pli(1, 0xB0),
        rtcp.build_rr(1) + rtcp.build_remb(1, 2_500_000, [0xA0, 0xB0]),
        rtcp.build_rr(1) + rtcp.build_nack(1, 0xB0, range(2 * rtcp.NACKS_MAX)),
        rtcp.build_rr(1) + fir + rtcp.build_bye(1),
        rtcp.build_reference_time(1, 5 << 31) + rtcp.build_echo(2, rtcp.Echo(1, 7 << 16, 3)),
        b"\xa0\xc9\x00\x02\x00\x00\x00\x01\x00\x00\x00\x04",
    ]


def check(data: bytes) -> None:
    packets = rtcp.parse(data, len(data))
    assert len(packets) <= rtcp.PACKETS_MAX**2
    for packet in packets:
        written = _written(packet)
        if written is None:
            continue
        [again] = rtcp.parse(written, len(written))
        if isinstance(packet, rtcp.Nack) and isinstance(again, rtcp.Nack):
            assert len(packet.sequences) <= rtcp.NACKS_MAX
            assert again.media_ssrc == packet.media_ssrc
            assert set(again.sequences) == set(packet.sequences)
        else:
            assert again == packet


def _written(packet: rtcp.RtcpPacket) -> bytes | None:
    """The packet by our writer, None for what we never write in that shape."""
    match packet:
        case rtcp.SenderReport(ssrc, ntp, timestamp, ()):
            return rtcp.build_sr(ssrc, ntp, timestamp, 0, 0)
        case rtcp.ReceiverReport(ssrc, reports):
            return rtcp.build_rr(ssrc, reports)
        case rtcp.Nack(media_ssrc, sequences):
            return rtcp.build_nack(1, media_ssrc, sequences)
        case rtcp.KeyframeRequest(media_ssrc):
            return rtcp.build_pli(1, media_ssrc)
        case rtcp.Remb(bitrate_bps):
            return rtcp.build_remb(1, bitrate_bps, [])
        case rtcp.Echo():
            return rtcp.build_echo(1, packet)
        case rtcp.Bye((ssrc,)):
            return rtcp.build_bye(ssrc)
        case _:
            return None
