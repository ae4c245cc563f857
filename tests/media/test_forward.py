"""The forwarding table with real SRTP: who gets which packet, from which one to which one."""

import errno
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Session

from media import batch, rtcp, rtp
from media.api import (
    Direction,
    Kind,
    QualityChanged,
    QualityLevel,
    SourceFresh,
    SourceKinds,
    SourceStale,
    SourceUp,
)
from media.links import CodecFormat
from media.mmsg import libc_ffi
from media.outlet import REPLAY_BURST_PACKETS
from media.publisher import PACKETS_BURST_MAX, SSRCS_MAX
from tests.media.farends import (
    DELTA,
    H264,
    KEY,
    MS,
    SECOND_NS,
    VIEWER_VP8,
    VP8,
    FarPublisher,
    FarViewer,
    World,
)

BOTH = frozenset(Kind)
VIDEO = frozenset({Kind.VIDEO})
AUDIO = frozenset({Kind.AUDIO})


def assert_continuous(sequences: list[int]) -> None:
    assert sequences == [(sequences[0] + n) & 0xFFFF for n in range(len(sequences))]


def watching(world: World, viewer_id: str = "v", **changes: object) -> FarViewer:
    viewer = world.viewer(viewer_id, **changes)
    world.forwarder.forward("s", viewer_id)
    return viewer


def live(world: World) -> tuple[FarPublisher, FarViewer]:
    """A publisher and a viewer who got the keyframe with sequence 100."""
    publisher, viewer = world.publisher(), watching(world)
    publisher.video(KEY, 100, 3_000)
    assert viewer.payloads() == [KEY]
    return publisher, viewer


# --- rewriting -------------------------------------------------------------------------------


@pytest.mark.parametrize("viewers", [1, 3, 9, 300])
def test_every_viewer_gets_one_continuous_stream_of_its_own(world: World, viewers: int) -> None:
    publisher = world.publisher()
    watchers = [watching(world, f"v{n}", gcm=n % 2 == 0) for n in range(viewers)]
    sent = [KEY + b"first"] + [DELTA + b"%d" % n * 90 for n in range(20)]
    for step, payload in enumerate(sent):
        publisher.video(payload, 65_530 + step, step * 3_000, marker=step % 2 == 0)
        publisher.audio(b"sound%d" % step, step)
    for viewer in watchers:
        packets = viewer.packets()
        video = [got for got in packets if got.header.ssrc == viewer.video_ssrc]
        audio = [got for got in packets if got.header.ssrc == viewer.audio_ssrc]
        assert [got.payload for got in video] == sent
        assert_continuous([got.sequence for got in video])
        assert_continuous([got.sequence for got in audio])
        stamps = [got.header.timestamp for got in video]
        assert stamps == [(stamps[0] + step * 3_000) & 0xFFFFFFFF for step in range(len(sent))]
        assert {got.header.payload_type for got in video} == {120}
        assert {got.header.payload_type for got in audio} == {109}
        assert [got.header.marker for got in video] == [n % 2 == 0 for n in range(len(sent))]
    assert world.forwarder.counters.packets_forwarded == viewers * 2 * len(sent)
    assert world.forwarder.counters.send_errors == 0


def test_viewers_with_different_negotiations_share_one_batch(world: World) -> None:
    ids = {
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level": 5,
        "urn:3gpp:video-orientation": 7,
        "urn:ietf:params:rtp-hdrext:sdes:mid": 9,
    }
    publisher = world.publisher(extension_ids=ids)
    plain = [watching(world, f"p{n}") for n in range(6)]
    send_time = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
    rich = [
        watching(world, f"r{n}", extension_ids={"urn:3gpp:video-orientation": 2, send_time: 3})
        for n in range(6)
    ]
    publisher.video(KEY, 1, 0)
    publisher.video(DELTA, 2, 0, extensions=[(7, b"\1"), (9, b"mid"), (11, b"?")])
    for viewer in plain:
        assert [got.extensions for got in viewer.packets()] == [{}, {}]
    for viewer in rich:
        first, second = viewer.packets()
        assert set(first.extensions) == {3}
        assert second.extensions[2] == b"\1"
        assert second.extensions[3] == rtp.abs_send_time(world.now_ns)
        assert set(second.extensions) == {2, 3}


