"""What a publisher is told of its packets, with real SRTP: transport-wide feedback."""

from media import rtcp
from media.links import CodecFormat
from media.publisher import SSRCS_MAX
from media.rtp import URI_MID, URI_TRANSPORT_WIDE
from tests.media.farends import (
    AUDIO_SSRC,
    DELTA,
    KEY,
    MS,
    VIDEO_RTX_SSRC,
    VIDEO_SSRC,
    FarPublisher,
    World,
)
from tests.media.twcc_reader import read

WIDE = 3
FEEDBACK = frozenset({"nack", "nack pli", "transport-cc"})
FORMAT = CodecFormat("vp8", 96, 90_000, 97, {}, FEEDBACK)


def numbering(world: World) -> FarPublisher:
    ids = {URI_TRANSPORT_WIDE: WIDE, URI_MID: 4}
    publisher = world.publisher(video=(FORMAT,), extension_ids=ids)
    publisher.asked()
    return publisher


def wide(number: int) -> list[tuple[int, bytes]]:
    return [(4, b"1"), (WIDE, number.to_bytes(2, "big"))]


def told(publisher: FarPublisher) -> list[tuple[int, bytes]]:
    """(media SSRC, body) of the feedback since the last time, alone behind an empty report."""
    found = []
    for datagram in publisher.datagrams():
        plain = publisher.rx.unprotect_rtcp(datagram)
        packet = plain[8:]
        if plain[:8] != rtcp.build_rr(publisher.link.rtcp_ssrc) or packet[1] != 205:
            continue
        assert packet[0] & 0x1F == 15
        padding = packet[-1] if packet[0] & 0x20 else 0
        found.append((int.from_bytes(packet[8:12], "big"), packet[12 : len(packet) - padding]))
    return found


def test_every_packet_counts_whatever_its_stream(world: World) -> None:
    publisher = numbering(world)
    publisher.video(KEY, 1, extensions=wide(65_533))
    publisher.video(b"", 2, extensions=wide(65_534), padding=200)
    publisher.send_raw(
        publisher.protect(b"a", 1, ssrc=AUDIO_SSRC, payload_type=111, extensions=wide(65_535))
    )
    publisher.send_raw(
        publisher.protect(
            b"", 1, ssrc=VIDEO_RTX_SSRC, payload_type=97, extensions=wide(0), padding=200
        )
    )
    publisher.send_raw(publisher.protect(b"?", 1, ssrc=0xC0, payload_type=50, extensions=wide(1)))
    world.now_ns += 2 * MS
    publisher.video(DELTA, 3, extensions=wide(3))
    world.pass_ms(100)
    [(ssrc, body)] = told(publisher)
    base, count, arrivals = read(body)
    assert (ssrc, base, count) == (VIDEO_SSRC, 65_533, 7)
    assert [ticks is not None for ticks in arrivals] == [True] * 5 + [False, True]
    assert arrivals[6] - arrivals[0] == 8
    world.pass_ms(1_000)
    assert told(publisher) == []


def test_a_publisher_that_does_not_number_is_told_nothing_of_arrivals(world: World) -> None:
    publisher = world.publisher(extension_ids={URI_MID: 4})
    publisher.asked()
    publisher.video(KEY, 1, extensions=wide(7))
    world.pass_ms(500)
    assert told(publisher) == []


def test_a_number_of_the_wrong_size_is_none(world: World) -> None:
    publisher = numbering(world)
    for sequence, value in enumerate((b"\1", b"\1\2\3")):
        publisher.video(KEY, sequence, extensions=[(WIDE, value)])
    world.pass_ms(100)
    assert told(publisher) == []


def test_no_estimate_goes_to_who_estimates_for_itself(world: World) -> None:
    publisher = numbering(world)
    publisher.video(KEY, 1, extensions=wide(1))
    world.pass_ms(1_100)
    assert not any(isinstance(packet, rtcp.Remb) for packet in publisher.asked())


def test_what_was_never_decrypted_does_not_count(world: World) -> None:
    publisher = numbering(world)
    for n in range(SSRCS_MAX + 3):
        publisher.video(KEY, 1, ssrc=0xD0 + n, extensions=wide(n))
    world.pass_ms(100)
    [(_, body)] = told(publisher)
    assert read(body)[1] == SSRCS_MAX


def test_leaps_of_the_number_cost_the_server_a_packet_a_round(world: World) -> None:
    publisher = numbering(world)
    for n in range(900):
        publisher.video(DELTA, n, extensions=wide(n * 30_011 & 0xFFFF))
    world.pass_ms(60)
    assert len(told(publisher)) == 1
