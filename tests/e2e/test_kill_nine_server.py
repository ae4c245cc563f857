"""kill -9 of the real server with real media in live private sessions, at random instants.

After every restart each session is settled to exactly the last second that was durable when the
server died; its hold is back; the books are clean; and nobody paid for a second that the packets
at the receiver do not cover. `PARLOUR_KILLS` says how often; `make nightly` does it 200 times.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from billing_meter.database import Database
from billing_meter.marks_rows import durable_rows
from signaling import wire
from tests.e2e.bare import (
    Ear,
    Mouth,
    People,
    Visitor,
    accept,
    ask,
    books_are_clean,
    meet,
    populate,
)
from tests.e2e.harness import Server, read_store
from tests.media.callers import Caller

KILLS = int(os.environ.get("PARLOUR_KILLS", "8"))
LANES = 5
"""Sessions per life: each kill hits five of them, at five instants of their own."""
LIFE_MAX_S = 3.0
"""After the first session was accepted."""
STAGGER_MAX_S = 0.8
CREDITS = 50_000
SECONDS_PER_KILL = 20
EDGE_S = 0.05
"""The server's clock is read a moment before its packet arrives, in a busy process."""
PRIVATE, CAM2CAM = b"priv", b"memb"


@dataclass
class Lane:
    """One expert and one member, life after life. The calls of the running session, if any."""

    number: int
    people: People
    url: str = ""
    session: str = ""
    shown_units: int = 0
    member_ear: Ear | None = None
    feed_ear: Ear | None = None
    visitors: list[Visitor] = field(default_factory=list)
    mouths: list[Mouth] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, wait_s: float) -> None:
        """On air, in private, with Cam2Cam and sound in every other lane; until it is killed."""
        name = f"expert-{self.number}"
        expert = Visitor(self.url, self.people.token(name))
        member = Visitor(self.url, self.people.token(f"member-{self.number}"))
        self.visitors += [expert, member]
        mouth, _ = await expert.streams(name, self.people.keys[name], PRIVATE)
        self.mouths.append(mouth)
        member.listeners.append(self._hear)
        await meet(name, expert, member)
        await asyncio.sleep(wait_s)
        await self._private(expert, member, both_ways=self.number % 2 == 1)

    async def _private(self, expert: Visitor, member: Visitor, *, both_ways: bool) -> None:
        """The member watches from the connecting on, so all that it hears is private."""
        session = await ask(expert, member, cam2cam=both_ways, two_way_audio=both_ways)
        await accept(expert, session)
        self.session = session
        self.accepted.set()
        self.member_ear = await member.watches()
        await member.phase("active")
        if both_ways:
            self.mouths.append(await member.publishes("private", CAM2CAM))
            self.feed_ear = await expert.watches("private")

    def _hear(self, message: wire.ServerMessage) -> None:
        if isinstance(message, wire.PrivateHud):
            self.shown_units = max(self.shown_units, message.cost_units)

    def received_s(self) -> dict[str, float]:
        """By component, what the receivers' own sockets can vouch for."""
        for ear in (self.member_ear, self.feed_ear):
            if ear is not None:
                ear.drain()
        here, there = self.member_ear, self.feed_ear
        audio, video = (0, 0) if there is None else there.ssrcs[:2]
        return {
            "private": 0.0 if here is None else here.held_s(*here.ssrcs[:2]),
            "cam2cam": 0.0 if there is None else there.held_s(video),
            "two_way_audio": 0.0 if there is None else there.held_s(audio),
        }

    async def bury(self) -> None:
        """Forget this life."""
        for mouth in self.mouths:
            await mouth.close()
        for visitor in self.visitors:
            await visitor.close()
        self.visitors, self.mouths = [], []
        self.session, self.shown_units = "", 0
        self.accepted.clear()
        self.member_ear = self.feed_ear = None


Charged = dict[str, tuple[int, int, int, int]]
"""Session → units, and seconds of private, Cam2Cam and two-way audio."""


def charged(database: Path) -> Charged:
    """What every session has been charged so far, read from outside."""
    query = (
        "select session_id, charged_units, private_s, cam2cam_s, two_way_audio_s"
        " from meter_sessions"
    )
    found: Charged = {}
    for session, *figures in read_store(database, query):
        units, private_s, cam2cam_s, audio_s = (int(str(figure)) for figure in figures)
        found[str(session)] = units, private_s, cam2cam_s, audio_s
    return found


