"""Repair and feedback with real SRTP: NACK and RTX both ways, keyframe requests, reports."""

import itertools

import pytest

from media import nack, rtcp
from media.api import Direction, Kind, QualityChanged, QualityLevel
from media.forward import REPORTS_AT_ONCE_MAX
from media.publisher import NACKED_BURST_MAX, NACKED_PER_S_MAX, TIMES_REMEMBERED
from media.track import PLI_INTERVAL_NS
from tests.media.farends import (
    AUDIO_SSRC,
    DELTA,
    KEY,
    MS,
    SECOND_NS,
    VIDEO_SSRC,
    FarPublisher,
    FarViewer,
    World,
)


def live(world: World, **changes: object) -> tuple[FarPublisher, FarViewer]:
    publisher = world.publisher()
    viewer = world.viewer(**changes)
    world.forwarder.forward("s", "v")
    publisher.video(KEY, 100, 3_000)
    publisher.asked()
    return publisher, viewer


def plis(publisher: FarPublisher) -> int:
    return sum(isinstance(packet, rtcp.KeyframeRequest) for packet in publisher.asked())


def nacked(publisher: FarPublisher) -> list[int]:
    asked = [packet for packet in publisher.asked() if isinstance(packet, rtcp.Nack)]
    assert {packet.media_ssrc for packet in asked} <= {VIDEO_SSRC}
    return [sequence for packet in asked for sequence in packet.sequences]


# --- towards viewers ---------------------------------------------------------------------------


def test_a_nack_is_answered_on_the_repair_stream(world: World) -> None:
    publisher, viewer = live(world)
    for n in range(1, 5):
        publisher.video(DELTA + b"%d" % n, 100 + n, 3_000 * n, marker=n == 2)
    sent = viewer.packets()
    viewer.nack(sent[2].sequence, sent[4].sequence)
    repairs = viewer.packets()
    assert [got.header.ssrc for got in repairs] == [viewer.rtx_ssrc] * 2
    assert [got.header.payload_type for got in repairs] == [121] * 2
    assert repairs[0].payload == sent[2].sequence.to_bytes(2, "big") + sent[2].payload
    assert repairs[1].payload == sent[4].sequence.to_bytes(2, "big") + sent[4].payload
    assert repairs[0].header.timestamp == sent[2].header.timestamp
    assert [got.header.marker for got in repairs] == [True, False]
    assert repairs[1].sequence == (repairs[0].sequence + 1) & 0xFFFF
    assert world.forwarder.counters.resent == 2


def test_replayed_packets_are_repaired_with_the_timestamps_they_had(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY, 1, 0)
    for n in range(1, 20):
        publisher.video(DELTA, 1 + n, 3_000 * n)
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    sent = viewer.packets()
    viewer.nack(*(got.sequence for got in sent))
    repairs = viewer.packets()
    assert [got.header.timestamp for got in repairs] == [got.header.timestamp for got in sent]


def test_only_what_this_viewer_was_sent_is_sent_again(world: World) -> None:
    publisher, _ = live(world)
    publisher.video(DELTA, 101, 6_000)
    late = world.viewer("late")
    gate = world.forwarder.forward_gated("s", "late", [Kind.VIDEO])
    publisher.video(KEY, 102, 8_000)
    publisher.video(DELTA, 103, 8_500)
    gate.open_until(world.now_ns + 10)
    publisher.video(DELTA, 104, 9_000)
    world.now_ns += 20
    publisher.video(DELTA + b"unpaid", 105, 12_000)
    gate.open_until(world.now_ns + SECOND_NS)
    publisher.video(KEY + b"paid", 106, 15_000)
    sent = late.packets()
    assert [got.payload for got in sent] == [KEY, DELTA, DELTA, KEY + b"paid"]
    everything = [(sent[0].sequence + n) & 0xFFFF for n in range(-20, 20)]
    late.nack(*everything)
    assert [got.payload[2:] for got in late.packets()] == [got.payload for got in sent]
    gate.open_until(0)
    world.now_ns += 200 * MS
    late.nack(*everything)
    assert late.datagrams() == []


