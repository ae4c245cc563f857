"""Simulcast through the forwarder: layers told apart, changed at keyframes, one stream for each
viewer, and all that must hold of privacy in every layer."""

import itertools
import random
import re

import pytest

from media import rtcp
from media.api import Direction, Kind, QualityChanged, QualityLevel
from media.gate import Gate
from media.keyframes import vp8_picture
from media.outlet import Row, RowState
from media.publisher import SSRCS_MAX
from tests.media.farends import SECOND_NS, FarViewer, Got, World
from tests.media.layered import FRAME_MS, RID_ID, SIZES, LayeredPublisher

VIDEO = frozenset({Kind.VIDEO})
SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]


def row_of(world: World, viewer_id: str = "v") -> Row:
    return world.forwarder._viewers[viewer_id].rows[Kind.VIDEO]


def layer_of(world: World, viewer_id: str = "v") -> str:
    """The rid of the layer that a viewer gets."""
    picture = row_of(world, viewer_id).track.picture
    return next((rid for rid, size in SIZES.items() if size == picture), "?")


def rid_of(got: Got) -> str:
    return mark_of(got.payload)[0]


def mark_of(payload: bytes) -> tuple[str, int]:
    """The layer's name and the encoder's own picture number, as the payload says."""
    rid, number = re.findall(rb"([qhf])(\d+) ", payload)[-1]
    return rid.decode(), int(number)


def videos(viewer: FarViewer) -> list[Got]:
    return viewer.packets(viewer.video_ssrc)


def live(world: World) -> tuple[LayeredPublisher, FarViewer]:
    """All layers measured, and a viewer who gets the best of them."""
    publisher = LayeredPublisher(world)
    publisher.run_ms(2_000)
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    publisher.run_ms(4_000)
    assert layer_of(world) == "f"
    return publisher, viewer


def assert_one_stream(packets: list[Got]) -> None:
    """What a decoder asks for: no holes, time that goes on, ids that grow picture by picture."""
    sequences = [got.sequence for got in packets]
    assert sequences == [(sequences[0] + n) & 0xFFFF for n in range(len(sequences))]
    pictures: list[Got] = []
    for got in packets:
        if not pictures or got.header.timestamp != pictures[-1].header.timestamp:
            pictures.append(got)
    for one, two in itertools.pairwise(pictures):
        assert 0 < (two.header.timestamp - one.header.timestamp & 0xFFFFFFFF) < 6 * 90_000
        before, after = vp8_picture(one.payload), vp8_picture(two.payload)
        assert before is not None
        assert after is not None
        assert 0 < (after.picture_id - before.picture_id & 0x7FFF) < 200
        assert 0 < (after.tl0_index - before.tl0_index & 0xFF) < 100
        if rid_of(one) != rid_of(two):
            start = two.payload[5]
            assert start & 1 == 0, "another layer begins with a keyframe"


# --- layers told apart -------------------------------------------------------------------------


def test_layers_are_told_apart_by_their_names_and_measured(world: World) -> None:
    publisher = LayeredPublisher(world)
    publisher.run_ms(2_000)
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    assert [(layer.width, layer.flowing) for layer in layers.ladder] == [
        (320, True),
        (640, True),
        (1280, True),
    ]
    rates = [layer.bitrate_bps for layer in layers.ladder]
    assert [
        abs(rate / real - 1) < 0.15 for rate, real in zip(rates, (1e5, 4e5, 1.32e6), strict=True)
    ]
    assert layers.bitrate_bps == sum(rates)


def test_a_layer_that_comes_back_counts_once_its_bitrate_is_known(world: World) -> None:
    """Else it looks cheap for a second, and viewers go up to what their path cannot carry."""
    publisher = LayeredPublisher(world)
    publisher.run_ms(2_000)
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    publisher.on.discard("f")
    publisher.run_ms(3_000)
    assert [layer.flowing for layer in layers.ladder] == [True, True, False]
    publisher.on.add("f")
    publisher.run_ms(1_800)
    assert not layers.ladder[-1].flowing
    publisher.run_ms(400)
    assert layers.ladder[-1].flowing
    assert layers.ladder[-1].bitrate_bps > 1_000_000