async def durable(data: Path, copy: Path) -> Charged:
    """What was durable when the server died, from a copy, so that nothing is mended by looking."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for part in data.glob("parlour.db*"):
        shutil.copy(part, copy)
    store = await Database.open(f"sqlite+aiosqlite:///{copy}/parlour.db")
    try:
        async with store.read() as connection:
            rows = await durable_rows(connection)
    finally:
        await store.close()
    return {
        session: (row["charged_units"], row["private_s"], row["cam2cam_s"], row["two_way_audio_s"])
        for session, row in rows.items()
    }


def nothing_is_open(server: Server) -> None:
    """No session, no hold, and all accounts sum to zero."""
    for query in (
        "select count(*) from meter_sessions where state = 'open' or posted_units <> charged_units",
        "select coalesce(sum(units), 0) from ledger_accounts where account like '%:held'",
        "select sum(units) from ledger_accounts",
    ):
        assert server.sql(query) == [(0,)], query


async def first_accepted(tasks: list[asyncio.Task[None]], lanes: list[Lane]) -> None:
    """Return when the first expert has accepted; a lane that breaks before ends the test."""
    accepted = [asyncio.create_task(lane.accepted.wait()) for lane in lanes]
    done, _ = await asyncio.wait([*tasks, *accepted], return_when=asyncio.FIRST_COMPLETED)
    for task in accepted:
        task.cancel()
    await asyncio.wait(accepted)
    for task in done.intersection(tasks):
        task.result()


async def one_life(server: Server, lanes: list[Lane], chance: random.Random) -> None:
    """All lanes begin; at a random instant the power goes, with each at a step of its own."""
    works: list[Coroutine[object, object, None]] = []
    for lane in lanes:
        lane.url = server.url
        works.append(lane.live(chance.uniform(0, STAGGER_MAX_S)))
    tasks = [asyncio.create_task(work) for work in works]
    await first_accepted(tasks, lanes)
    await asyncio.sleep(chance.uniform(0, LIFE_MAX_S))
    failed = [task for task in tasks if task.done() and task.exception() is not None]
    await server.kill()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in failed:
        task.result()


def judge(lane: Lane, marks: Charged, settled: Charged) -> int:
    """One session after the restart; its charged seconds."""
    received_s = lane.received_s()
    if lane.session not in settled:
        assert lane.shown_units == 0
        assert received_s["private"] == 0.0, "media before its hold was durable"
        return 0
    units, *seconds = settled[lane.session]
    assert settled[lane.session] == marks[lane.session], "not the last durable second"
    assert units >= lane.shown_units, "a second that was shown is lost"
    for (component, heard_s), charged_s in zip(received_s.items(), seconds, strict=True):
        assert charged_s <= heard_s + EDGE_S, f"{component}: {charged_s} s charged, {heard_s} heard"
    return seconds[0]


@pytest.mark.slow
@pytest.mark.timeout(60 + SECONDS_PER_KILL * KILLS)
async def test_kill_nine_of_the_server_never_bills_a_second_too_much(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, data = random.Random(seed), tmp_path / "data"
    experts = [f"expert-{n}" for n in range(LANES)]
    people = await populate(data, experts, {f"member-{n}": CREDITS for n in range(LANES)})
    lanes = [Lane(number, people) for number in range(LANES)]
    server, sessions, seconds = Server(data=data), 0, 0
    await server.start()
    try:
        for _ in range(KILLS):
            await one_life(server, lanes, chance)
            # No connection of this process is open now: closing a copied file would drop its locks.
            marks = await durable(data, tmp_path / "copy")
            await server.start()
            nothing_is_open(server)
            settled = charged(data / "parlour.db")
            for lane in lanes:
                sessions += lane.session in settled
                seconds += judge(lane, marks, settled)
                await lane.bury()
            await Caller.all_vanish()
            await books_are_clean(data)
        assert await server.stop() == 0
    finally:
        if server.process is not None:
            await server.kill()
    print(f"{KILLS} kills, {sessions} sessions, {seconds} s charged")
    assert sessions >= KILLS, "the kills found live sessions"
    assert seconds * 4 >= KILLS, "which had been charged"
