"""kill -9 at random instants of live sessions, a hundred times on each database.

After every restart: each session is settled to its last durable second, which is never later than
its media; its hold is back; nothing acknowledged is lost; the books are clean.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from billing_meter.database import Database
from billing_meter.statements import reconcile, verify
from tests.billing_meter import kill_nine_victim as victim
from tests.stores import Store

REPO = Path(__file__).resolve().parents[2]
KILLS = 100
LIFE_MAX_S = 0.6
BOOKS_EVERY = 20
NS_PER_S = 1_000_000_000
DEAREST_UNITS_PER_S = victim.TARIFF.private_units_per_s + victim.TARIFF.cam2cam_units_per_s


@dataclass
class Witness:
    """What the victim said before it died."""

    recovered: int = -1
    marks: dict[str, int] = field(default_factory=dict)
    opened_ns: dict[str, int] = field(default_factory=dict)
    bought: dict[str, int] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """One line of the victim."""
        match line.split():
            case ["mark", session, units]:
                self.marks[session] = int(units)
            case ["open", session, at_ns]:
                self.opened_ns[session] = int(at_ns)
            case ["bought", member, units]:
                self.bought[member] = self.bought.get(member, 0) + int(units)
            case ["recovered", count]:
                self.recovered = int(count)


async def one_life(url: str, run: int, life_s: float) -> tuple[Witness, int]:
    """Start, let it recover, check nothing, let it live, kill it; (what it said, killed at)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.billing_meter.kill_nine_victim", url, str(run)),
        cwd=REPO,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    witness = Witness()
    try:
        witness.hear((await process.stdout.readline()).decode())
        if run:
            await judge_settled(url)
        process.stdin.write(b"live\n")
        await process.stdin.drain()
        await asyncio.sleep(life_s)  # the instant of death is the point of the test
    finally:
        process.send_signal(signal.SIGKILL)
    killed_ns = time.monotonic_ns() * victim.SPEED
    rest = await process.stdout.read()
    await process.wait()
    for line in rest.decode().splitlines():
        witness.hear(line)
    return witness, killed_ns


async def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Read from outside, as an accountant."""
    store = await Database.open(url)
    try:
        async with store.read() as connection:
            return [tuple(row) for row in await connection.execute(sa.text(query))]
    finally:
        await store.close()


async def judge_settled(url: str) -> None:
    """After recovery nothing is open, nothing is held, the books sum to zero."""
    assert await rows(url, "select count(*) from meter_sessions where state = 'open'") == [(0,)]
    held = "select coalesce(sum(units), 0) from ledger_accounts where account like '%held'"
    assert await rows(url, held) == [(0,)]
    assert await rows(url, "select sum(units) from ledger_accounts") == [(0,)]
    unposted = "select count(*) from meter_sessions where posted_units <> charged_units"
    assert await rows(url, unposted) == [(0,)]


async def judge_charges(url: str, witness: Witness, killed_ns: int) -> None:
    """No acknowledged second lost, no second charged after the media."""
    sessions = await rows(url, "select session_id, charged_units, private_s from meter_sessions")
    charged = {session: int(str(units)) for session, units, _ in sessions}
    private_s = {session: int(str(seconds)) for session, _, seconds in sessions}
    for session, units in witness.marks.items():
        assert charged[session] >= units, f"{session} lost an acknowledged mark"
    for session, opened_ns in witness.opened_ns.items():
        media_s = (killed_ns - opened_ns) // NS_PER_S
        assert private_s.get(session, 0) <= media_s, f"{session} was charged too much"
        assert charged.get(session, 0) <= media_s * DEAREST_UNITS_PER_S


async def judge_books(url: str) -> None:
    """`ledger verify` and `reconcile` find nothing."""
    store = await Database.open(url)
    try:
        assert (await verify(store)).findings == ()
        assert (await reconcile(store)).findings == ()
    finally:
        await store.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)  # Python is started a hundred times: a busy machine needs 10 min
async def test_kill_nine_never_bills_too_much_and_loses_nothing(databases: Store) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"{databases.kind}: seed {seed}")
    chance = random.Random(seed)
    url = await databases.fresh()
    bought: dict[str, int] = {}
    marks_seen = 0
    for run in range(KILLS):
        witness, killed_ns = await one_life(url, run, chance.uniform(0.0, LIFE_MAX_S))
        await judge_charges(url, witness, killed_ns)
        marks_seen += len(witness.marks)
        for member, units in witness.bought.items():
            bought[member] = bought.get(member, 0) + units
        if run % BOOKS_EVERY == BOOKS_EVERY - 1:
            await one_life(url, run + KILLS, 0.0)
            await judge_books(url)
    assert marks_seen > KILLS, "the victims lived long enough to be charged"
    await judge_purchases(url, bought)


async def judge_purchases(url: str, acknowledged: dict[str, int]) -> None:
    """Every acknowledged purchase is in the books: credits in = charged + left."""
    owned = "select owner, sum(units) from ledger_accounts where owner like 'member-%'"
    spent = "select member_id, sum(charged_units) from meter_sessions group by member_id"
    left = {member: int(str(units)) for member, units in await rows(url, f"{owned} group by owner")}
    charged = {member: int(str(units)) for member, units in await rows(url, spent)}
    for member, units in acknowledged.items():
        assert left[member] + charged.get(member, 0) >= units