def test_padding_is_not_forwarded_and_leaves_no_gap(world: World) -> None:
    publisher, viewer = live(world)
    publisher.video(b"", 101, 3_000, padding=200)
    publisher.video(DELTA, 102, 6_000, padding=10)
    publisher.video(b"", 103, 6_000, padding=200)
    publisher.video(DELTA, 104, 9_000)
    packets = viewer.packets()
    assert [got.payload for got in packets] == [DELTA, DELTA]
    assert_continuous([got.sequence for got in packets])


def test_reordered_and_repeated_packets_arrive_once_in_their_place(world: World) -> None:
    publisher, viewer = live(world)
    for sequence in (102, 101, 104, 103):
        publisher.video(DELTA + b"%d" % sequence, sequence, sequence * 30)
    packets = viewer.packets()
    assert sorted((got.sequence, got.payload) for got in packets) == [
        (packets[1].sequence + n, DELTA + b"%d" % (101 + n)) for n in range(4)
    ]


def test_a_new_viewer_is_given_nothing_from_before_its_keyframe(world: World) -> None:
    publisher = world.publisher()
    early = watching(world)
    publisher.video(DELTA, 99)
    assert early.payloads() == []
    publisher.video(KEY, 100)
    publisher.video(DELTA, 101)
    late = watching(world, "late")
    assert late.payloads() == [KEY, DELTA]  # at once, from the cache
    publisher.video(DELTA + b"new", 102)
    packets = late.packets()
    assert [got.payload for got in packets] == [DELTA + b"new"]
    assert early.payloads() == [KEY, DELTA, DELTA + b"new"]


def test_a_long_cache_is_sent_in_bursts_and_ends_at_the_live_packet(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY, 0, 0)
    for n in range(1, 100):
        world.now_ns += 10 * MS
        publisher.video(DELTA + b"%d" % n, n, n * 900)
    viewer = watching(world)
    assert len(viewer.packets()) == 32
    publisher.video(DELTA + b"100", 100, 90_000)
    world.pass_ms(60)
    publisher.video(DELTA + b"101", 101, 93_600)
    packets = viewer.packets()
    assert [got.payload for got in packets][-1] == DELTA + b"101"
    assert len(packets) == 102 - 32
    assert_continuous([got.sequence for got in packets])
    stamps = [got.header.timestamp for got in packets]
    assert all(0 < (b - a) & 0xFFFFFFFF < 4_000 for a, b in itertools.pairwise(stamps))
    publisher.video(DELTA, 102, 97_200)
    assert (viewer.packets()[0].header.timestamp - stamps[-1]) & 0xFFFFFFFF == 3_600


def test_rows_may_be_there_before_both_ends(world: World) -> None:
    viewer = world.viewer("v", attach=False)
    world.forwarder.forward("s", "v")
    publisher = world.publisher()
    publisher.video(KEY, 1)
    assert viewer.payloads() == []
    viewer.attach()
    assert viewer.payloads() == [KEY]


# --- receive batches ---------------------------------------------------------------------------


@pytest.mark.parametrize("viewers", [1, 9, 140])
@pytest.mark.parametrize("sizes", [[1_000] * 5, [900, 900, 300, 900], [10, 20, 30], [700] * 20])
def test_packets_that_came_together_leave_together_and_whole(
    world: World, viewers: int, sizes: list[int]
) -> None:
    publisher = world.publisher()
    watchers = [watching(world, f"v{n}", gcm=n % 5 != 4) for n in range(viewers)]
    publisher.video(KEY, 100, 0)
    for viewer in watchers:
        assert viewer.payloads() == [KEY]
    for start in (101, 201):
        world.batching = True
        sent = [DELTA + bytes([n]) * size for n, size in enumerate(sizes)]
        for n, payload in enumerate(sent):
            publisher.video(payload, start + n, n * 900, marker=n == len(sent) - 1)
        world.forwarder.flush(world.now_ns)
        for viewer in watchers:
            packets = viewer.packets()
            assert [got.payload for got in packets] == sent
            assert_continuous([got.sequence for got in packets])
            assert len({got.header.timestamp for got in packets}) == len(sent)
        world.batching = False
        for n in range(start + len(sizes), start + 100):
            publisher.video(DELTA, n, 20_000, marker=True)
        for viewer in watchers:
            viewer.datagrams()
    assert world.forwarder.counters.send_errors == 0


