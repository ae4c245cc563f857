"""What the server knows of a connection: its own counters, and nothing of anybody else's."""

import pytest

from media import rtcp
from media.api import Direction, Kind, PeerFigures, QualityLevel, StreamFigures, Transport
from tests.media.farends import (
    DELTA,
    KEY,
    MS,
    SECOND_NS,
    World,
)


def seen(world: World, direction: Direction, name: str) -> PeerFigures:
    figures = world.forwarder.figures(direction, name)
    assert figures is not None
    return figures


def streams(figures: PeerFigures) -> dict[Kind, StreamFigures]:
    assert [stream.kind for stream in figures.streams] == sorted(s.kind for s in figures.streams)
    return {stream.kind: stream for stream in figures.streams}


def test_nobody_connected_is_nothing(world: World) -> None:
    assert world.forwarder.figures(Direction.WATCH, "v") is None
    assert world.forwarder.figures(Direction.PUBLISH, "s") is None
    world.forwarder.forward("s", "v")  # rows alone
    assert world.forwarder.figures(Direction.WATCH, "v") is None
    assert world.forwarder.figures(Direction.PUBLISH, "s") is None


def test_a_new_viewer_is_told_what_is_not_known(world: World) -> None:
    world.viewer()
    figures = seen(world, Direction.WATCH, "v")
    assert (figures.level, figures.reason) == (QualityLevel.UNKNOWN, "no_report")
    assert figures.transport is Transport.UDP
    assert figures.round_trip_ns is None
    assert figures.estimate_bps is None
    assert figures.silent_ns is None
    nothing = StreamFigures(Kind.AUDIO, None, None, None, 0, 0, None, None, 0, 0, 0)
    assert streams(figures)[Kind.AUDIO] == nothing


def test_what_went_to_a_viewer_and_what_it_says_of_it(world: World) -> None:
    publisher, viewer = world.publisher(), world.viewer()
    world.forwarder.forward("s", "v")
    publisher.audio(b"abc", 1)
    publisher.video(KEY, 100, 3_000)
    for n in range(1, 11):
        publisher.video(DELTA + bytes(98), 100 + n, 3_000 + 900 * n)
    world.pass_ms(1_000)
    packets, reports = viewer.drain()
    sent_ns = world.now_ns
    (middle,) = {r.ntp >> 16 & 0xFFFFFFFF for r in reports if isinstance(r, rtcp.SenderReport)}
    world.now_ns += 30 * MS
    video = [got.sequence for got in packets if got.header.ssrc == viewer.video_ssrc]
    block = rtcp.ReportBlock(viewer.video_ssrc, 64, 5, 0, 180, middle, 0)
    viewer.rtcp(rtcp.build_rr(1, [block]) + rtcp.build_remb(1, 1_000_000, [1]))
    viewer.nack(video[2], video[3], video[3] + 1_000)
    viewer.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, viewer.video_ssrc))
    world.now_ns += 200 * MS
    publisher.video(DELTA + bytes(98), 111, 13_000)  # since the last report
    figures = seen(world, Direction.WATCH, "v")
    assert figures.round_trip_ns == 30 * MS == world.now_ns - sent_ns - 200 * MS
    assert figures.estimate_bps == pytest.approx(1_000_000, rel=0.01)
    assert figures.silent_ns == 200 * MS
    assert streams(figures)[Kind.VIDEO] == StreamFigures(
        kind=Kind.VIDEO,
        codec="VP8",
        layer=None,
        size=None,
        packets=12,
        octets=len(KEY) + 11 * 100,
        fraction_lost=0.25,
        jitter_ns=2 * MS,
        asked_again=3,
        repaired=2,
        keyframes_asked=1,
    )
    audio = streams(figures)[Kind.AUDIO]
    assert (audio.codec, audio.packets, audio.octets) == ("opus", 1, 3)
    assert audio.fraction_lost is None
    assert audio.jitter_ns is None