def test_names_are_needed_on_the_first_packets_only(world: World) -> None:
    publisher = LayeredPublisher(world)
    publisher.run_ms(200)
    track = world.forwarder._sources["s"].layers[Kind.VIDEO].by_rid["q"]
    before = track.octets
    encoder = publisher.layers["q"]
    publisher.end.video(b"\x90\x00\x01more", encoder.sequence + 1, 9_000, ssrc=encoder.ssrc)
    assert track.octets > before


@pytest.mark.parametrize("rid", [b"x", b"", b"q" * 16, b"\xff\x00", None])
def test_a_stream_without_a_known_name_is_nobodys(world: World, rid: bytes | None) -> None:
    publisher = LayeredPublisher(world)
    extensions = [(RID_ID, rid)] if rid else []
    publisher.end.video(b"\x10\x00", 1, ssrc=0x999, extensions=extensions)
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    assert all(track.newest is None for track in layers.tracks)
    assert len(layers.tracks) == 3


def test_a_late_name_is_still_a_name(world: World) -> None:
    publisher = LayeredPublisher(world)
    publisher.end.video(b"\x10\x00", 1, ssrc=0x999)
    publisher.end.video(b"\x10\x00", 2, ssrc=0x999, extensions=[(RID_ID, b"h")])
    assert world.forwarder._sources["s"].layers[Kind.VIDEO].by_rid["h"].newest is not None


def test_a_flood_of_names_and_streams_ends_at_the_limit(world: World) -> None:
    publisher = LayeredPublisher(world)
    for number in range(200):
        rid = b"%d" % number if number % 2 else b"q"
        publisher.end.video(b"\x10\x00", 1, ssrc=number, extensions=[(RID_ID, rid)])
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    assert len(layers.tracks) == 3
    assert len(world.forwarder._publishers[publisher.end.link][1].streams) == SSRCS_MAX


def test_a_stream_keeps_its_first_name_and_a_second_stream_does_not_mix_in(world: World) -> None:
    publisher, viewer = live(world)
    encoder = publisher.layers["f"]
    viewer.packets()
    publisher.end.video(
        b"\x10\x00renamed",
        encoder.sequence + 1,
        publisher.stamp("f"),
        ssrc=encoder.ssrc,
        extensions=[(RID_ID, b"q")],
    )
    encoder.sequence += 1
    assert [got.payload for got in videos(viewer)] == [b"\x10\x00renamed"]
    publisher.end.video(b"\x10\x00second", 7, 1, ssrc=0x777, extensions=[(RID_ID, b"f")])
    assert not videos(viewer)


def test_a_repair_stream_repairs_its_own_layer(world: World) -> None:
    publisher, viewer = live(world)
    encoder = publisher.layers["f"]
    publisher.picture("f", drop=True)
    world.pass_ms(20)
    lost, payload = encoder.sent[-6]
    nacks = [asked for asked in publisher.end.asked() if isinstance(asked, rtcp.Nack)]
    assert (encoder.ssrc, (lost,)) in [(nack.media_ssrc, nack.sequences) for nack in nacks]
    viewer.packets()
    publisher.end.send_raw(
        publisher.end.protect(
            lost.to_bytes(2, "big") + payload,
            1,
            publisher.stamp("f"),
            ssrc=0x999,
            payload_type=97,
            extensions=[(RID_ID + 1, b"f")],
        )
    )
    assert [got.payload[6:] for got in videos(viewer)] == [payload[6:]]


def test_a_publisher_with_one_encoding_takes_over_from_one_with_layers(world: World) -> None:
    _, viewer = live(world)
    viewer.packets()
    world.pass_ms(100)
    other = world.publisher()
    other.video(b"\x10\x00plain", 7, 90)
    assert [got.payload for got in videos(viewer)] == [b"\x10\x00plain"]
    assert row_of(world).track is world.forwarder._sources["s"].layers[Kind.VIDEO].tracks[0]


# --- changing layers ---------------------------------------------------------------------------


def test_a_small_player_gets_a_small_layer_and_a_grown_one_the_large_one(world: World) -> None:
    publisher, viewer = live(world)
    seen = videos(viewer)
    world.forwarder.set_viewport("v", 200, 112)
    assert layer_of(world) == "f"  # until the small one has a keyframe
    publisher.run_ms(800)
    assert layer_of(world) == "q"
    seen += videos(viewer)
    world.forwarder.set_viewport("v", 1280, 720)
    publisher.run_ms(800)
    assert layer_of(world) == "q"  # a keyframe was asked for a moment ago: everybody pays for it
    publisher.run_ms(1_000)
    assert layer_of(world) == "f"  # proven before: no probing
    seen += videos(viewer)
    assert_one_stream(seen)
    rids = "".join(dict.fromkeys(map(rid_of, seen)))
    assert rids == "fq"