def test_the_table_may_change_inside_a_batch(world: World) -> None:
    publisher, viewer = live(world)
    other = watching(world, "other")
    other.datagrams()
    world.batching = True
    publisher.video(DELTA + b"1", 101, 3_000)
    world.forwarder.stop("s", "v")
    publisher.video(DELTA + b"2", 102, 6_000)
    late = watching(world, "late")
    publisher.video(DELTA + b"3", 103, 9_000)
    world.forwarder.seal("s")
    publisher.video(DELTA + b"4", 104, 12_000)
    world.forwarder.flush(world.now_ns)
    assert viewer.payloads() == [DELTA + b"1"]
    assert other.payloads() == [DELTA + b"1", DELTA + b"2", DELTA + b"3"]
    assert late.payloads() == [KEY, DELTA + b"1", DELTA + b"2", DELTA + b"3"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_kernel_that_does_not_cut_messages_gets_them_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    publisher = world.publisher()
    watchers = [watching(world, f"v{n}") for n in range(9)]
    publisher.video(KEY, 100, 0)
    really = batch.sendmmsg
    calls: list[int] = []

    def sendmmsg(fd: int, messages: Any, count: int, flags: int) -> int:
        calls.append(count)
        if messages[0].msg_hdr.msg_iovlen > 1:
            libc_ffi.errno = code
            return -1
        return int(really(fd, messages, count, flags))

    monkeypatch.setattr(batch, "sendmmsg", sendmmsg)
    for start in (101, 104):
        world.batching = True
        for n in range(3):
            publisher.video(DELTA + bytes([n]), start + n, 900 * n)
        calls.clear()
        world.forwarder.flush(world.now_ns)
        world.batching = False
    for viewer in watchers:
        assert viewer.payloads() == [KEY] + [DELTA + bytes([n]) for n in (0, 1, 2)] * 2
    assert world.forwarder.counters.send_errors == 0
    # EIO holds for the whole machine: it is not tried again.
    assert len(calls) == (3 if code == errno.EIO else 9 + 27)


# --- sources change ----------------------------------------------------------------------------


def test_a_publisher_who_comes_back_continues_the_numbers_at_a_keyframe(world: World) -> None:
    first, viewer = live(world)
    first.audio(b"a", 7, 960)
    before = {got.header.ssrc: got.header for got in viewer.packets()}
    world.forwarder.detach_publisher(first.link)
    world.now_ns += 2 * SECOND_NS
    second = world.publisher()
    second.video(DELTA, 40_000, 77)
    second.video(KEY, 40_001, 5_000)
    second.audio(b"b", 9_000, 123)
    packets = viewer.packets()
    assert [got.payload for got in packets] == [KEY, b"b"]
    audio = packets[1].header
    last = before[viewer.audio_ssrc]
    assert audio.sequence == (last.sequence + 1) & 0xFFFF
    assert (audio.timestamp - last.timestamp) & 0xFFFFFFFF == 96_000


@pytest.mark.parametrize("viewers", [1, 12])
def test_another_codec_changes_the_payload_type_at_a_keyframe(world: World, viewers: int) -> None:
    both = (VIEWER_VP8, H264)
    publisher = world.publisher(video=(VP8, H264))
    watchers = [watching(world, f"v{n}", video=both) for n in range(viewers)]
    publisher.video(KEY, 1, 0)
    publisher.video(b"\x41x", 2, 3_000, payload_type=102)
    publisher.video(b"\x67sps", 3, 6_000, payload_type=102)
    publisher.video(b"\x65idr", 4, 6_000, payload_type=102)
    for viewer in watchers:
        packets = viewer.packets()
        assert [got.header.payload_type for got in packets] == [120, 102, 102]
        assert_continuous([got.sequence for got in packets])


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (H264, b"\x67sps"),
        (CodecFormat("vp9", 98, 90_000), b"\x8c\x05\x82\x49"),
        (CodecFormat("av1", 45, 90_000), b"\x18\x0a\x0b"),
    ],
)
def test_a_codec_that_the_viewer_lacks_is_told_and_sends_nothing(
    world: World, codec: CodecFormat, payload: bytes
) -> None:
    publisher = world.publisher(video=(codec,))
    viewer = watching(world)
    refused = QualityChanged("v", Direction.WATCH, QualityLevel.POOR, "codec_unsupported:video")
    for n in range(6):
        publisher.video(payload, n, n, payload_type=codec.payload_type)
        publisher.audio(b"a", n)
        if n == 0:
            assert refused in world.events  # at once
        viewer.rtcp(rtcp.build_rr(1, [rtcp.ReportBlock(viewer.audio_ssrc, 0, 0, n, 0, 0, 0)]))
        world.pass_ms(1_000)
    assert {got.header.ssrc for got in viewer.packets()} == {viewer.audio_ssrc}
    told = [event for event in world.events if isinstance(event, QualityChanged)]
    # A way that is otherwise perfect does not hide it.
    assert {event.level for event in told if event.id == "v"} == {QualityLevel.POOR}