def test_the_size_is_the_keyframes_own(world: World) -> None:
    publisher = world.publisher()
    world.viewer()
    world.forwarder.forward("s", "v")
    frame_tag, start_code = b"\x50\x00\x00", b"\x9d\x01\x2a"
    size = (1280).to_bytes(2, "little") + (720 | 1 << 14).to_bytes(2, "little")  # scaled up
    publisher.video(b"\x10" + frame_tag + start_code + size, 1)
    for direction, name in ((Direction.PUBLISH, "s"), (Direction.WATCH, "v")):
        (video,) = [s for s in seen(world, direction, name).streams if s.kind is Kind.VIDEO]
        assert video.size == (1280, 720)
        assert video.layer is None


def test_what_comes_from_a_publisher(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    publisher.video(KEY, 100, 3_000)
    publisher.video(DELTA, 103, 5_700)
    world.pass_ms(40)  # 101 and 102 are asked for
    publisher.rtx(DELTA, 101, 1, 3_900)
    viewer.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, viewer.video_ssrc))
    for n in range(50):
        publisher.audio(b"sound", n, 960 * n)
        world.now_ns += 20 * MS
    world.pass_ms(20)
    figures = seen(world, Direction.PUBLISH, "s")
    assert figures.estimate_bps is not None
    assert figures.silent_ns == 40 * MS
    assert 0 < (figures.round_trip_ns or 0) <= 40 * MS  # from the question to the repair
    by_kind = streams(figures)
    assert set(by_kind) == {Kind.AUDIO, Kind.VIDEO}  # and no row for the repair stream
    video, audio = by_kind[Kind.VIDEO], by_kind[Kind.AUDIO]
    assert (video.codec, video.packets, video.octets) == ("VP8", 3, len(KEY) + 2 * len(DELTA))
    assert video.fraction_lost == pytest.approx(0.25, abs=0.01)  # one of four is still missing
    assert video.asked_again >= 2
    assert video.repaired == 1
    asked = [packet for packet in publisher.asked() if isinstance(packet, rtcp.KeyframeRequest)]
    assert video.keyframes_asked == len(asked) == 2  # none came, so it was asked again
    assert (audio.codec, audio.packets, audio.octets) == ("opus", 50, 250)
    assert audio.jitter_ns == 0
    assert audio.fraction_lost == 0.0


def test_a_connection_over_tcp_says_so(world: World) -> None:
    class Pipe:
        def write(self, packet: bytes, *, urgent: bool) -> bool:
            return True

    publisher, viewer = world.publisher(), world.viewer()
    assert seen(world, Direction.PUBLISH, "s").transport is Transport.UDP
    publisher.link.destination.stream = viewer.link.destination.stream = Pipe()
    assert seen(world, Direction.PUBLISH, "s").transport is Transport.TCP
    assert seen(world, Direction.WATCH, "v").transport is Transport.TCP


def test_the_jitter_of_a_publisher_is_a_time(world: World) -> None:
    publisher = world.publisher()
    for n in range(400):
        publisher.audio(b"a", n, 960 * n)
        world.now_ns += (30 if n % 2 else 10) * MS
    (audio,) = seen(world, Direction.PUBLISH, "s").streams
    assert 8 * MS < (audio.jitter_ns or 0) < 12 * MS


def test_behind_a_wall_a_viewer_learns_nothing_of_what_is_sent(world: World) -> None:
    publisher = world.publisher()
    world.viewer()
    world.viewer("party")
    world.forwarder.forward("s", "v")
    publisher.video(KEY, 1, 0)
    world.forwarder.seal("s")
    before = seen(world, Direction.WATCH, "v")
    gate = world.forwarder.forward_gated("s", "party", [Kind.VIDEO])
    gate.open_until(world.now_ns + SECOND_NS)
    publisher.video(KEY, 2, 180_000 * 2)
    publisher.video(DELTA + bytes(500), 3, 180_000 * 2)
    after = seen(world, Direction.WATCH, "v")
    assert streams(after) == streams(before)
    assert streams(after)[Kind.VIDEO].codec is None
    assert streams(seen(world, Direction.WATCH, "party"))[Kind.VIDEO].packets == 2


def test_an_encoder_without_repairs_and_estimates_has_figures_too(world: World) -> None:
    publisher = world.publisher(video=())
    publisher.audio(b"a", 1)
    publisher.video(KEY, 1)  # not negotiated: no stream of its
    figures = seen(world, Direction.PUBLISH, "s")
    assert [stream.kind for stream in figures.streams] == [Kind.AUDIO]
    assert figures.estimate_bps is None