def test_without_a_repair_stream_nothing_is_encrypted_twice(world: World) -> None:
    publisher, viewer = live(world, rtx=False)
    publisher.video(DELTA, 101, 6_000)
    sent = viewer.packets()
    viewer.nack(*(got.sequence for got in sent))
    assert viewer.datagrams() == []


def test_asking_for_everything_again_and_again_is_bounded(world: World) -> None:
    publisher, viewer = live(world)
    sent_octets = 0
    sequences: list[int] = []
    repaired_octets = 0
    for n in range(600):
        world.now_ns += 10 * MS
        publisher.video(DELTA + bytes(1_000), 101 + n, 6_000 + 900 * n)
        for got in viewer.packets():
            if got.header.ssrc == viewer.video_ssrc:
                sent_octets += len(got.payload)
                sequences.append(got.sequence)
            else:
                repaired_octets += len(got.payload)
        viewer.nack(*sequences[-200:])
    share = nack.RESEND_SHARE_PERCENT / 100
    assert repaired_octets <= sent_octets * share + nack.RESEND_BURST_OCTETS * 1.05
    assert repaired_octets > 0


def test_old_packets_are_not_sent_again(world: World) -> None:
    publisher, viewer = live(world)
    sent = viewer.packets()
    world.now_ns += 2_001 * MS
    viewer.nack(sent[0].sequence)
    assert viewer.datagrams() == []
    publisher.video(DELTA, 101)


def nack_a_spent_budget(world: World, publisher: FarPublisher, viewer: FarViewer) -> list[int]:
    """A second of large packets is asked for again: more than the budget holds."""
    sent = []
    for n in range(200):
        publisher.video(DELTA + bytes(1_000), 101 + n, 6_000 + 900 * n)
        world.now_ns += 5 * MS
        sent += [got.sequence for got in viewer.packets(viewer.video_ssrc)]
    for first in range(0, len(sent), 40):
        viewer.nack(*sent[first : first + 40])
        viewer.datagrams()
    return sent


def test_what_is_beyond_repair_asks_for_one_keyframe(world: World) -> None:
    publisher, viewer = live(world)
    lost = nack_a_spent_budget(world, publisher, viewer)
    assert plis(publisher) == 1
    publisher.video(KEY, 301, 200_000)
    world.pass_ms(3_000)
    viewer.nack(*lost)
    assert plis(publisher) == 0, "the keyframe that began since is as good"
    for n in range(40):
        publisher.video(DELTA, 302 + n, 203_000 + n)
    after = [got.sequence for got in viewer.packets(viewer.video_ssrc)][1:]
    world.pass_ms(2_100)
    viewer.nack(*after[::2])
    assert plis(publisher) == 0, "what came in between says that the path is narrow"
    viewer.nack(*after)
    assert plis(publisher) == 1, "too old to be sent again, and no keyframe since"


def test_a_viewer_that_loses_everything_costs_a_keyframe_in_two_seconds(world: World) -> None:
    publisher, viewer = live(world)
    asked = 0
    lost: list[int] = []
    for n in range(600):
        publisher.video((KEY if n % 50 == 0 else DELTA) + bytes(1_000), 101 + n, 900 * n)
        world.pass_ms(10)
        lost += [got.sequence for got in viewer.packets(viewer.video_ssrc)]
        if n % 10 == 0:
            viewer.nack(*lost[-60:])
        asked += plis(publisher)
    assert 1 <= asked <= 3