def test_a_viewer_given_another_source_keeps_its_numbers(world: World) -> None:
    one, viewer = live(world)
    two = world.publisher("t")
    two.video(KEY, 9, 0)
    one.video(DELTA, 101, 6_000)
    last = viewer.packets()[-1].header
    world.now_ns += SECOND_NS
    world.forwarder.forward("t", "v")
    two.video(DELTA, 10, 3_000)
    one.video(DELTA + b"unseen", 102, 9_000)
    packets = viewer.packets()
    assert [got.payload for got in packets] == [KEY, DELTA]
    assert packets[0].sequence == (last.sequence + 1) & 0xFFFF
    assert 0 < (packets[0].header.timestamp - last.timestamp) & 0xFFFFFFFF < 2 * 90_000


# --- the table ---------------------------------------------------------------------------------


def test_a_stopped_row_sends_nothing_and_answers_nothing(world: World) -> None:
    publisher, viewer = live(world)
    other = watching(world, "other")
    publisher.video(DELTA, 101)
    sequence = viewer.packets()[-1].sequence
    world.forwarder.stop("s", "v")
    publisher.video(DELTA, 102)
    publisher.audio(b"a", 1)
    viewer.nack(sequence)
    world.pass_ms(2_000)
    assert viewer.datagrams() == []
    assert len(other.packets()) == 4
    world.forwarder.stop("s", "v")
    world.forwarder.stop("nobody", "none")


def test_forwarding_again_changes_nothing(world: World) -> None:
    publisher, viewer = live(world)
    world.forwarder.forward("s", "v")
    publisher.video(DELTA, 101)
    assert viewer.payloads() == [DELTA]


def test_a_viewer_that_is_gone_leaves_no_rows(world: World) -> None:
    publisher, viewer = live(world)
    world.forwarder.detach_viewer(viewer.link)
    publisher.video(DELTA, 101)
    viewer.nack(1)
    assert viewer.datagrams() == []
    assert not world.forwarder._sources["s"].layers[Kind.VIDEO].entry().rows
    world.forwarder.detach_publisher(publisher.link)
    assert not world.forwarder._sources
    assert not world.forwarder._viewers


@pytest.mark.parametrize("viewers", [1, 6, 12])
@pytest.mark.parametrize("packets", [1, 3])
def test_one_broken_session_costs_the_others_nothing_and_leaks_nothing(
    world: World, viewers: int, packets: int
) -> None:
    publisher = world.publisher()
    watchers = [watching(world, f"v{n}") for n in range(viewers)]
    publisher.video(KEY, 1)
    empty = Session()  # it has no key for any stream: it cannot encrypt
    lane = world.forwarder._viewers["v0"].rows[Kind.VIDEO]._lane
    assert lane is not None
    lane.srtp = empty._srtp[0]
    world.forwarder._sources["s"].layers[Kind.VIDEO].entry().fan._stale = True
    world.batching = True
    for n in range(packets):
        publisher.video(DELTA + b"secret", 2 + n)
    world.forwarder.flush(world.now_ns)
    for n, viewer in enumerate(watchers):
        datagrams = viewer.datagrams()
        assert len(datagrams) == (1 if n == 0 else 1 + packets)
        assert not any(b"secret" in datagram for datagram in datagrams)
    world.refusals_expected = packets
    assert world.forwarder.counters.send_errors == packets


def test_sources_without_publisher_and_rows_are_forgotten(world: World) -> None:
    world.forwarder.forward("s", "v", VIDEO)
    world.forwarder.forward_gated("s", "v", VIDEO)
    assert set(world.forwarder._sources) == {"s"}
    world.forwarder.forward("t", "v")
    assert set(world.forwarder._sources) == {"t"}
    world.forwarder.forget_viewer("v")
    assert not world.forwarder._sources
    world.forwarder.forward("s", "v")
    world.forwarder.stop("s", "v")
    assert not world.forwarder._sources
    assert not world.forwarder._viewers


