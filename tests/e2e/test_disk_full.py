"""The disk of the ledger is full under a live private session: the real server, real media.

Media to the member stops with the last grant, both are told why, operators see it, and once there
is room again everything is settled to the second and goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from billing_meter.meter_types import LEASE_S
from signaling import wire
from tests.disks import Disk, mounted, needs_root
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
from tests.e2e.harness import Server, running_server

PRIVATE = b"priv"
RATE = 299
EDGE_S = 0.05
"""How much later than the end of grant and lease a packet may arrive."""
READY_WITHIN_S = 10
HUDS = 3


def readiness(server: Server) -> tuple[int, str]:
    """Status and detail of /readyz."""
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())["detail"]


async def private(expert: Visitor, member: Visitor) -> tuple[str, Ear]:
    """Asked for, accepted, and heard; the session and the member's ear."""
    session = await ask(expert, member)
    await accept(expert, session)
    ear = await member.watches()
    await ear.hears(PRIVATE, 10)
    return session, ear


async def on_air(server: Server, people: People) -> tuple[Visitor, Visitor, Mouth]:
    """The expert streams, both are in the room."""
    expert = Visitor(server.url, people.token("luna"))
    member = Visitor(server.url, people.token("mia"))
    mouth, _ = await expert.streams("luna", people.keys["luna"], PRIVATE)
    await meet("luna", expert, member)
    return expert, member, mouth


async def ends_by_the_ledger(
    server: Server, member: Visitor, expert: Visitor, ear: Ear, told_s: list[float]
) -> int:
    """Everybody hears the reason; what it came to. `told_s`: when seconds were durable."""
    summary = await member.hears(wire.PrivateSummary)
    assert summary.reason == "ledger_unavailable"
    assert (await expert.hears(wire.PrivateSummary)).reason == "ledger_unavailable"
    ear.drain()
    seconds = summary.total_units / RATE
    heard_s = ear.held_s(*ear.ssrcs[:2])
    assert seconds - 0.25 < heard_s < seconds + 1 + EDGE_S, "each whole second, and no other"
    last_s = max(last for _, last in ear.spans.values())
    assert last_s <= told_s[-1] + LEASE_S + EDGE_S, "no packet later than the lease"
    status, detail = await asyncio.to_thread(readiness, server)
    assert status == 503
    assert detail.startswith("full: ")
    assert server.metric('parlour_ledger_unavailable{reason="full"}') == 1
    refused = await member.say(wire.PrivateRequest(accepted_units_per_s=RATE))
    assert isinstance(refused, wire.Error)
    assert refused.code == "ledger_unavailable"
    return summary.total_units


async def recovers(server: Server, disk: Disk, session: str, units: int) -> None:
    """Ready again by itself, and what was owed is posted."""
    disk.free()
    async with asyncio.timeout(READY_WITHIN_S):
        while (await asyncio.to_thread(readiness, server))[0] != 200:
            await asyncio.sleep(0.1)
        closed = f"select state, charged_units from meter_sessions where session_id = '{session}'"
        while server.sql(closed) != [("closed", units)]:
            await asyncio.sleep(0.1)


@needs_root
async def test_a_full_disk_ends_private_media_with_what_is_held(tmp_path: Path) -> None:
    with mounted(tmp_path, "tmpfs") as disk:
        data = disk.path / "data"
        people = await populate(data, ["luna"], {"mia": 1_000})
        async with running_server(data) as server:
            expert, member, mouth = await on_air(server, people)
            session, ear = await private(expert, member)
            told_s: list[float] = []
            member.listeners.append(
                lambda m: told_s.append(time.time()) if isinstance(m, wire.PrivateHud) else None
            )
            await member.hears(wire.PrivateHud, lambda m: m.cost_units >= HUDS * RATE)
            disk.fill_under(data / "parlour.db")
            units = await ends_by_the_ledger(server, member, expert, ear, told_s)
            await recovers(server, disk, session, units)
            member.messages.clear()
            await private(expert, member)
            await member.hears(wire.PrivateHud, lambda m: m.cost_units >= RATE)
            assert isinstance(await member.say(wire.PrivateEnd()), wire.Ack)
            summary = await member.hears(wire.PrivateSummary)
            assert summary.reason == "member_left"
            await mouth.close()
            for visitor in (expert, member):
                await visitor.close()
            assert await server.stop() == 0
        await books_are_clean(data)