def test_time_goes_on_exactly_by_the_publishers_clock(world: World) -> None:
    """A change may come at any delay of the network: what counts is when a picture was taken."""
    publisher, viewer = live(world)
    world.forwarder.set_viewport("v", 200, 112)
    viewer.packets()
    publisher.picture("f")
    world.pass_ms(60)
    publisher.picture("q", keyframe=True, ago_ms=25)
    [*_, last, first] = videos(viewer)
    assert (rid_of(last), rid_of(first)) == ("f", "q")
    step = first.header.timestamp - last.header.timestamp & 0xFFFFFFFF
    assert abs(step - 90 * 35) <= 1


def test_two_layers_of_one_moment_are_two_pictures(world: World) -> None:
    publisher, viewer = live(world)
    world.forwarder.set_viewport("v", 200, 112)
    viewer.packets()
    publisher.picture("f")
    publisher.picture("q", keyframe=True)
    [*_, last, first] = videos(viewer)
    assert (rid_of(last), rid_of(first)) == ("f", "q")
    assert first.header.timestamp - last.header.timestamp & 0xFFFFFFFF == 1


def test_a_packet_repaired_after_the_change_is_not_taken_for_one_of_before_it(
    world: World,
) -> None:
    """Layers count by themselves: the same index means another packet in each."""
    publisher = LayeredPublisher(world)
    publisher.on = {"q"}
    viewer = world.viewer()
    world.forwarder.forward("s", "v")
    publisher.run_ms(4_000)
    publisher.picture("f", keyframe=True)
    publisher.picture("f", drop=True)
    lost, payload = publisher.layers["f"].sent[-6]
    publisher.on = {"q", "f"}
    publisher.run_ms(400)
    row_of(world).want(world.forwarder._sources["s"].layers[Kind.VIDEO].by_rid["f"], world.now_ns)
    publisher.run_ms(1_000)
    assert layer_of(world) == "f"
    viewer.packets()
    publisher.end.video(payload, lost, publisher.stamp("f"), ssrc=publisher.layers["f"].ssrc)
    assert not videos(viewer)
    assert world.sender.protect_failures == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_random_changes_are_one_stream_for_the_viewer(world: World, seed: int) -> None:
    chance = random.Random(seed)
    publisher, viewer = live(world)
    seen = videos(viewer)
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    for _ in range(25):
        target = chance.choice(layers.tracks)
        row_of(world).want(target, world.now_ns)
        if chance.random() < 0.2:
            row_of(world).pause()
        publisher.run_ms(chance.randrange(1, 12) * FRAME_MS)
        if row_of(world).state is RowState.PAUSED:
            row_of(world).resume(chance.choice(layers.tracks), world.now_ns)
        seen += videos(viewer)
    publisher.run_ms(1_000)
    seen += videos(viewer)
    assert_one_stream(seen)
    assert len({rid_of(got) for got in seen}) > 1


def test_a_nack_after_the_change_finds_what_was_sent_before_it(world: World) -> None:
    publisher, viewer = live(world)
    world.forwarder.set_viewport("v", 200, 112)
    publisher.run_ms(600)
    seen = videos(viewer)
    last_large = [got for got in seen if rid_of(got) == "f"][-1]
    viewer.nack(last_large.sequence)
    repaired = viewer.packets(viewer.rtx_ssrc)
    assert [got.payload for got in repaired] == [
        last_large.sequence.to_bytes(2, "big") + last_large.payload
    ]


def test_a_layer_that_vanishes_freezes_nobody_and_is_used_again(world: World) -> None:
    publisher, viewer = live(world)
    seen = videos(viewer)
    publisher.on.discard("f")
    publisher.run_ms(1_000)
    assert layer_of(world) == "h"
    publisher.on.add("f")
    publisher.layers["f"].wants_keyframe = True
    publisher.run_ms(8_000)
    assert layer_of(world) == "f"
    seen += videos(viewer)
    assert_one_stream(seen)
    stamps = [got.header.timestamp for got in seen]
    gaps = [b - a & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)]
    assert max(gaps) <= 90 * 450