# --- gates -------------------------------------------------------------------------------------


def test_a_gated_row_passes_exactly_what_comes_while_it_is_open(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", AUDIO)
    gate.open_until(world.now_ns + 10 * MS)
    for n in range(20):
        publisher.audio(b"%d" % n, n, n * 48)
        world.now_ns += MS
    assert viewer.payloads() == [b"%d" % n for n in range(10)]
    gate.open_until(world.now_ns + MS)
    publisher.audio(b"20", 20, 960)
    world.now_ns += MS
    publisher.audio(b"21", 21, 1_008)
    gate.open_until(0)
    publisher.audio(b"22", 22, 1_056)
    assert viewer.payloads() == [b"20"]
    start_ns = gate.first_forwarded_ns
    assert start_ns is not None
    assert gate.last_forwarded_ns == start_ns + 20 * MS
    assert gate.take_held(world.now_ns) == [(start_ns, start_ns + 20 * MS)]


def test_numbers_stay_continuous_over_a_closed_gate(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", AUDIO)
    sequences = []
    for n in range(60):
        world.now_ns += 20 * MS
        gate.open_until(world.now_ns + 1 if n // 10 % 2 else 0)
        publisher.audio(b"%d" % n, n, n * 960)
    packets = viewer.packets()
    sequences = [got.sequence for got in packets]
    assert len(sequences) == 30
    assert_continuous(sequences)
    assert (packets[10].header.timestamp - packets[9].header.timestamp) & 0xFFFFFFFF == 11 * 960


def test_nothing_is_sent_before_the_gate_opens_then_the_cached_keyframe(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", VIDEO)
    publisher.video(KEY, 1, 0)
    publisher.video(DELTA, 2, 3_000)
    world.pass_ms(100)
    assert viewer.datagrams() == []
    gate.open_until(world.now_ns + SECOND_NS)
    publisher.video(DELTA + b"open", 3, 6_000)
    assert viewer.payloads() == [KEY, DELTA, DELTA + b"open"]
    assert gate.first_forwarded_ns == world.now_ns


def test_pictures_of_a_closed_gate_are_not_made_up_for(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", VIDEO)
    gate.open_until(world.now_ns + 1)
    publisher.video(KEY, 1, 0)
    world.now_ns += 10
    publisher.video(DELTA, 2, 3_000)
    publisher.video(KEY + b"missed", 3, 6_000)
    gate.open_until(world.now_ns + SECOND_NS)
    publisher.video(DELTA + b"undecodable", 4, 9_000)
    publisher.video(KEY + b"again", 5, 12_000)
    packets = viewer.packets()
    assert [got.payload for got in packets] == [KEY, KEY + b"again"]
    assert_continuous([got.sequence for got in packets])


def test_a_replay_keeps_its_pace_however_many_packets_come(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY, 100, 3_000)
    for sequence in range(101, 300):
        publisher.video(DELTA, sequence, 3_000 * (sequence - 99))
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    assert len(viewer.packets()) == REPLAY_BURST_PACKETS
    for sequence in range(300, 306):
        publisher.video(DELTA, sequence, 3_000 * (sequence - 99))
    assert viewer.packets() == []
    got = 0
    while got + REPLAY_BURST_PACKETS < 206 - REPLAY_BURST_PACKETS:
        world.pass_ms(20)
        burst = len(viewer.packets())
        assert 0 < burst <= REPLAY_BURST_PACKETS
        got += burst


def test_a_gate_shuts_the_replay_too(world: World) -> None:
    publisher, viewer = world.publisher(), world.viewer()
    gate = world.forwarder.forward_gated("s", "v", VIDEO)
    publisher.video(KEY, 0, 0)
    for n in range(1, 100):
        publisher.video(DELTA, n, n * 900)
    gate.open_until(world.now_ns + 1)
    publisher.video(DELTA, 100, 90_000)
    assert len(viewer.packets()) == 32
    world.now_ns += 1
    world.pass_ms(200)
    assert viewer.packets() == []


def test_a_row_laid_anew_gives_nothing_of_the_time_before(world: World) -> None:
    """Switched on for a moment every few seconds: what came in between is not in the price."""
    publisher, viewer = world.publisher(), world.viewer()
    for n in range(0, 12, 4):
        publisher.video(KEY + b"unpaid", n, 3_000 * n)
        publisher.video(DELTA + b"unpaid", n + 1, 3_000 * (n + 1))
        gate = world.forwarder.forward_gated("s", "v", VIDEO)
        gate.open_until(world.now_ns + SECOND_NS)
        publisher.video(DELTA, n + 2, 3_000 * (n + 2))
        assert viewer.payloads() == []
        publisher.video(KEY + b"paid", n + 3, 3_000 * (n + 3))
        assert viewer.payloads() == [KEY + b"paid"]
        world.forwarder.stop("s", "v", VIDEO)


def test_one_gate_covers_both_kinds_and_two_calls_have_two_gates(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    both = world.forwarder.forward_gated("s", "v", BOTH)
    both.open_until(world.now_ns + SECOND_NS)
    publisher.video(KEY, 1)
    publisher.audio(b"a", 1)
    assert viewer.payloads() == [KEY, b"a"]
    audio = world.forwarder.forward_gated("s", "v", AUDIO)
    publisher.video(DELTA, 2)
    publisher.audio(b"b", 2)
    assert viewer.payloads() == [DELTA]
    audio.open_until(world.now_ns + SECOND_NS)
    both.open_until(0)
    publisher.video(DELTA, 3)
    publisher.audio(b"c", 3)
    assert viewer.payloads() == [b"c"]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(["packet", "packet", "open", "shut", "key"]), st.integers(1, 9)),
        max_size=60,
    )
)
def test_no_grant_no_packet(steps: list[tuple[str, int]]) -> None:
    """Whatever happens to the gate, what is sent while it is shut never arrives."""
    world = World()
    try:
        publisher, viewer = world.publisher(), world.viewer()
        gate = world.forwarder.forward_gated("s", "v", AUDIO)
        expected = []
        for n, (step, size) in enumerate(steps):
            world.now_ns += size * MS
            match step:
                case "open":
                    gate.open_until(world.now_ns + 3 * size * MS)
                case "shut":
                    gate.open_until(0)
                case _:
                    if world.now_ns < gate.open_until_ns:
                        expected.append(b"%d" % n)
                    publisher.audio(b"%d" % n, n)
        assert viewer.payloads() == expected
    finally:
        world.close()


def test_silence_is_held_whole_and_fresh_though_two_of_its_packets_are_lost(world: World) -> None:
    publisher = world.publisher()
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", AUDIO)
    gate.open_until(world.now_ns + 60 * SECOND_NS)
    start_ns = world.now_ns
    for n in range(26):  # ten seconds of DTX: a packet in 400 ms
        if n % 6 not in (3, 4):
            publisher.audio(b"\x78", n, n * 400 * 48)
        world.pass_ms(400)
    assert gate.take_held(world.now_ns) == [(start_ns, start_ns + 25 * 400 * MS)]
    assert [event for event in world.events if isinstance(event, SourceStale | SourceKinds)] == []
    state = world.forwarder.source_state("s")
    assert state is not None
    assert state.fresh
    stamps = [got.header.timestamp for got in viewer.packets()]
    assert (stamps[-1] - stamps[0]) & 0xFFFFFFFF == 25 * 400 * 48


def test_a_picture_over_a_silent_microphone_stays_held(world: World) -> None:
    publisher = world.publisher()
    world.viewer()
    gate = world.forwarder.forward_gated("s", "v", VIDEO)
    gate.open_until(world.now_ns + 60 * SECOND_NS)
    start_ns = world.now_ns
    publisher.audio(b"\x78", 1)
    for n in range(100):
        publisher.video(DELTA if n else KEY, n, n * 3_600)
        world.pass_ms(40)
    assert gate.take_held(world.now_ns) == [(start_ns, start_ns + 99 * 40 * MS)]
    assert SourceKinds("s", VIDEO) in world.events
    assert not any(isinstance(event, SourceStale) for event in world.events)


# --- seal --------------------------------------------------------------------------------------


def test_a_sealed_source_drops_its_rows_and_forgets_everything(world: World) -> None:
    publisher, viewer = live(world)
    publisher.video(DELTA, 101, 6_000)
    sequence = viewer.packets()[-1].sequence
    world.forwarder.seal("s")
    publisher.video(DELTA, 102, 9_000)
    viewer.nack(sequence)
    assert viewer.datagrams() == []
    late = watching(world, "late")
    publisher.video(DELTA, 103, 12_000)
    assert late.datagrams() == []  # the keyframe of before is gone
    world.forwarder.forward("s", "v")
    viewer.nack(sequence, (sequence - 1) & 0xFFFF, (sequence + 1) & 0xFFFF)
    publisher.video(KEY + b"new", 104, 15_000)
    viewer.nack(*range(sequence - 5, sequence + 1))
    packets = viewer.packets()
    assert [got.payload for got in packets] == [KEY + b"new"]
    assert packets[0].sequence == (sequence + 1) & 0xFFFF


def test_late_packets_from_before_the_seal_reach_nobody(world: World) -> None:
    publisher, _ = live(world)
    early = publisher.protect(KEY + b"private", 101, 6_000)
    same_picture = publisher.protect(b"\x00private", 103, 9_000)
    publisher.video(DELTA, 102, 9_000)
    world.forwarder.seal("s")
    guest = watching(world, "guest")
    publisher.send_raw(same_picture)
    publisher.send_raw(early)
    publisher.video(DELTA, 104, 12_000)
    world.pass_ms(300)
    assert guest.payloads() == []
    publisher.video(KEY + b"public", 105, 15_000)
    assert guest.payloads() == [KEY + b"public"]


# --- limits ------------------------------------------------------------------------------------


def test_forged_and_malformed_packets_change_nothing(world: World) -> None:
    publisher, viewer = live(world)
    genuine = publisher.protect(DELTA, 101, 6_000)
    world.now_ns += MS
    for bad in (b"\x80" * 50, genuine[:-1], genuine[:20], bytes(1_400), b"\x80\x60"):
        publisher.send_raw(bad)
    assert viewer.datagrams() == []
    assert world.forwarder.counters.dropped_srtp == 5
    assert publisher.link.last_media_ns == world.now_ns - MS  # forgeries are no sign of life
    publisher.send_raw(genuine)
    assert world.forwarder.last_media_ns(publisher.link) == world.now_ns
    publisher.send_raw(genuine)  # replayed
    assert viewer.payloads() == [DELTA]
    assert world.forwarder.counters.dropped_srtp == 6


def test_streams_beyond_the_limit_are_not_decrypted(world: World) -> None:
    publisher, viewer = live(world)
    for n in range(SSRCS_MAX + 5):
        publisher.video(DELTA, n, 0, ssrc=0x1000 + n)
        publisher.video(DELTA, n, 0, ssrc=0x2000 + n, payload_type=77)
    assert len(next(iter(world.forwarder._publishers.values()))[1].streams) == SSRCS_MAX
    publisher.video(DELTA, 101)
    assert viewer.payloads() == [DELTA]


def test_a_flood_is_clipped_before_it_is_decrypted(world: World) -> None:
    publisher, viewer = live(world)
    for n in range(PACKETS_BURST_MAX + 100):
        publisher.audio(b"a", n)
        if n % 100 == 0:
            viewer.datagrams()
    assert world.forwarder.counters.dropped_flood >= 100
    world.now_ns += SECOND_NS
    viewer.datagrams()
    publisher.video(DELTA, 101)
    assert len(viewer.datagrams()) == 1


# --- events ------------------------------------------------------------------------------------


def test_tells_when_a_source_comes_stalls_and_comes_back(world: World) -> None:
    publisher = world.publisher()
    publisher.audio(b"a", 1)
    publisher.video(KEY, 1)
    start_ns = world.now_ns
    world.pass_ms(1_980)
    publisher.audio(b"a", 2)
    world.pass_ms(1_000)
    audio_ns = start_ns + 1_980 * MS
    world.pass_ms(2_000)
    publisher.video(KEY, 2)
    told = [event for event in world.events if not isinstance(event, QualityChanged)]
    assert told == [
        SourceUp("s", AUDIO),
        SourceKinds("s", BOTH),
        SourceKinds("s", AUDIO),
        SourceStale("s", audio_ns),
        SourceFresh("s"),
        SourceKinds("s", VIDEO),
    ]
    state = world.forwarder.source_state("s")
    assert state is not None
    assert (state.kinds, state.codecs, state.fresh) == (VIDEO, ("VP8",), True)
    assert world.forwarder.source_state("t") is None
