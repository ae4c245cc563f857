"""What an authenticated peer may flood with, and the named limit that stops each; time is ours."""

import pytest

from media import nack, rtcp
from media.publisher import (
    EXTENSION_BYTES_MAX,
    PACKETS_BURST_MAX,
    PACKETS_PER_S_MAX,
    RTCP_BURST_MAX,
    RTCP_PER_S_MAX,
)
from media.rtp import URI_AUDIO_LEVEL
from media.track import PLI_INTERVAL_NS
from media.viewer import NACKED_BURST_MAX, NACKED_PER_S_MAX
from tests.media.farends import (
    DELTA,
    KEY,
    MS,
    SECOND_NS,
    VIDEO_SSRC,
    FarPublisher,
    FarViewer,
    World,
)


def live(world: World) -> tuple[FarPublisher, FarViewer]:
    publisher, viewer = world.publisher(), world.viewer()
    world.forwarder.forward("s", "v")
    publisher.video(KEY, 100)
    viewer.drain()
    publisher.asked()
    return publisher, viewer


def dropped(world: World) -> int:
    return world.forwarder.counters.dropped_flood


def test_publisher_packets_and_reports_share_one_rate(world: World) -> None:
    publisher, viewer = live(world)
    world.now_ns += SECOND_NS
    for _ in range(PACKETS_BURST_MAX + 50):
        publisher.rtcp(rtcp.build_rr(1))
    assert dropped(world) == PACKETS_BURST_MAX + 50 - RTCP_BURST_MAX
    publisher.video(DELTA, 101)
    assert viewer.payloads() == []  # it pays for its own flood
    world.now_ns += SECOND_NS // PACKETS_PER_S_MAX + 1
    publisher.video(DELTA, 102)
    assert viewer.payloads() == [DELTA]


def test_publisher_reports_are_read_at_their_own_rate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 full compounds a second, which the packet limit allows, would cost half a core."""
    publisher, _ = live(world)
    read: list[int] = []
    parse = rtcp.parse

    def counting(data: bytearray, length: int) -> list[rtcp.RtcpPacket]:
        read.append(length)
        return parse(data, length)

    monkeypatch.setattr(rtcp, "parse", counting)
    world.now_ns += SECOND_NS
    for _ in range(PACKETS_PER_S_MAX):
        world.now_ns += SECOND_NS // PACKETS_PER_S_MAX
        publisher.rtcp(rtcp.build_rr(1))
    assert len(read) <= RTCP_BURST_MAX + RTCP_PER_S_MAX


def test_viewer_reports_refill_at_their_rate(world: World) -> None:
    _, viewer = live(world)
    for _ in range(RTCP_BURST_MAX + 30):
        viewer.rtcp(rtcp.build_rr(1))
    assert dropped(world) == 30
    world.now_ns += SECOND_NS // 2
    for _ in range(RTCP_PER_S_MAX):
        viewer.rtcp(rtcp.build_rr(1))
    assert dropped(world) == 30 + RTCP_PER_S_MAX // 2


def test_a_flood_of_plis_from_all_viewers_is_one_request_an_interval(world: World) -> None:
    publisher, viewer = live(world)
    others = [world.viewer(f"v{n}") for n in range(4)]
    for n in range(4):
        world.forwarder.forward("s", f"v{n}")
    publisher.video(KEY, 101, 3_000)
    world.pass_ms(PLI_INTERVAL_NS // MS)
    publisher.asked()
    for _ in range(20):
        for end in (viewer, *others):
            end.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, end.video_ssrc) * 20)
        world.pass_ms(100)
    asked = [got for got in publisher.asked() if isinstance(got, rtcp.KeyframeRequest)]
    assert 0 < len(asked) <= 2_000 * MS // PLI_INTERVAL_NS + 1
    assert {got.media_ssrc for got in asked} == {VIDEO_SSRC}


def test_packets_asked_for_again_are_looked_up_at_a_bounded_rate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by looking for floods: 200 full compounds a second cost 3.4 s of CPU each second."""
    _, viewer = live(world)
    row = next(iter(world.forwarder._viewers["v"].outlets.values())).row
    looked_up: list[int] = []
    resend = type(row).resend

    def counting(self: object, sequences: tuple[int, ...], now_ns: int) -> int:
        looked_up.extend(sequences)
        return resend(self, sequences, now_ns)

    monkeypatch.setattr(type(row), "resend", counting)
    full = rtcp.build_nack(1, viewer.video_ssrc, range(rtcp.NACKS_MAX))
    for _ in range(20):
        viewer.rtcp(rtcp.build_rr(1) + full * 5)
    assert len(looked_up) == NACKED_BURST_MAX
    world.now_ns += SECOND_NS // 4
    viewer.rtcp(rtcp.build_rr(1) + full * 5)
    assert len(looked_up) == NACKED_BURST_MAX + NACKED_PER_S_MAX // 4


def test_a_viewer_far_over_its_share_still_gets_repairs_later(world: World) -> None:
    publisher, viewer = live(world)
    for _ in range(5):  # numbers that were never sent: a stream begins below 2**15
        viewer.nack(*range(40_000, 40_000 + rtcp.NACKS_MAX))
    world.now_ns += SECOND_NS
    publisher.video(DELTA, 101)
    [got] = viewer.packets()
    viewer.nack(got.sequence)
    assert [packet.payload[2:] for packet in viewer.packets(viewer.rtx_ssrc)] == [DELTA]


def test_one_packet_again_and_again_is_sent_three_times(world: World) -> None:
    publisher, viewer = live(world)
    publisher.video(DELTA, 101)
    [got] = viewer.packets()
    for _ in range(15):
        viewer.nack(got.sequence)
        world.now_ns += nack.RESEND_UNKNOWN_NS
    assert len(viewer.packets(viewer.rtx_ssrc)) == nack.RESENDS_MAX


def test_too_much_extension_is_left_out_and_the_picture_goes_on(world: World) -> None:
    ids = {URI_AUDIO_LEVEL: 1}
    publisher = world.publisher("t", extension_ids=ids)
    viewer = world.viewer("u", extension_ids=ids)
    world.forwarder.forward("t", "u")
    for number, size in ((100, EXTENSION_BYTES_MAX), (101, EXTENSION_BYTES_MAX + 1)):
        publisher.video(KEY, number, 3_000 * number, extensions=[(1, b"x" * size)])
    carried = [set(got.extensions.values()) for got in viewer.packets()]
    assert carried == [{b"x" * EXTENSION_BYTES_MAX}, set()]