def test_a_keyframe_whose_start_is_lost_is_asked_for_again(world: World) -> None:
    publisher, viewer = live(world)
    world.forwarder.set_viewport("v", 200, 112)
    publisher.end.asked()
    publisher.picture("q", keyframe=True, drop=True)
    assert layer_of(world) == "f"
    world.pass_ms(600)
    wanted = [a for a in publisher.end.asked() if isinstance(a, rtcp.KeyframeRequest)]
    assert publisher.layers["q"].ssrc in {asked.media_ssrc for asked in wanted}
    publisher.layers["q"].wants_keyframe = True
    publisher.run_ms(200)
    assert layer_of(world) == "q"
    assert_one_stream(videos(viewer))


def test_a_keyframe_whose_start_comes_late_is_no_place_to_go_over(world: World) -> None:
    """Its ids were given by then, and may be lower than what the viewer saw."""
    publisher, _ = live(world)
    world.forwarder.set_viewport("v", 200, 112)
    publisher.picture("q")  # so that the next one's loss is seen
    publisher.picture("q", keyframe=True, drop=True)
    publisher.picture("q")
    lost, payload = publisher.layers["q"].sent[-2]
    publisher.end.asked()
    publisher.end.video(payload, lost, publisher.stamp("q"), ssrc=publisher.layers["q"].ssrc)
    assert layer_of(world) == "f"
    world.pass_ms(600)
    wanted = [a for a in publisher.end.asked() if isinstance(a, rtcp.KeyframeRequest)]
    assert publisher.layers["q"].ssrc in {asked.media_ssrc for asked in wanted}


def test_keyframes_are_asked_for_at_most_twice_a_second_of_all_layers(world: World) -> None:
    """Browsers answer one request with a keyframe of every layer, and all viewers pay for it."""
    publisher, _ = live(world)
    world.viewer("w")
    world.forwarder.forward("s", "w")
    publisher.run_ms(600)
    publisher.end.asked()
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    for _ in range(50):
        for name, track in zip("vw", layers.tracks, strict=False):
            row_of(world, name).want(track, world.now_ns)
        world.pass_ms(20)
    wanted = [a for a in publisher.end.asked() if isinstance(a, rtcp.KeyframeRequest)]
    assert len(wanted) <= 3
    assert len({asked.media_ssrc for asked in wanted}) > 1, "each in its turn"


# --- privacy -----------------------------------------------------------------------------------


def gated(world: World) -> tuple[LayeredPublisher, FarViewer, Gate]:
    publisher = LayeredPublisher(world)
    publisher.run_ms(2_000)
    viewer = world.viewer()
    gate = world.forwarder.forward_gated("s", "v", VIDEO)
    gate.open_until(world.now_ns + 3 * SECOND_NS)
    publisher.run_ms(1_000)
    assert videos(viewer)
    return publisher, viewer, gate


def test_a_closed_gate_holds_through_a_change_of_layer(world: World) -> None:
    publisher, viewer, gate = gated(world)
    gate.open_until(0)
    world.forwarder.set_viewport("v", 200, 112)
    publisher.run_ms(1_000)
    assert not viewer.packets()
    shut_until = {rid: encoder.sent[-1][1] for rid, encoder in publisher.layers.items()}
    gate.open_until(world.now_ns + 60 * SECOND_NS)
    publisher.run_ms(1_000)
    seen = videos(viewer)
    assert {rid_of(got) for got in seen} == {"q"}
    shown = [mark_of(got.payload)[1] for got in seen]
    assert min(shown) > mark_of(shut_until["q"])[1], "what came while it was shut was not paid for"


def test_a_wanted_layer_whose_keyframe_comes_while_the_gate_is_shut_sends_nothing(
    world: World,
) -> None:
    publisher, viewer, gate = gated(world)
    row_of(world).want(row_of(world).layers.tracks[0], world.now_ns)
    gate.open_until(0)
    publisher.picture("q", keyframe=True)
    publisher.run_ms(200)
    assert not viewer.packets()


