"""Private media goes to the two and to nobody else, whatever a hacked client in the room tries.

The server is the real process; everybody is a program of our own. Each packet says who sent it and
in which period, so a leak is seen by its bytes and a gap by its number.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from media.api import Answer
from signaling import wire
from tests.e2e.bare import Ear, Mouth, Visitor, accept, ask, books_are_clean, populate
from tests.e2e.harness import Server, running_server
from tests.e2e.hostile_client import EVIL, Hostile
from tests.media.callers import Caller, offer

EXPERT, MEMBER, BASIC = "luna", "mia", "bob"
RATES = {"private": 299, "cam2cam": 100, "two_way_audio": 50}
FREE, PRIVATE, CAM2CAM, AGAIN = b"free", b"priv", b"memb", b"back"
ROUNDS, ROUND_S = 6, 0.4
WHOLE_SECOND_S = 1.0
TOLERANCE_S = 0.2


@dataclass
class Scene:
    """Who is there. `hostile` are a guest and a basic member in the room, and a WHEP player."""

    server: Server
    key: str
    resource: str
    air: Mouth
    expert: Visitor
    member: Visitor
    member_ear: Ear
    resume: str
    hostile: list[Hostile] = field(default_factory=list)
    sealed: bool = False

    def seal(self, message: wire.ServerMessage) -> None:
        """The first word of anybody that the room is private: from here on, not one packet.

        The rows went before that word was written, and loopback delivers at once: what was sent
        before lies in the sockets and is read now.
        """
        tells = isinstance(message, wire.RoomState) and message.wall == "private"
        if isinstance(message, wire.PrivateState):
            tells = message.session.phase == "connecting"
        if tells and not self.sealed:
            self.sealed = True
            self.air.label = PRIVATE
            for hostile in self.hostile:
                hostile.count_at_seal = hostile.media_count


@asynccontextmanager
async def free_room(data: Path) -> AsyncIterator[Scene]:
    """The expert is on air through an encoder, everybody watches."""
    people = await populate(data, [EXPERT], {MEMBER: 20, BASIC: 0})
    key = people.keys[EXPERT]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(data))
        stack.push_async_callback(Caller.all_vanish)
        guest, player = Visitor(server.url), Visitor(server.url)
        expert, member, basic = (
            Visitor(server.url, people.token(name)) for name in (EXPERT, MEMBER, BASIC)
        )
        for visitor in (expert, member, guest, basic, player):
            stack.push_async_callback(visitor.close)
        air, resource = await expert.streams(EXPERT, key, FREE)
        stack.push_async_callback(air.close)
        await expert.open()
        resume = (await member.open()).resume
        await guest.open()
        await basic.open()
        for visitor in (expert, member, guest, basic):
            assert isinstance(await visitor.say(wire.RoomEnter(expert=EXPERT)), wire.RoomEntered)
        await expert.hears(wire.RoomState, lambda m: m.expert.state == "live_free")
        scene = Scene(server, key, resource, air, expert, member, await member.watches(), resume)
        for visitor in (expert, member, guest, basic):
            visitor.listeners.append(scene.seal)
        sdp = offer("recvonly")
        scene.hostile = [Hostile(v, await v.watches("stream", sdp), sdp) for v in (guest, basic)]
        status, _, answer = await player.offers_over_http(f"/whep/{EXPERT}", "recvonly")
        assert status == 201
        await player.open()
        ear = await Ear(Answer(answer, "", "")).connect()
        scene.hostile.append(Hostile(player, ear, sdp))
        for hostile in scene.hostile:
            stack.callback(hostile.close)
        yield scene


async def begin_private(scene: Scene) -> wire.SessionView:
    """With Cam2Cam and two-way audio; active when this returns."""
    session = await ask(scene.expert, scene.member, cam2cam=True, two_way_audio=True)
    assert not scene.sealed
    await accept(scene.expert, session)
    return await scene.member.phase("active")


async def attack(scene: Scene, session: str, victims: list[Ear]) -> None:
    """All that they know, for some seconds; each answer to it is a refusal."""
    guest, basic, player = scene.hostile
    numbers = itertools.count(1)
    whip_id = scene.resource.rpartition("/")[2]
    ufrags = [victim.username.partition(":")[0] for victim in victims]
    guesses = [whip_id, *ufrags, scene.resume, "private", f"private:{session}"]
    words = asyncio.gather(
        guest.ask_for_it(session, guesses[:2]),
        basic.ask_for_it(session, guesses[2:4]),
        player.ask_over_http(EXPERT, [None, "wrong", ""], [session, *guesses]),
        steal_place(scene),
    )
    await player.take_old_answer_again(player.ear.answer)
    for round_number in range(ROUNDS):
        for hostile in scene.hostile:
            hostile.ear.check()
            hostile.feedback()
            hostile.inject(numbers)
            for victim in victims:
                hostile.impersonate(victim)
                if round_number % len(scene.hostile) == scene.hostile.index(hostile):
                    hostile.replay(victim)
        await asyncio.sleep(ROUND_S)
    _, _, statuses, _ = await words
    assert [row for row in statuses if row[1] < 400] == []


async def steal_place(scene: Scene) -> None:
    """The member's own resume token in a stranger's hand."""
    thief = Visitor(scene.server.url)
    try:
        assert not (await thief.open(resume=scene.resume)).resumed
        reply = await thief.say(wire.MediaWatch(feed="stream", sdp=offer("recvonly")))
        assert isinstance(reply, wire.Error)
    finally:
        await thief.close()


async def end_private(scene: Scene, feed: Mouth) -> wire.PrivateSummary:
    """The member ends it. The last private packets are through before, so periods do not mix."""
    scene.air.quiet = feed.quiet = True
    last = scene.air.number
    heard = scene.member_ear
    await heard.until(lambda: sum(h.number == last for h in heard.labelled(PRIVATE)) == 2)
    await scene.member.say(wire.PrivateEnd())
    summary = await scene.member.hears(wire.PrivateSummary)
    # The rows of the free room are laid again, and the caches must hold nothing for them.
    for hostile in scene.hostile:
        assert hostile.media_count == hostile.count_at_seal, "media after the seal"
        assert hostile.strange == 0, "the server spoke to a stranger"
    scene.air.label, scene.air.quiet = AGAIN, False
    return summary


def without_gap(ear: Ear, label: bytes) -> float:
    """Every packet of both streams from the first to the last; the time between, in seconds."""
    for ssrc in ear.ssrcs[:2]:
        numbers = [h.number for h in ear.labelled(label) if h.ssrc == ssrc]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "a gap or a repetition"
    return ear.labelled(label)[-1].at_s - ear.labelled(label)[0].at_s


async def test_a_hostile_client_gets_nothing_of_a_private_session(tmp_path: Path) -> None:
    async with free_room(tmp_path) as scene:
        for hostile in scene.hostile:
            await hostile.ear.hears(FREE, 20)
        view = await begin_private(scene)
        feed = await scene.member.publishes("private", CAM2CAM)
        expert_ear = await scene.expert.watches("private")
        victims = [scene.air.call, scene.member_ear, feed.call, expert_ear]
        await expert_ear.hears(CAM2CAM, 2)
        try:
            await attack(scene, view.session, victims)
            summary = await end_private(scene, feed)
        finally:
            await feed.close()

        for hostile in scene.hostile[:2]:
            await hostile.ear.hears(AGAIN, 20)
        for hostile in scene.hostile:
            assert {heard.label for ear in hostile.ears for heard in ear.heard} <= {FREE, AGAIN}
            assert hostile.ear.unreadable == 0, "somebody else's media"
        held_s = without_gap(scene.member_ear, PRIVATE)
        assert held_s > ROUNDS * ROUND_S - TOLERANCE_S
        assert without_gap(expert_ear, CAM2CAM) > ROUNDS * ROUND_S - WHOLE_SECOND_S
        assert {h.label for h in expert_ear.heard} == {CAM2CAM}
        assert EVIL not in {h.label for h in scene.member_ear.heard}
        judge_bill(scene.server, summary, held_s)
        await books_are_clean(tmp_path)


def judge_bill(server: Server, summary: wire.PrivateSummary, held_s: float) -> None:
    """Charged for what the member received, as if nobody had been there."""
    seconds = {line.component: line.seconds for line in summary.lines}
    assert held_s - WHOLE_SECOND_S - TOLERANCE_S < seconds["private"] <= held_s + TOLERANCE_S
    assert min(seconds.values()) >= seconds["private"] - 1
    assert summary.total_units == sum(RATES[name] * s for name, s in seconds.items())
    assert server.sql("select charged_units from meter_sessions") == [(summary.total_units,)]
