"""The media plane as rooms use it: offers, events, time-outs, and packets through a live call."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from aiortc.mediastreams import AudioStreamTrack

from media.aiortc_seam import CERTIFICATE_VALID, DtlsState, new_certificate
from media.api import (
    BOTH_KINDS,
    Answer,
    BusyReason,
    Direction,
    IceParameters,
    Kind,
    MediaConfig,
    RefusalCode,
    SdpRefused,
    SourceFresh,
    SourceGone,
    SourceStale,
    SourceUp,
    ViewerGone,
    ViewerUp,
)
from media.overload import WINDOW_NS
from media.own_certificate import CERTIFICATE_LEFT_MIN
from media.peer import EARLY_PACKETS_MAX
from media.server import MediaPlane
from tests.media.callers import (
    CLIENT_PASSWORD,
    Caller,
    Picture,
    Stage,
    aiortc_accept,
    aiortc_connection,
    aiortc_offer,
    flowing,
    loopback_ice,
    offer,
    publisher,
    rtp,
    staged,
    viewer,
)
from tests.media.farends import SECOND_NS
from tests.turns import turn

AGAIN = IceParameters("again", CLIENT_PASSWORD)

# --- a call -------------------------------------------------------------------------------------


async def test_a_packet_goes_from_a_publisher_to_a_viewer_with_the_viewers_ssrc(
    stage: Stage,
) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    await stage.wait_for(ViewerUp, viewer_id="viewer")
    stage.plane.forward("source", "viewer")
    sender.send(rtp(1))
    await receiver.until(receiver.media)
    packet = receiver.media()[0]
    assert packet[8:12] != rtp(1)[8:12]
    assert f"a=ssrc:{int.from_bytes(packet[8:12])} " in receiver.answer.sdp
    assert packet.endswith(rtp(1)[-208:])
    up = await stage.wait_for(SourceUp, source_id="source")
    assert up.kinds == {Kind.VIDEO}
    state = stage.plane.source_state("source")
    assert state is not None
    assert state.fresh
    assert stage.plane.has_viewer("viewer")


async def test_without_a_row_nothing_is_sent_and_stop_is_at_once(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    witness = await viewer(stage, "witness")
    stage.plane.forward("source", "witness")
    await flowing(sender, witness, 1)
    assert receiver.media() == []
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 2)
    count = len(receiver.media())
    stage.plane.stop("source", "viewer")
    await flowing(sender, witness, 3)
    assert len(receiver.media()) == count


async def test_a_row_made_before_either_is_there_works_when_both_are(stage: Stage) -> None:
    answer = await stage.plane.watch("viewer", offer("recvonly"))
    stage.plane.forward("source", "viewer")
    receiver = await Caller(answer).connect()
    sender = await publisher(stage)
    await flowing(sender, receiver, 1)


async def test_a_gated_row_is_closed_until_it_is_opened(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    witness = await viewer(stage, "witness")
    stage.plane.forward("source", "witness")
    gate = stage.plane.forward_gated("source", "viewer", BOTH_KINDS)
    await flowing(sender, witness, 1)
    assert receiver.media() == []
    gate.open_until(stage.clock_ns() + 10**12)
    await flowing(sender, receiver, 2)
    assert gate.last_forwarded_ns is not None


async def test_both_sides_may_move_to_another_address(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    await receiver.move()
    await flowing(sender, receiver, 2)
    await sender.move()
    await flowing(sender, receiver, 3)


async def test_an_ice_restart_keeps_keys_and_stream_and_moves_to_the_new_address(
    stage: Stage,
) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    before = stage.plane.ice_session(Direction.WATCH, "viewer")
    ours = stage.plane.restart_ice(Direction.WATCH, "viewer", AGAIN)
    assert before is not None
    assert ours is not None
    assert ours == stage.plane.ice_session(Direction.WATCH, "viewer")
    assert before.etag == receiver.answer.etag
    assert ours.etag not in (before.etag, "")
    assert ours.password not in receiver.answer.sdp
    assert f"a=candidate:{ours.candidates[0]}\r\n" in receiver.answer.sdp
    await flowing(sender, receiver, 2)  # the way in use holds until the new one is proven
    receiver.use(ours)
    await receiver.move()
    await flowing(sender, receiver, 3)
    ours = stage.plane.restart_ice(Direction.PUBLISH, "source", AGAIN, sender.answer.peer_id)
    assert ours is not None
    sender.use(ours)
    await sender.move()
    await flowing(sender, receiver, 4)
    assert not [e for e in stage.events if isinstance(e, (SourceGone, ViewerGone))]


async def test_only_a_peer_that_is_there_can_be_restarted(stage: Stage) -> None:
    sender = await publisher(stage)
    plane = stage.plane
    assert plane.restart_ice(Direction.WATCH, "source", AGAIN) is None
    assert plane.restart_ice(Direction.PUBLISH, "source", AGAIN, "another-peer") is None
    assert plane.ice_session(Direction.PUBLISH, "other") is None
    plane.close_publisher("source", "offline", sender.answer.peer_id)
    assert plane.restart_ice(Direction.PUBLISH, "source", AGAIN) is None


async def test_asking_for_restarts_is_no_consent(stage: Stage) -> None:
    await viewer(stage)
    for _ in range(6):
        stage.skip(6)
        stage.plane.restart_ice(Direction.WATCH, "viewer", AGAIN)
    assert (await stage.wait_for(ViewerGone)).reason == "consent_lost"
    assert len(stage.plane._ice) == 0


async def test_a_call_over_ipv6_and_one_end_on_each_protocol() -> None:
    async with staged(MediaConfig("::", 0, advertised=("::1",))) as stage:
        sender, receiver = await publisher(stage), await viewer(stage)
        stage.plane.forward("source", "viewer")
        await flowing(sender, receiver, 1)
        await receiver.move()
        await flowing(sender, receiver, 2)
        answer = await stage.plane.watch("old", offer("recvonly"))
        fourth = Answer(answer.sdp.replace("::1 ", "127.0.0.1 "), answer.peer_id, answer.etag)
        old = await Caller(fourth).connect()
        stage.plane.forward("source", "old")
        await flowing(sender, old, 3)


async def test_an_encoder_that_wants_to_be_the_dtls_server_is_served(stage: Stage) -> None:
    answer = await stage.plane.publish(
        "source", offer("sendonly", setup="passive"), allowed=BOTH_KINDS
    )
    assert "a=setup:active" in answer.sdp
    sender, receiver = await Caller(answer).connect(), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)


async def test_what_a_dtls_server_sends_before_our_keys_are_made_is_kept_within_bounds(
    stage: Stage,
) -> None:
    answer = await stage.plane.publish(
        "source", offer("sendonly", setup="passive"), allowed=BOTH_KINDS
    )
    caller = Caller(answer)
    await caller.ice()
    for _ in range(3 * EARLY_PACKETS_MAX):
        caller.send_raw(b"\x80\x60" + bytes(100))
    await caller.ice()
    peer = stage.plane._publishers["source"]
    assert len(peer._early) == EARLY_PACKETS_MAX
    stage.skip(16)
    assert peer._early == []


async def test_aiortc_publishes_and_another_aiortc_decodes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback_ice(monkeypatch)
    sender, receiver = aiortc_connection(), aiortc_connection()
    try:
        sender.addTrack(AudioStreamTrack())
        sender.addTrack(Picture())
        text = await aiortc_offer(sender)
        answer = await stage.plane.publish(
            "source", text.replace("sendrecv", "sendonly"), allowed=BOTH_KINDS
        )
        await aiortc_accept(sender, answer)
        receivers = [
            receiver.addTransceiver(kind, direction="recvonly").receiver
            for kind in ("audio", "video")
        ]
        watching = await stage.plane.watch("viewer", await aiortc_offer(receiver))
        stage.plane.forward("source", "viewer")
        await aiortc_accept(receiver, watching)
        tracks = [item.track for item in receivers]
        async with asyncio.timeout(15):
            for _ in range(3):
                sound, picture = await asyncio.gather(*(track.recv() for track in tracks))
        assert sound.samples == 960
        assert (picture.width, picture.height) == (160, 120)
    finally:
        await sender.close()
        await receiver.close()


# --- offers that are refused --------------------------------------------------------------------


async def test_a_second_publisher_is_refused_while_the_first_connects_or_sends(
    stage: Stage,
) -> None:
    await stage.plane.publish("source", offer("sendonly"), allowed=BOTH_KINDS)
    with pytest.raises(SdpRefused) as caught:
        await stage.plane.publish("source", offer("sendonly"), allowed=BOTH_KINDS)
    assert caught.value.code is RefusalCode.ALREADY_PUBLISHING
    stage.skip(16)
    gone = await stage.wait_for(SourceGone)
    assert gone.reason == "connect_timeout"
    sender = await publisher(stage)
    sender.send(rtp(1))
    await stage.wait_for(SourceUp)
    with pytest.raises(SdpRefused):
        await stage.plane.publish("source", offer("sendonly"), allowed=BOTH_KINDS)


async def test_a_publisher_that_has_not_sent_yet_is_not_pushed_aside(stage: Stage) -> None:
    await publisher(stage)
    with pytest.raises(SdpRefused):
        await stage.plane.publish("source", offer("sendonly"), allowed=BOTH_KINDS)
    stage.skip(16)
    await stage.plane.publish("source", offer("sendonly"), allowed=BOTH_KINDS)


async def test_an_encoder_that_fell_silent_may_be_replaced_by_its_successor(
    stage: Stage,
) -> None:
    first, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(first, receiver, 1)
    stage.skip(2.5)
    await stage.wait_for(SourceStale, source_id="source")
    second = await publisher(stage)
    gone = await stage.wait_for(SourceGone)
    assert (gone.reason, gone.peer_id) == ("replaced", first.answer.peer_id)
    await flowing(second, receiver, 7_000)


async def test_a_publisher_may_be_replaced_on_request_and_the_viewer_sees_one_stream(
    stage: Stage,
) -> None:
    first, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(first, receiver, 100)
    answer = await stage.plane.publish(
        "source", offer("sendonly"), allowed=BOTH_KINDS, replace=True
    )
    second = await Caller(answer).connect()
    await flowing(second, receiver, 40_000)
    before, after = receiver.media()[0], receiver.media()[-1]
    assert before[8:12] == after[8:12]
    assert int.from_bytes(after[2:4]) == int.from_bytes(before[2:4]) + 1


async def test_more_peers_than_configured_are_refused_as_overloaded() -> None:
    config = MediaConfig("127.0.0.1", 0, peers_max=1)
    async with staged(config) as stage:
        await stage.plane.watch("one", offer("recvonly"))
        with pytest.raises(SdpRefused) as caught:
            await stage.plane.watch("two", offer("recvonly"))
        assert caught.value.code is RefusalCode.OVERLOADED
        stage.plane.close_viewer("one", "left")
        await stage.plane.watch("two", offer("recvonly"))


async def test_a_plane_whose_core_is_used_up_is_busy_until_it_rested(stage: Stage) -> None:
    """Its own timer measures; the clock and the used time are the test's."""

    def second(cpu_share: float) -> BusyReason | None:
        stage.cpu_ns += int(cpu_share * WINDOW_NS)
        stage.skip(1)
        return stage.plane.busy

    second(0.1)  # whatever the start took
    assert [second(0.95) for _ in range(3)] == [None, None, BusyReason.CPU]
    metrics = stage.plane.metrics()
    assert metrics.load.busy is BusyReason.CPU
    assert metrics.load.worked_share == pytest.approx(0.95, abs=0.1)
    # Who may come in is for the rooms to say; an offer is answered.
    assert await stage.plane.watch("viewer", offer("recvonly"))
    assert [second(0.2) for _ in range(5)][-2:] == [BusyReason.CPU, None]