@pytest.mark.parametrize("when", ["settled", "wanting", "paused"])
def test_a_seal_forgets_every_layer(world: World, when: str) -> None:
    publisher, viewer = live(world)
    layers = world.forwarder._sources["s"].layers[Kind.VIDEO]
    if when == "wanting":
        row_of(world).want(layers.tracks[0], world.now_ns)
    if when == "paused":
        row_of(world).pause()
    sequences = [got.sequence for got in videos(viewer)]
    world.forwarder.seal("s")
    for track in layers.tracks:
        assert not track.rows
        assert not track.arrivals
        assert track.ring.keyframe(world.now_ns) is None
    viewer.nack(*sequences[-50:])
    publisher.run_ms(600)
    assert not viewer.packets()
    stranger = world.viewer("w")
    world.forwarder.forward("s", "w")
    assert not videos(stranger), "a cached picture of before the seal"


@pytest.mark.parametrize("when", ["settled", "wanting", "paused"])
def test_a_row_that_was_removed_gets_nothing_of_any_layer(world: World, when: str) -> None:
    publisher, viewer = live(world)
    if when == "wanting":
        row_of(world).want(row_of(world).layers.tracks[0], world.now_ns)
    if when == "paused":
        row_of(world).pause()
    viewer.packets()
    world.forwarder.stop("s", "v")
    publisher.run_ms(3_000)
    world.forwarder.set_viewport("v", 100, 100)
    publisher.run_ms(1_000)
    assert not viewer.packets()


def test_a_repaired_packet_of_the_old_layer_is_not_sent_under_the_new_ones_numbers(
    world: World,
) -> None:
    publisher, viewer = live(world)
    publisher.picture("f", drop=True)
    lost, payload = publisher.layers["f"].sent[-6]
    world.forwarder.set_viewport("v", 200, 112)
    publisher.run_ms(200)
    viewer.packets()
    publisher.end.video(payload, lost, publisher.stamp("f"), ssrc=publisher.layers["f"].ssrc)
    assert not videos(viewer)


# --- a slow viewer -----------------------------------------------------------------------------


def slow(viewer: FarViewer, estimate_bps: int, fraction_lost: int = 0) -> None:
    block = rtcp.ReportBlock(viewer.video_ssrc, fraction_lost, 0, 0, 0, 0, 0)
    viewer.rtcp(rtcp.build_rr(1, [block]) + rtcp.build_remb(1, estimate_bps, [viewer.video_ssrc]))


def test_a_narrow_path_gets_a_layer_that_fits_and_nobody_else_notices(world: World) -> None:
    publisher, viewer = live(world)
    other = world.viewer("w")
    world.forwarder.forward("s", "w")
    publisher.run_ms(1_000)
    slow(viewer, 3_000_000)
    publisher.run_ms(1_000)
    other.packets()
    slow(viewer, 255_000)
    publisher.run_ms(1_000)
    assert (layer_of(world), layer_of(world, "w")) == ("q", "f")
    assert len(other.packets(other.video_ssrc)) == 6 * 25


def test_what_was_known_of_the_old_way_does_not_hold_on_the_new_one(world: World) -> None:
    publisher, viewer = live(world)
    publisher.run_ms(1_000)
    slow(viewer, 255_000)
    publisher.run_ms(1_000)
    assert layer_of(world) == "q"
    world.forwarder.viewer_moved(viewer.link)
    slow(viewer, 3_000_000)
    publisher.run_ms(3_000)
    assert layer_of(world) == "f"
    slow(viewer, 3_000_000, fraction_lost=230)  # the gap, as the first report tells it
    world.forwarder.viewer_moved(viewer.link)
    publisher.run_ms(2_000)
    assert layer_of(world) == "f"


def test_a_path_that_was_too_narrow_gets_no_repairs_of_what_was_too_much(world: World) -> None:
    publisher, viewer = live(world)
    slow(viewer, 3_000_000)
    publisher.run_ms(200)
    lost = [got.sequence for got in videos(viewer)][-40:]
    slow(viewer, 255_000)
    publisher.run_ms(FRAME_MS)
    viewer.nack(*lost)
    publisher.run_ms(1_000)
    viewer.nack(*lost)
    assert layer_of(world) == "q"
    seen = viewer.packets()
    assert not [got for got in seen if got.header.ssrc == viewer.rtx_ssrc]
    own = [got for got in seen if got.header.ssrc == viewer.video_ssrc][-1]
    viewer.nack(own.sequence)
    assert len(viewer.packets(viewer.rtx_ssrc)) == 1


