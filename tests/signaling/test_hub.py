"""The hub: every message in reaches the house, every event out reaches the right reader."""

import dataclasses
from typing import Any

import msgspec
import pytest

from billing_meter.ledger_store import Balance
from billing_meter.meter import Started
from billing_meter.tariff import Component
from media.api import (
    BOTH_KINDS,
    BusyReason,
    Direction,
    Kind,
    PeerFigures,
    QualityChanged,
    QualityLevel,
    SourceGone,
    SourceUp,
    StreamFigures,
    Transport,
)
from rooms.airing import stream_source
from rooms.limits import BUSY_RETRY_S
from rooms.roles import Visitor, VisitorKind
from signaling import wire
from signaling.hub import Hub, Turned
from signaling.tickets import Tickets
from tests.rooms.world import World


class FakeLink:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed: int | None = None

    def post(self, message: wire.ServerMessage) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    def last(self, kind: type) -> Any:
        return [m for m in self.sent if isinstance(m, kind)][-1]

    def has(self, kind: type) -> bool:
        return any(isinstance(m, kind) for m in self.sent)


@dataclasses.dataclass
class Person:
    """One connection through the hub."""

    hub: Hub
    place_id: str
    link: FakeLink

    async def say(self, message: wire.ClientMessage) -> Any:
        outcome = self.hub.handle(self.place_id, message)
        return await outcome if hasattr(outcome, "__await__") else outcome


class Scene:
    """A world behind a hub."""

    def __init__(self) -> None:
        self.world = World()
        self.tickets = Tickets(clock_ns=self.world.clock)
        self.hub = Hub(self.world.house, self.tickets)

    async def enter(
        self, kind: VisitorKind, name: str, *, room: str = "luna", language: wire.Language = "en"
    ) -> Person:
        link = FakeLink()
        ticket = self.tickets.issue(Visitor(kind, name, name)).token
        place_id = await self.hub.hello(link, wire.Hello(ticket=ticket, language=language))
        assert isinstance(place_id, str)
        person = Person(self.hub, place_id, link)
        assert isinstance(await person.say(wire.RoomEnter(expert=room, id=1)), wire.RoomEntered)
        return person

    async def live(self) -> Person:
        expert = await self.enter(VisitorKind.EXPERT, "luna")
        answer = await expert.say(wire.MediaPublish(feed="stream", sdp="offer", id=2))
        assert isinstance(answer, wire.MediaAnswer)
        assert answer.direction == "publish"
        self.world.house.on_media(SourceUp(stream_source("luna"), BOTH_KINDS))
        return expert


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_an_ice_restart_is_answered_with_new_credentials_of_ones_own_peer(
    scene: Scene,
) -> None:
    expert = await scene.live()
    guest = await scene.enter(VisitorKind.GUEST, "g")
    ask = wire.MediaRestart(feed="stream", direction="watch", ufrag="again", pwd="p" * 22, id=8)
    refused = await guest.say(ask)
    assert (refused.code, refused.id) == ("no_feed", 8)
    await guest.say(wire.MediaWatch(feed="stream", sdp="offer"))
    rows = dict(scene.world.media.rows)
    restarted = await guest.say(ask)
    assert restarted == wire.MediaRestarted(
        feed="stream", direction="watch", ufrag="ours-again", pwd="password", id=8
    )
    assert scene.world.media.rows == rows
    mine = wire.MediaRestart(feed="stream", direction="publish", ufrag="again2", pwd="p" * 22, id=9)
    assert (await expert.say(mine)).ufrag == "ours-again2"
    assert (await guest.say(mine)).code == "no_feed"


async def test_a_players_size_reaches_ones_own_viewer_and_nobody_elses(scene: Scene) -> None:
    await scene.live()
    guest = await scene.enter(VisitorKind.GUEST, "g")
    other = await scene.enter(VisitorKind.GUEST, "h")
    size = wire.MediaViewport(feed="stream", width=640, height=360, id=5)
    log = scene.world.media.log
    await guest.say(wire.MediaWatch(feed="stream", sdp="offer"))
    assert isinstance(await other.say(size), wire.Ack)
    assert not [line for line in log if line.startswith("viewport")]
    assert isinstance(await guest.say(size), wire.Ack)
    [viewer_id] = {viewer for _, viewer, _ in scene.world.media.rows}
    assert [line for line in log if line.startswith("viewport")] == [
        f"viewport {viewer_id} 640x360"
    ]
    private = wire.MediaViewport(feed="private", width=1, height=1)
    assert await guest.say(private) is None