async def test_a_timer_that_comes_late_is_measured(stage: Stage) -> None:
    await turn()  # its timer runs
    stage.shift_ns += WINDOW_NS  # a second passes between two of its ticks
    async with asyncio.timeout(5):
        while stage.plane.metrics().load.lag_ns < 100_000_000:
            await turn()


async def test_a_viewers_id_is_used_once(stage: Stage) -> None:
    await stage.plane.watch("viewer", offer("recvonly"))
    with pytest.raises(ValueError, match="exists"):
        await stage.plane.watch("viewer", offer("recvonly"))


async def test_what_is_not_started_says_so() -> None:
    plane = MediaPlane(MediaConfig(), clock_ns=lambda: 0, on_event=lambda event: None)
    with pytest.raises(RuntimeError):
        plane.forward("source", "viewer")
    await plane.close()


async def test_the_advertised_addresses_are_in_the_answer() -> None:
    async with staged(MediaConfig("127.0.0.1", 0, advertised=("203.0.113.9", "10.0.0.4"))) as stage:
        answer = await stage.plane.watch("viewer", offer("recvonly"))
        assert f"203.0.113.9 {stage.plane.port} typ host" in answer.sdp
        assert answer.sdp.index("203.0.113.9") < answer.sdp.index("10.0.0.4")