def test_without_layers_the_picture_pauses_and_the_sound_goes_on(world: World) -> None:
    publisher = LayeredPublisher(world, rids=())
    publisher.layers = {}
    single = publisher.end
    viewer, other = world.viewer(), world.viewer("w")
    for name in "vw":
        world.forwarder.forward("s", name)
    sequence, keyframes = 100, 0

    def run_ms(time_ms: int, estimate_bps: int | None) -> None:
        nonlocal sequence, keyframes
        for step in range(time_ms // FRAME_MS):
            asked = any(isinstance(a, rtcp.KeyframeRequest) for a in single.asked())
            keyframes += asked
            for number in range(6):
                sequence += 1
                start = b"\x10\x00" if (asked or sequence == 101) and not number else b"\x10\x01"
                single.video(start + bytes(1_100), sequence, step, marker=number == 5)
            publisher.run_ms(FRAME_MS)
            if estimate_bps is not None and step % 25 == 24:
                slow(viewer, estimate_bps)

    run_ms(2_000, 3_000_000)
    assert row_of(world).live
    viewer.packets()
    other.packets()
    run_ms(3_000, 255_000)
    assert row_of(world).state is RowState.PAUSED
    viewer.packets()
    run_ms(3_000, 255_000)
    seen, _ = viewer.drain()
    assert not [got for got in seen if got.header.ssrc == viewer.video_ssrc]
    assert len([got for got in seen if got.header.ssrc == viewer.audio_ssrc]) == 150
    assert QualityChanged("v", Direction.WATCH, QualityLevel.POOR, "video_paused") in world.events
    assert len(other.packets(other.video_ssrc)) == 6 * 25 * 6
    before = keyframes
    run_ms(4_000, 3_000_000)
    assert row_of(world).live
    assert keyframes == before + 1  # it begins with a picture of its own, not with an old one
    assert row_of(world, "w").live


# --- probing -----------------------------------------------------------------------------------


def probed(world: World, publisher: LayeredPublisher, viewer: FarViewer) -> list[Got]:
    """What a viewer in the smallest layer with a large player is sent to try its path."""
    slow(viewer, 170_000)
    publisher.run_ms(1_500)
    slow(viewer, 170_000)
    viewer.packets()
    found: list[Got] = []
    for _ in range(12):
        publisher.run_ms(500)
        found += viewer.packets(viewer.rtx_ssrc)
    return found


def test_a_path_is_probed_with_padding_that_says_nothing(world: World) -> None:
    publisher, viewer = live(world)
    found = probed(world, publisher, viewer)
    assert found
    assert all(not got.payload for got in found)
    assert len({got.sequence for got in found}) == len(found)
    octets = 240 * len(found)
    assert 5_000 < octets < 100_000


def test_a_closed_gate_lets_no_padding_through(world: World) -> None:
    publisher, viewer, gate = gated(world)
    gate.open_until(world.now_ns + 60 * SECOND_NS)
    slow(viewer, 170_000)
    publisher.run_ms(1_500)
    row_of(world).pad(5_000, world.now_ns)
    assert viewer.packets(viewer.rtx_ssrc)
    last_ns = gate.last_forwarded_ns
    row_of(world).pad(5_000, world.now_ns)
    assert gate.last_forwarded_ns == last_ns, "padding is not held media"
    viewer.packets()
    gate.open_until(0)
    row_of(world).pad(5_000, world.now_ns)
    assert not viewer.packets()
    world.forwarder.stop("s", "v")


def test_a_viewer_without_a_repair_stream_is_not_probed(world: World) -> None:
    publisher = LayeredPublisher(world)
    publisher.run_ms(1_000)
    viewer = world.viewer(rtx=False)
    world.forwarder.forward("s", "v")
    publisher.run_ms(3_000)
    viewer.packets()
    row_of(world).pad(5_000, world.now_ns)
    assert not viewer.packets()


def test_a_still_is_of_the_best_layer_that_has_one(world: World) -> None:
    publisher = LayeredPublisher(world)
    publisher.run_ms(1_000)

    def shown() -> str:
        still = world.forwarder.still("s")
        return "" if still is None else mark_of(still.data)[0]

    assert shown() == "f"
    publisher.run_ms(5_000)
    assert shown() == ""  # too old to be live, and a new one is asked for
    publisher.end.asked()
    publisher.picture("q", keyframe=True)
    assert shown() == "q"
    publisher.picture("f", keyframe=True)
    assert shown() == "f"
    world.forwarder.seal("s")
    assert shown() == ""