def test_nothing_is_asked_for_a_viewer_whose_gate_is_shut(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", [Kind.VIDEO])
    gate.open_until(world.now_ns + 100 * SECOND_NS)
    publisher.video(KEY, 100, 3_000)
    for n in range(40):
        publisher.video(DELTA, 101 + n, 6_000 + n)
    publisher.asked()
    sent = [got.sequence for got in viewer.packets(viewer.video_ssrc)]
    world.now_ns += 3 * SECOND_NS
    gate.open_until(0)
    viewer.nack(*sent)
    assert plis(publisher) == 0
    gate.open_until(world.now_ns + 100 * SECOND_NS)
    viewer.nack(*sent)
    assert plis(publisher) == 1, "an open one is heard"


def test_the_same_bytes_never_leave_twice_and_no_number_is_used_twice(world: World) -> None:
    publisher, viewer = live(world)
    for n in range(1, 50):
        publisher.video(DELTA + b"%d" % n, 100 + n, 900 * n)
        world.now_ns += 60 * MS
        got = viewer.packets()
        viewer.nack(*(packet.sequence for packet in got if packet.header.ssrc == viewer.video_ssrc))
    viewer.datagrams()
    numbers = [datagram[2:4] + datagram[8:12] for datagram in viewer.protected]
    assert len(numbers) > 60
    assert len(set(numbers)) == len(numbers)


def test_one_of_many_asks_for_a_keyframe_and_the_publisher_hears_it_twice_a_second(
    world: World,
) -> None:
    publisher, viewer = live(world)
    world.now_ns += SECOND_NS
    for _ in range(99):
        viewer.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, viewer.video_ssrc))
        world.pass_ms(10)
    assert plis(publisher) == 2
    publisher.video(KEY, 101, 6_000)
    world.pass_ms(2_000)
    assert plis(publisher) == 0


def test_a_fir_is_as_good_and_a_foreign_stream_is_nobodys(world: World) -> None:
    publisher, viewer = live(world)
    entry = viewer.video_ssrc.to_bytes(4, "big") + b"\1\0\0\0"
    viewer.rtcp(rtcp.build_rr(1) + b"\x84\xce\0\4" + bytes(8) + entry)
    assert plis(publisher) == 1
    world.now_ns += SECOND_NS
    publisher.video(KEY, 101, 6_000)
    viewer.rtcp(rtcp.build_rr(1) + rtcp.build_pli(1, 0xDEAD))
    viewer.rtcp(rtcp.build_rr(1) + rtcp.build_nack(1, 0xDEAD, [1, 2, 3]))
    assert plis(publisher) == 0


# --- towards publishers ------------------------------------------------------------------------