async def test_an_advertised_name_instead_of_an_address_is_an_error() -> None:
    stage = Stage(MediaConfig("127.0.0.1", 0, advertised=("media.example",)))
    with pytest.raises(ValueError, match=r"media\.example"):
        await stage.plane.start()


async def test_listening_on_all_addresses_advertises_them_loopback_last() -> None:
    async with staged(MediaConfig("0.0.0.0", 0)) as stage:
        answer = await stage.plane.watch("viewer", offer("recvonly", audio=False))
        hosts = [line.split()[4] for line in answer.sdp.split("\r\n") if "typ host" in line]
        assert hosts[-1] == "127.0.0.1"
        assert len(hosts) <= 8


# --- endings ------------------------------------------------------------------------------------


async def test_a_goodbye_ends_the_peer_at_once(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    receiver.hang_up()
    sender.hang_up()
    assert (await stage.wait_for(ViewerGone)).reason == "closed_by_peer"
    gone = await stage.wait_for(SourceGone)
    assert (gone.source_id, gone.peer_id, gone.reason) == (
        "source",
        sender.answer.peer_id,
        "closed_by_peer",
    )
    assert not stage.plane.has_viewer("viewer")


async def test_closing_is_told_to_the_peer_and_happens_once(stage: Stage) -> None:
    receiver = await viewer(stage)
    stage.plane.close_viewer("viewer", "left")
    stage.plane.close_viewer("viewer", "left")
    await receiver.until(lambda: receiver.dtls.state is DtlsState.CLOSED)
    assert [e for e in stage.events if isinstance(e, ViewerGone)] == [ViewerGone("viewer", "left")]


async def test_only_the_named_connection_of_a_source_is_closed(stage: Stage) -> None:
    sender = await publisher(stage)
    stage.plane.close_publisher("source", "offline", peer_id="another")
    assert not [e for e in stage.events if isinstance(e, SourceGone)]
    stage.plane.close_publisher("source", "offline", peer_id=sender.answer.peer_id)
    assert (await stage.wait_for(SourceGone)).reason == "offline"


async def test_a_peer_that_never_comes_is_closed_after_fifteen_seconds(stage: Stage) -> None:
    await stage.plane.watch("viewer", offer("recvonly"))
    stage.skip(14)
    assert stage.plane.has_viewer("viewer")
    stage.skip(2)
    assert (await stage.wait_for(ViewerGone)).reason == "connect_timeout"


async def test_a_peer_that_stops_in_the_handshake_is_closed_too(stage: Stage) -> None:
    caller = Caller(await stage.plane.watch("viewer", offer("recvonly")))
    await caller.ice()
    stage.skip(16)
    assert (await stage.wait_for(ViewerGone)).reason == "connect_timeout"


@pytest.mark.slow
async def test_a_lost_flight_of_the_server_is_sent_again(stage: Stage) -> None:
    class Unlucky(Caller):
        lost = 0

        def receive(self, sock: socket.socket) -> bytes:
            data = super().receive(sock)
            if 19 < data[0] < 64 and not self.lost:
                self.lost += 1
                return super().receive(sock)
            return data

    caller = Unlucky(await stage.plane.watch("viewer", offer("recvonly")))
    await caller.connect()
    assert caller.lost == 1
    await stage.wait_for(ViewerUp)
    assert not stage.plane._shaking


@pytest.mark.parametrize(
    ("join", "plain"),
    [(publisher, rtp(1)), (viewer, b"\x80\xc9\x00\x01" + bytes(4))],
    ids=["publisher", "viewer"],
)
async def test_openssl_answers_until_the_peer_has_shown_that_it_is_done(
    stage: Stage, join: Callable[[Stage], Awaitable[Caller]], plain: bytes
) -> None:
    """Its last flight may be repeated until a packet under the new keys came; junk is none."""
    caller = await join(stage)
    (peer,) = stage.plane._peers()
    packet = caller.protected(plain)
    for datagram, answers in (
        (None, True),
        (packet[:-1] + bytes([packet[-1] ^ 1]), True),
        (packet, False),
    ):
        if datagram is not None:
            caller.send_raw(datagram)
        await caller.ice()  # answered after what was sent before it
        stage.skip(1)
        assert (peer._dtls._connection is not None) is answers


async def test_a_peer_that_vanished_is_closed_after_thirty_seconds(stage: Stage) -> None:
    receiver = await viewer(stage)
    stage.skip(20)
    await receiver.ice()
    stage.skip(20)
    assert stage.plane.has_viewer("viewer")
    stage.skip(11)
    assert (await stage.wait_for(ViewerGone)).reason == "consent_lost"


async def test_after_lost_consent_no_row_is_left_and_no_gate_counts(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    witness = await viewer(stage, "witness")
    gate = stage.plane.forward_gated("source", "viewer", BOTH_KINDS)
    stage.plane.forward("source", "witness")
    gate.open_until(stage.clock_ns() + 10**15)
    await flowing(sender, receiver, 1)
    receiver.vanished = True
    for _ in range(2):
        stage.skip(15)
        await sender.ice()
        await witness.ice()
    stage.skip(1)
    assert (await stage.wait_for(ViewerGone)).viewer_id == "viewer"
    last_ns, count = gate.last_forwarded_ns, len(receiver.received)
    await flowing(sender, witness, 2)
    assert (gate.last_forwarded_ns, len(receiver.received)) == (last_ns, count)
    assert stage.addresses == 2


async def test_who_vanished_gets_nothing_and_pays_nothing(stage: Stage) -> None:
    """The network of a paying viewer is gone for ten seconds; at most two of them are charged."""
    sender, receiver = await publisher(stage), await viewer(stage)
    witness = await viewer(stage, "witness")
    gate = stage.plane.forward_gated("source", "viewer", BOTH_KINDS)
    stage.plane.forward("source", "witness")
    gate.open_until(stage.clock_ns() + 10**15)

    async def live(numbers: range, *, reached: bool) -> int:
        gate.take_held(stage.clock_ns())
        for number in numbers:
            stage.skip(0.5)
            await flowing(sender, receiver if reached else witness, number)
        return sum(end - start for start, end in gate.take_held(stage.clock_ns()))

    await flowing(sender, receiver, 1)
    assert await live(range(2, 22), reached=True) >= 9 * SECOND_NS
    receiver.vanished = True
    assert await live(range(22, 42), reached=False) <= 2 * SECOND_NS
    receiver.vanished = False
    await receiver.ice()
    stage.skip(0.5)
    sender.send(rtp(42))
    assert await live(range(43, 63), reached=True) >= 8 * SECOND_NS


async def test_packets_are_consent_as_good_as_checks(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    stage.skip(20)
    await receiver.ice()
    await flowing(sender, receiver, 1)
    stage.skip(20)
    assert not [e for e in stage.events if isinstance(e, SourceGone)]


@pytest.mark.parametrize("setup", ["actpass", "passive"])
async def test_a_certificate_other_than_announced_ends_the_peer(stage: Stage, setup: str) -> None:
    answer = await stage.plane.publish("source", offer("sendonly", setup=setup), allowed=BOTH_KINDS)
    imposter = Caller(answer, certificate=new_certificate())
    await imposter.ice()
    imposter.start_handshake()
    assert (await stage.wait_for(SourceGone)).reason == "dtls_failed"
    assert stage.plane.metrics().dtls_failures == 1
    assert not [e for e in stage.events if isinstance(e, SourceUp)]


async def test_a_source_is_stale_after_two_seconds_and_fresh_again(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    stage.skip(1)
    assert not [e for e in stage.events if isinstance(e, SourceStale)]
    stage.skip(1.2)
    await stage.wait_for(SourceStale, source_id="source")
    await flowing(sender, receiver, 2)
    await stage.wait_for(SourceFresh, source_id="source")


async def test_nothing_is_left_behind_by_calls_that_ended(stage: Stage) -> None:
    tasks = asyncio.all_tasks()
    for round_number in range(3):
        sender = await publisher(stage, f"source{round_number}")
        receiver = await viewer(stage, f"viewer{round_number}")
        sender.hang_up()
        receiver.hang_up()
        await stage.wait_for(SourceGone, source_id=f"source{round_number}")
        await stage.wait_for(ViewerGone, viewer_id=f"viewer{round_number}")
    metrics = stage.plane.metrics()
    assert (metrics.publishers, metrics.viewers) == (0, 0)
    assert stage.addresses == 0
    assert asyncio.all_tasks() == tasks


async def test_a_listener_that_raises_does_not_stop_the_plane(stage: Stage) -> None:
    stage.listener_raises = True
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.listener_raises = False
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)


def test_a_call_lives_on_uvloop_too() -> None:
    async def call() -> None:
        async with staged() as stage:
            sender, receiver = await publisher(stage), await viewer(stage)
            stage.plane.forward("source", "viewer")
            for sequence in range(1, 50):
                await flowing(sender, receiver, sequence)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())


# --- the certificate ----------------------------------------------------------------------------


def shown(caller: Caller) -> str:
    """The fingerprint of the certificate that the answer promised; the handshake checked it."""
    return re.findall(r"a=fingerprint:sha-256 (\S+)", caller.answer.sdp)[0]


async def test_a_new_peer_never_gets_a_certificate_that_runs_out_soon(stage: Stage) -> None:
    sender, first = await publisher(stage), await viewer(stage, "first")
    stage.utc_shift = CERTIFICATE_VALID - CERTIFICATE_LEFT_MIN - timedelta(hours=1)
    in_time = await viewer(stage, "in time")
    stage.utc_shift += timedelta(hours=2)
    late, later = await viewer(stage, "late"), await viewer(stage, "later")
    assert shown(sender) == shown(first) == shown(in_time)
    assert shown(late) == shown(later) != shown(first)
    callers = {"first": first, "in time": in_time, "late": late, "later": later}
    for number, (viewer_id, caller) in enumerate(callers.items()):
        stage.plane.forward("source", viewer_id)
        await flowing(sender, caller, number)


def test_a_certificate_is_valid_for_as_long_as_the_seam_says() -> None:
    left = new_certificate().expires - datetime.now(UTC)
    assert abs(left - CERTIFICATE_VALID) < timedelta(minutes=5)