async def test_the_whole_private_path_over_the_wire(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    guest = await scene.enter(VisitorKind.GUEST, "g")
    for person in (member, guest):
        answer = await person.say(wire.MediaWatch(feed="stream", sdp="offer", id=3))
        assert (answer.direction, answer.id, answer.sdp) == ("watch", 3, "answer")
    state = await member.say(
        wire.PrivateRequest(accepted_units_per_s=399, cam2cam=True, spend_limit_units=9, id=4)
    )
    assert (state.id, state.session.phase, state.session.ring_ms_left) == (4, "ringing", 30_000)
    incoming = expert.link.last(wire.PrivateIncoming)
    assert (incoming.balance_band, incoming.rate_units_per_s) == ("over_10_min", 399)
    session = incoming.session.session
    assert await expert.say(wire.PrivateAccept(session=session, id=5)) == wire.Ack(id=5)
    await scene.world.settle()
    assert scene.world.till.orders[session].spend_limit_units == 9
    assert guest.link.last(wire.RoomState).wall == "private"
    scene.world.house.on_meter(session, Started(0))
    assert member.link.last(wire.PrivateState).session.cam2cam
    scene.world.tick_meter(session, 1_000)
    hud = member.link.last(wire.PrivateHud)
    assert (hud.balance_units, hud.time_left_s, hud.earned_units) == (1000, 3, None)
    hud = expert.link.last(wire.PrivateHud)
    assert (hud.balance_units, hud.time_left_s, hud.earned_units) == (None, None, 180)
    switched = await member.say(
        wire.PrivateSwitch(component="two_way_audio", on=True, accepted_units_per_s=50, id=6)
    )
    assert switched == wire.Ack(id=6)
    assert await member.say(wire.MediaPublish(feed="private", sdp="offer", id=7))
    answer = await expert.say(wire.MediaWatch(feed="private", sdp="offer", id=8))
    assert (answer.feed, answer.direction) == ("private", "watch")
    assert await expert.say(wire.PrivateEnd(id=9)) == wire.Ack(id=9)
    await scene.world.settle()
    summary = member.link.last(wire.PrivateSummary)
    assert (summary.reason, summary.total_units) == ("expert_left", 2093)
    assert summary.refund_until_ms == summary.ended_at_ms + 24 * 3600 * 1000
    assert summary.earned_units is None
    theirs = expert.link.last(wire.PrivateSummary)
    assert (theirs.earned_units, theirs.balance_units, theirs.refund_until_ms) == (1255, None, None)
    assert guest.link.last(wire.RoomState).wall == "none"
    assert not guest.link.has(wire.PrivateState)
    assert not guest.link.has(wire.PrivateHud)


async def test_the_expert_never_learns_the_balance(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    await member.say(wire.PrivateRequest(accepted_units_per_s=299))
    text = b"".join(wire.encode_json(message) for message in expert.link.sent)
    assert b"600000" not in text
    assert b"balance_units" not in text


async def test_chat_reaches_everybody_in_their_language(scene: Scene) -> None:
    expert = await scene.live()
    nordic = await scene.enter(VisitorKind.MEMBER, "nils", language="nb")
    guest = await scene.enter(VisitorKind.GUEST, "g")
    receipt = await guest.say(wire.ChatPreset(preset="thanks", id=9))
    assert (receipt.id, receipt.line.text, receipt.line.role) == (9, "Thank you!", "guest")
    assert nordic.link.last(wire.ChatMessage).line.text == "Takk!"
    receipt = await expert.say(wire.ChatSend(text="hi", id=3))
    assert (receipt.line.role, receipt.line.n) == ("expert", 2)
    refusal = await guest.say(wire.ChatSend(text="let me type", id=4))
    assert (refusal.code, refusal.id) == ("guests_use_presets", 4)
    assert not guest.link.sent.count(receipt)
    refusal = await expert.say(wire.ChatSend(text="whisper", session="over", id=5))
    assert (refusal.code, refusal.id) == ("private_over", 5)


async def test_guests_get_the_presets_and_members_do_not_need_them(scene: Scene) -> None:
    guest = await scene.enter(VisitorKind.GUEST, "g", language="nb")
    entered = await guest.say(wire.RoomEnter(expert="luna", id=1))
    assert "Hei!" in [preset.text for preset in entered.presets]
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    assert (await member.say(wire.RoomEnter(expert="LUNA", id=1))).presets == []


async def test_the_grid_is_pushed(scene: Scene) -> None:
    watcher = await scene.enter(VisitorKind.GUEST, "g")
    grid = await watcher.say(wire.PresenceSubscribe(id=1))
    assert [card.state for card in grid.experts] == ["offline"]
    await scene.live()
    assert watcher.link.last(wire.PresenceChanged).expert.state == "live_free"


async def test_refusals_have_code_text_and_id(scene: Scene) -> None:
    guest = await scene.enter(VisitorKind.GUEST, "g")
    for message, code in [
        (wire.RoomEnter(expert="nobody", id=1), "no_such_expert"),
        (wire.MediaPublish(feed="stream", sdp="x", id=1), "not_host"),
        (wire.MediaWatch(feed="stream", sdp="x", id=1), "walled"),
        (wire.MediaWatch(feed="private", sdp="x", id=1), "no_session"),
        (wire.MediaPublish(feed="private", sdp="x", id=1), "no_session"),
        (wire.MediaUnpublish(feed="stream", id=1), "not_host"),
        (wire.MediaUnpublish(feed="private", id=1), "no_feed"),
        (wire.StudioGoOffline(id=1), "not_host"),
        (wire.PrivateRequest(accepted_units_per_s=299, id=1), "premium_required"),
        (wire.PrivateCancel(id=1), "no_session"),
        (wire.PrivateAccept(session="s", id=1), "no_session"),
        (wire.PrivateDecline(session="s", id=1), "no_session"),
        (wire.PrivateSwitch(component="cam2cam", on=True, id=1), "no_session"),
        (wire.PrivateEnd(id=1), "no_session"),
        (wire.ChatPreset(preset="x", id=1), "unknown_preset"),
        (wire.Hello(ticket="x", id=1), "already_welcome"),
    ]:
        error = await guest.say(message)
        assert isinstance(error, wire.Error), message
        assert (error.code, error.id) == (code, 1)
        assert error.message
    assert isinstance(await guest.say(wire.MediaUnwatch(feed="stream", id=2)), wire.Ack)
    left = await guest.say(wire.RoomLeave(id=3))
    assert (left.reason, left.id) == ("left", 3)
    assert (await guest.say(wire.RoomLeave(id=4))).code == "not_in_room"


async def test_a_message_without_an_id_gets_no_ack(scene: Scene) -> None:
    guest = await scene.enter(VisitorKind.GUEST, "g")
    assert await guest.say(wire.MediaUnwatch(feed="stream")) is None


async def test_balance_premium_quality_and_broken_feeds_are_pushed(scene: Scene) -> None:
    expert = await scene.live()
    scene.world.directory.basic.add("mia")
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    scene.world.directory.basic.remove("mia")
    house = scene.world.house
    house.on_balance("mia", Balance(5, 4, 3))
    assert member.link.last(wire.WalletBalance).balance.paid_units == 5
    assert not expert.link.has(wire.WalletBalance)
    house.on_standing("mia")
    await scene.world.settle()
    assert member.link.last(wire.AccountUpgraded).you.premium
    source = stream_source("luna")
    house.on_media(QualityChanged(source, Direction.PUBLISH, QualityLevel.POOR, "loss"))
    quality = expert.link.last(wire.MediaQuality)
    assert (quality.feed, quality.direction, quality.level) == ("stream", "publish", "poor")
    assert not quality.far
    assert not member.link.has(wire.MediaQuality)
    assert await member.say(wire.MediaWatch(feed="stream", sdp="offer", id=3))
    house.on_media(QualityChanged(source, Direction.PUBLISH, QualityLevel.FAIR, "loss"))
    assert member.link.last(wire.MediaQuality).far
    peer_id = scene.world.media.publishers[source]
    house.on_media(SourceGone(source, peer_id, "timeout"))
    stopped = expert.link.last(wire.MediaStopped)
    assert (stopped.feed, stopped.direction, stopped.reason) == ("stream", "publish", "timeout")


async def test_a_resume_brings_room_session_and_what_was_missed(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    resume = expert.link.last(wire.Welcome).resume
    scene.hub.gone(expert.place_id, expert.link)
    other = await scene.enter(VisitorKind.EXPERT, "luna")  # another studio stays at the desk
    await member.say(wire.PrivateRequest(accepted_units_per_s=299))
    link = FakeLink()
    ticket = scene.tickets.issue(Visitor(VisitorKind.EXPERT, "luna", "luna")).token
    place_id = await scene.hub.hello(link, wire.Hello(ticket=ticket, resume=resume))
    assert place_id == expert.place_id
    kinds = [type(message) for message in link.sent]
    assert kinds == [wire.Welcome, wire.RoomEntered, wire.PrivateIncoming]
    assert link.sent[0].resumed
    assert link.sent[1].session is not None
    assert link.sent[1].you_host
    assert other.link.has(wire.PrivateIncoming)


async def test_a_summary_that_found_nobody_waits(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    session = await scene.world.active(member.place_id, expert.place_id)
    resume = member.link.last(wire.Welcome).resume
    scene.hub.gone(member.place_id, member.link)
    await expert.say(wire.PrivateEnd())
    await scene.world.settle()
    link = FakeLink()
    ticket = scene.tickets.issue(Visitor(VisitorKind.MEMBER, "mia", "mia")).token
    await scene.hub.hello(link, wire.Hello(ticket=ticket, resume=resume))
    assert link.last(wire.PrivateSummary).session == session


async def test_signing_out_ends_sessions_and_sockets(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    session = await scene.world.active(member.place_id, expert.place_id)
    scene.hub.send_away(VisitorKind.MEMBER, "mia")
    assert member.link.closed == wire.CLOSE_UNAUTHENTICATED
    await scene.world.settle()
    assert scene.world.till.closed == {session: "suspended"}
    assert len(scene.world.house.floor.places) == 1
    scene.hub.gone(member.place_id, member.link)  # the socket's own end comes later


async def test_draining_tells_everybody_and_closes(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    session = await scene.world.active(member.place_id, expert.place_id)
    await scene.world.house.drain()
    assert scene.world.till.closed == {session: "server_stopped"}
    assert member.link.last(wire.ServerDraining).seconds == 0
    assert member.link.last(wire.PrivateSummary).reason == "server_stopped"
    scene.hub.close_all()
    assert {expert.link.closed, member.link.closed} == {wire.CLOSE_DRAINING}


async def test_a_full_house_turns_people_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.lobby.PLACES_MAX", 0)
    ticket = scene.tickets.issue(Visitor(VisitorKind.GUEST, "g", "g")).token
    turned = await scene.hub.hello(FakeLink(), wire.Hello(ticket=ticket, id=1))
    assert isinstance(turned, Turned)
    assert (turned.error.code, turned.close_code) == ("overloaded", wire.CLOSE_OVERFLOW)


async def test_figures_are_pushed_in_the_words_of_the_wire(scene: Scene) -> None:
    await scene.live()
    guest = await scene.enter(VisitorKind.GUEST, "gus")
    assert await guest.say(wire.MediaWatch(feed="stream", sdp="offer", id=3))
    (viewer,) = scene.world.media.viewers
    video = StreamFigures(
        Kind.VIDEO, "VP8", "h", (1280, 720), 90, 50_000, 0.0391, 2_500_499, 4, 3, 2
    )
    sound = StreamFigures(Kind.AUDIO, None, None, None, 0, 0, None, None, 0, 0, 0)
    scene.world.media.known[Direction.WATCH, viewer] = PeerFigures(
        *(Transport.TCP, QualityLevel.FAIR, "loss", 12_345_678, 900_000, 250_999_999),
        streams=(sound, video),
    )
    assert await guest.say(wire.FiguresSubscribe(id=4)) == wire.Ack(id=4)
    await scene.world.pass_s(1)
    (connection,) = guest.link.last(wire.Figures).connections
    shown = msgspec.to_builtins(connection)
    assert {name: shown[name] for name in shown if name != "streams"} == {
        **{"feed": "stream", "direction": "watch", "level": "fair", "reason": "loss"},
        **{"transport": "tcp", "round_trip_us": 12_345, "estimate_bps": 900_000},
        "silent_ms": 250,
    }
    assert shown["streams"][1] == {
        **{"kind": "video", "codec": "VP8", "layer": "h", "width": 1280, "height": 720},
        **{"bitrate_bps": 0, "packets": 90, "lost_permille": 39, "jitter_us": 2_500},
        **{"asked_again": 4, "repaired": 3, "keyframes_asked": 2},
    }
    assert shown["streams"][0]["width"] is None
    assert await guest.say(wire.FiguresUnsubscribe(id=5)) == wire.Ack(id=5)
    guest.link.sent.clear()
    await scene.world.pass_s(3)
    assert not guest.link.has(wire.Figures)


async def test_a_full_house_refuses_new_viewers_and_leaves_them_in_the_room(scene: Scene) -> None:
    await scene.live()
    guest = await scene.enter(VisitorKind.GUEST, "gus")
    scene.world.media.busy = BusyReason.CPU
    refusal = await guest.say(wire.MediaWatch(feed="stream", sdp="offer", id=3))
    assert isinstance(refusal, wire.Error)
    assert (refusal.code, refusal.id) == ("overloaded", 3)
    assert refusal.data == {"retry_after_s": BUSY_RETRY_S}
    assert guest.link.closed is None
    scene.world.media.busy = None
    again = await guest.say(wire.MediaWatch(feed="stream", sdp="offer", id=4))
    assert isinstance(again, wire.MediaAnswer)


async def test_the_private_feed_is_for_the_two(scene: Scene) -> None:
    expert = await scene.live()
    member = await scene.enter(VisitorKind.MEMBER, "mia")
    await scene.world.active(member.place_id, expert.place_id, Component.CAM2CAM)
    other = await scene.enter(VisitorKind.MEMBER, "max")
    for person, message in [
        (other, wire.MediaWatch(feed="private", sdp="offer", id=1)),
        (other, wire.MediaPublish(feed="private", sdp="offer", id=1)),
        (member, wire.MediaWatch(feed="private", sdp="offer", id=1)),
        (expert, wire.MediaPublish(feed="private", sdp="offer", id=1)),
    ]:
        assert (await person.say(message)).code == "no_session"