def test_a_waiting_viewer_repeats_the_request_until_a_keyframe_comes(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    publisher.asked()
    for n in range(100):
        publisher.video(DELTA, n, 900 * n)
        world.pass_ms(20)
    assert 3 <= plis(publisher) <= 2_000 * MS // PLI_INTERVAL_NS + 1
    publisher.video(KEY, 100, 90_000)
    world.pass_ms(2_000)
    assert plis(publisher) == 0
    assert viewer.payloads() == [KEY]


def test_gaps_are_asked_for_and_the_repairs_find_their_place(world: World) -> None:
    publisher, viewer = live(world)
    publisher.video(DELTA + b"3", 103, 9_000)
    world.pass_ms(40)
    assert nacked(publisher) == [101, 102]
    publisher.rtx(DELTA + b"2", 102, 1, 6_000)
    publisher.rtx(DELTA + b"1", 101, 2, 6_000)
    publisher.rtx(DELTA + b"1", 101, 3, 6_000)
    publisher.video(DELTA + b"1", 101, 6_000)  # the lost one was only late
    packets = viewer.packets()
    base = packets[0].sequence
    assert {(got.sequence - base) & 0xFFFF: got.payload for got in packets} == {
        0: KEY,
        1: DELTA + b"1",
        2: DELTA + b"2",
        3: DELTA + b"3",
    }
    assert len(packets) == 4
    world.pass_ms(1_000)
    assert nacked(publisher) == []


def test_gaps_over_the_wrap_of_the_sequence_number(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY, 65_534, 0)
    publisher.video(DELTA, 1, 900)
    world.pass_ms(40)
    assert nacked(publisher) == [65_535, 0]


def test_repairs_that_probe_or_lie_change_nothing(world: World) -> None:
    publisher, viewer = live(world)
    viewer.packets()
    publisher.rtx(b"", 101, 1)  # padding on the repair stream
    publisher.rtx(DELTA, 100, 2)  # not missing
    publisher.rtx(DELTA, 30_000, 3)  # never announced
    publisher.rtx(DELTA + b"early", 101, 4)  # before the packet that it repairs
    publisher.video(DELTA, 101, 6_000)
    assert viewer.payloads() == [DELTA]


def test_a_lost_keyframe_start_that_is_repaired_starts_the_waiting(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    publisher.video(KEY, 1, 0)
    world.now_ns += 6 * SECOND_NS  # too old to start from
    publisher.video(DELTA, 2, 540_000)
    world.forwarder.forward("s", "v")
    publisher.video(b"\x00more of the keyframe", 4, 543_000)
    assert viewer.payloads() == []
    publisher.rtx(KEY + b"start", 3, 1, 543_000)
    assert viewer.payloads() == [KEY + b"start", b"\x00more of the keyframe"]


def test_reports_loss_and_an_estimate_to_the_publisher(world: World) -> None:
    publisher = world.publisher()
    remb = [packet for packet in publisher.asked() if isinstance(packet, rtcp.Remb)]
    assert [round(packet.bitrate_bps, -4) for packet in remb] == [2_500_000]
    publisher.rtcp(rtcp.build_sr(VIDEO_SSRC, 5 << 32, 0, 0, 0))
    for n in range(100):
        if n % 4 != 3:
            publisher.video(KEY, n, 900 * n)
        publisher.audio(b"a", n, 480 * n)
        world.now_ns += 10 * MS
    publisher.rtcp(rtcp.build_sr(VIDEO_SSRC, 5 << 32, 0, 0, 0))
    world.now_ns += 500 * MS
    world.forwarder.timer(world.now_ns)
    asked = publisher.asked()
    (report,) = (
        packet for packet in asked if isinstance(packet, rtcp.ReceiverReport) and packet.reports
    )
    blocks = {block.ssrc: block for block in report.reports}
    assert blocks[VIDEO_SSRC].packets_lost == 24  # the hundredth is not missed yet
    assert 60 <= blocks[VIDEO_SSRC].fraction_lost <= 64
    assert blocks[VIDEO_SSRC].last_sr == 5 << 16
    assert blocks[VIDEO_SSRC].delay_since_sr == 1 << 15
    assert blocks[AUDIO_SSRC].fraction_lost == 0
    (estimate,) = (packet for packet in asked if isinstance(packet, rtcp.Remb))
    assert estimate.bitrate_bps < 1_000_000


def test_the_round_trip_to_a_publisher_is_measured_by_its_echo(world: World) -> None:
    publisher, _ = live(world)
    for n in range(3):
        world.pass_ms(1_000)
        publisher.video(KEY, 101 + n, 90_000 * n)
        world.now_ns += 250 * MS
        publisher.echo(round_trip_ms=200)
    assert world.round_trip_ms() == pytest.approx(200, abs=1)
    world.pass_ms(6_000)
    publisher.echo(round_trip_ms=200)
    sent = world.forwarder._publishers[publisher.link][1]._times_sent
    assert len(sent) == TIMES_REMEMBERED
    assert list(sent) == sorted(sent)
    assert QualityChanged("s", Direction.PUBLISH, QualityLevel.GOOD, "ok") in world.events


def test_an_echo_of_nothing_or_for_another_is_no_measurement(world: World) -> None:
    publisher, _ = live(world)
    world.pass_ms(1_000)
    publisher.echo(ssrc=0xBAD)
    publisher.echo(last_rr=0)
    publisher.echo(last_rr=12_345)
    publisher.echo(round_trip_ms=-60_000)
    assert world.round_trip_ms() is None


def test_without_echoes_the_repairs_themselves_tell_the_round_trip(world: World) -> None:
    publisher, _ = live(world)
    for n in range(20):
        number = 102 + 2 * n
        publisher.video(DELTA, number, 3_000 * n)
        world.pass_ms(20)
        assert nacked(publisher) == [number - 1]
        world.now_ns += 150 * MS
        publisher.rtx(DELTA, number - 1, n, 3_000 * n)
    assert world.round_trip_ms() == pytest.approx(150, abs=2)
    publisher.video(DELTA, 200, 90_000)
    asked: list[int] = []
    for _ in range(50):
        world.pass_ms(20)
        asked.append(len(nacked(publisher)))
    gaps = [n for n, count in enumerate(asked) if count]
    assert len(gaps) >= 5
    assert all(7 <= later - sooner <= 10 for sooner, later in itertools.pairwise(gaps))


def test_packets_are_asked_for_again_at_a_bounded_rate(world: World) -> None:
    publisher, _ = live(world)
    sequence, asked = 100, 0
    for _ in range(100):
        for _ in range(20):  # every other packet of 2,000 a second
            sequence += 2
            publisher.video(DELTA, sequence, 900 * sequence)
        world.pass_ms(20)
        asked += len(nacked(publisher))
    assert NACKED_PER_S_MAX <= asked <= 2 * NACKED_PER_S_MAX + NACKED_BURST_MAX


def lose_for_good(world: World, publisher: FarPublisher) -> int:
    """One packet goes missing and is never repaired: how many keyframes were asked for."""
    world.now_ns += 20 * MS
    publisher.video(DELTA, 102, 6_000)
    world.pass_ms(nack.GIVE_UP_NS // MS + 100)
    return plis(publisher)


def test_a_packet_lost_for_good_costs_a_keyframe(world: World) -> None:
    publisher, _ = live(world)
    world.pass_ms(600)
    assert lose_for_good(world, publisher) == 1


def test_a_lost_packet_that_a_keyframe_made_good_costs_none(world: World) -> None:
    publisher, _ = live(world)
    world.pass_ms(600)
    publisher.video(DELTA, 102, 6_000)
    publisher.video(KEY, 103, 9_000)
    world.pass_ms(2_000)
    assert plis(publisher) == 0


def test_a_lost_packet_that_nobody_watches_costs_none_until_somebody_comes(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY, 100, 3_000)
    publisher.asked()
    assert lose_for_good(world, publisher) == 0
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    assert viewer.payloads() == [KEY, DELTA]  # a picture at once, though it stands still
    assert plis(publisher) == 1
    publisher.video(KEY, 103, 9_000)
    world.viewer("w")
    world.forwarder.forward("s", "w")
    assert plis(publisher) == 0


def test_a_repair_that_is_lost_too_is_repaired_after_a_round_trip(world: World) -> None:
    publisher, viewer = live(world)
    publisher.video(DELTA, 101, 6_000)
    sequence = viewer.packets()[-1].sequence
    repairs = []
    for _ in range(20):
        viewer.nack(sequence)
        repairs.append(len(viewer.packets(viewer.rtx_ssrc)))
        world.now_ns += 20 * MS
    assert repairs == [int(n % 4 == 0 and n // 4 < nack.RESENDS_MAX) for n in range(20)]


def test_sound_is_reported_as_lost_as_its_viewers_hear_it(world: World) -> None:
    """So that the encoder corrects errors for them; its path is judged by our own counts."""
    publisher, one = world.publisher(), world.viewer("one")
    for name in ("two", "three"):
        world.viewer(name)
    for name in ("one", "two", "three"):
        world.forwarder.forward("s", name)
    reported = []
    for lost in (0, 64, 255):
        one.rtcp(rtcp.build_rr(1, [rtcp.ReportBlock(one.video_ssrc, lost, 0, 0, 0, 0, 0)]))
        for n in range(50):
            publisher.audio(b"a", 50 * len(reported) + n, 960 * n)
            world.pass_ms(20)
        blocks = [
            block
            for packet in publisher.asked()
            if isinstance(packet, rtcp.ReceiverReport)
            for block in packet.reports
        ]
        reported.append((blocks[-1].fraction_lost, blocks[-1].packets_lost))
        world.now_ns += 7 * SECOND_NS
    assert reported == [(0, 0), (22, 0), (64, 0)]
    assert world.forwarder._sources["s"].publisher.fraction_lost == 0


# --- reports to viewers ------------------------------------------------------------------------


def test_sender_reports_keep_sound_and_picture_in_step(world: World) -> None:
    publisher, viewer = live(world)
    # The publisher's clock: at 50 s its video shows 90_000 and its sound 7_000.
    publisher.audio(b"a", 1, 7_000)
    publisher.rtcp(rtcp.build_sr(VIDEO_SSRC, 50 << 32, 93_000, 0, 0))
    world.now_ns += 300 * MS  # the sound's report comes late; it must not matter
    publisher.rtcp(rtcp.build_sr(AUDIO_SSRC, 50 << 32, 8_600, 0, 0))
    publisher.video(DELTA, 101, 93_000)
    publisher.audio(b"a", 2, 8_600)
    packets = viewer.packets()
    stamps = {got.header.ssrc: got.header.timestamp for got in packets}
    world.pass_ms(1_000)
    _, reports = viewer.drain()
    reported = {r.ssrc: r for r in reports if isinstance(r, rtcp.SenderReport)}
    assert set(reported) == {viewer.audio_ssrc, viewer.video_ssrc}
    taken_ns = {}
    for ssrc, rate_hz in ((viewer.audio_ssrc, 48_000), (viewer.video_ssrc, 90_000)):
        ticks = (stamps[ssrc] - reported[ssrc].rtp_timestamp + 2**31) % 2**32 - 2**31
        taken_ns[ssrc] = rtcp.ns_from_ntp(reported[ssrc].ntp) + ticks * SECOND_NS // rate_hz
    assert abs(taken_ns[viewer.audio_ssrc] - taken_ns[viewer.video_ssrc]) < MS


def test_reports_come_every_second_and_several_at_once(world: World) -> None:
    publisher, first = live(world)
    viewers = [first]
    for number in range(39):
        world.now_ns += 25 * MS
        viewers.append(world.viewer(f"v{number}"))
        world.forwarder.forward("s", f"v{number}")
    told_ns: dict[int, list[int]] = {}
    for tick in range(200):
        publisher.audio(b"a", 1_000 + tick, 960 * tick)
        world.pass_ms(20)
        for number, viewer in enumerate(viewers):
            if any(isinstance(report, rtcp.SenderReport) for report in viewer.drain()[1]):
                told_ns.setdefault(number, []).append(world.now_ns)
    assert len(told_ns) == len(viewers)
    for times_ns in told_ns.values():
        gaps_ms = {(after - before) // MS for before, after in itertools.pairwise(times_ns)}
        assert gaps_ms <= set(range(800, 1_041)), gaps_ms
    last_second = [
        ns for times in told_ns.values() for ns in times if ns > world.now_ns - SECOND_NS
    ]
    assert len(set(last_second)) <= 8
    assert max(map(last_second.count, last_second)) <= REPORTS_AT_ONCE_MAX


def test_a_viewers_reports_become_its_quality(world: World) -> None:
    publisher, viewer = live(world)

    sequences = itertools.count(101)

    def report(loss: float, bitrate_bps: int = 3_000_000) -> None:
        publisher.video(DELTA, next(sequences), 6_000)
        _, reports = viewer.drain()
        last = [r for r in reports if isinstance(r, rtcp.SenderReport)]
        middle = last[-1].ntp >> 16 & 0xFFFFFFFF if last else 0
        block = rtcp.ReportBlock(viewer.video_ssrc, int(loss * 256), 0, 0, 0, middle, 1 << 16)
        viewer.rtcp(rtcp.build_rr(1, [block]) + rtcp.build_remb(1, bitrate_bps, [1]))

    world.pass_ms(1_000)
    told: list[tuple[QualityLevel, str]] = []
    for loss in (0.0, 0.0, 0.2, 0.0, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0):
        world.now_ns += 40 * MS
        report(loss)
        world.pass_ms(1_000)
        told = [
            (event.level, event.reason)
            for event in world.events
            if isinstance(event, QualityChanged) and event.direction is Direction.WATCH
        ]
    assert told == [
        (QualityLevel.GOOD, "ok"),
        (QualityLevel.POOR, "loss"),
        (QualityLevel.GOOD, "ok"),
    ]


def test_an_estimate_that_climbs_is_no_narrow_way_and_one_that_falls_is(world: World) -> None:
    publisher, viewer = live(world)
    sequences = itertools.count(101)

    def second(estimate_bps: int, stream_bps: int = 800_000) -> None:
        for _ in range(stream_bps // 8_000):
            publisher.video(DELTA + bytes(998), next(sequences), 6_000)
        block = rtcp.ReportBlock(viewer.video_ssrc, 0, 0, 0, 0, 0, 0)
        viewer.rtcp(rtcp.build_rr(1, [block]) + rtcp.build_remb(1, estimate_bps, [1]))
        world.pass_ms(1_000)
        viewer.drain()

    def told() -> list[tuple[QualityLevel, str]]:
        changes = [event for event in world.events if isinstance(event, QualityChanged)]
        return [(e.level, e.reason) for e in changes if e.direction is Direction.WATCH]

    for estimate_bps in (500_000, 530_000, 560_000, 600_000, 900_000, 1_200_000):
        second(estimate_bps)
    assert told() == [(QualityLevel.GOOD, "ok")]
    for estimate_bps in (600_000, 595_000, 590_000):
        second(estimate_bps)
    assert told()[1:] == [(QualityLevel.FAIR, "bandwidth")]
    for estimate_bps in (900_000, 900_000):
        second(estimate_bps)
    assert told()[2:] == [(QualityLevel.GOOD, "ok")]
    for estimate_bps in (950_000, 1_000_000, 1_100_000):  # a larger picture, and it follows
        second(estimate_bps, 1_200_000)
    assert told()[3:] == []


def test_the_round_trip_is_what_passed_less_the_viewers_delay(world: World) -> None:
    _, viewer = live(world)
    world.pass_ms(1_000)
    (report,) = (r for r in viewer.drain()[1] if isinstance(r, rtcp.SenderReport))
    sent_ns = world.now_ns
    world.now_ns += 750 * MS
    middle = report.ntp >> 16 & 0xFFFFFFFF
    viewer.rtcp(
        rtcp.build_rr(1, [rtcp.ReportBlock(viewer.video_ssrc, 0, 0, 0, 0, middle, 1 << 15)])
    )
    outlet = world.forwarder._viewers["v"]._by_ssrc[viewer.video_ssrc]
    assert outlet.round_trip_ns == world.now_ns - sent_ns - 500 * MS
    liar = rtcp.ReportBlock(viewer.video_ssrc, 0, 0, 0, 0, middle, 0xFFFFFFFF)
    viewer.rtcp(rtcp.build_rr(1, [liar]))
    assert outlet.round_trip_ns == 0


def test_rtcp_from_anyone_raises_nothing(world: World) -> None:
    publisher, viewer = live(world)
    for body in (b"", b"\xff" * 40, bytes(40), b"\x81\xcd\0\2" + bytes(8)):
        compound = rtcp.build_rr(1) + body
        viewer.rtcp(compound)
        publisher.rtcp(compound)
    world.buffer.data[:40] = bytes(40)
    world.forwarder.on_viewer_rtcp(viewer.link, world.buffer, 40, world.now_ns)
    world.forwarder.on_publisher_rtcp(publisher.link, world.buffer, 0, world.now_ns)
    assert world.forwarder.counters.dropped_srtp == 2
    publisher.video(DELTA, 101)
    assert viewer.payloads() == [KEY, DELTA]


def test_a_viewer_that_floods_rtcp_is_clipped(world: World) -> None:
    publisher, viewer = live(world)
    for _ in range(400):
        viewer.rtcp(rtcp.build_rr(1))
    assert world.forwarder.counters.dropped_flood == 200
    assert publisher.asked() == []
