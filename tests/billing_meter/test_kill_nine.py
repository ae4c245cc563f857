"""kill -9 at random instants of live sessions, two hundred times.

After every restart: each session is settled to its last durable second, which is never later than
its media; its hold is back; nothing acknowledged is lost; the books are clean.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from billing_meter.database import Database
from billing_meter.statements import reconcile, verify
from tests.billing_meter import kill_nine_victim as victim

REPO = Path(__file__).resolve().parents[2]
LANES = 2
KILLS_PER_LANE = 100
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


async def one_life(database: Path, run: int, life_s: float) -> tuple[Witness, int]:
    """Start, let it recover, check nothing, let it live, kill it; (what it said, killed at)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.billing_meter.kill_nine_victim", str(database), str(run)),
        cwd=REPO,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    witness = Witness()
    witness.hear((await process.stdout.readline()).decode())
    if run:
        judge_settled(database)
    process.stdin.write(b"live\n")
    await process.stdin.drain()
    await asyncio.sleep(life_s)  # the instant of death is the point of the test
    process.send_signal(signal.SIGKILL)
    killed_ns = time.monotonic_ns() * victim.SPEED
    rest = await process.stdout.read()
    await process.wait()
    for line in rest.decode().splitlines():
        witness.hear(line)
    return witness, killed_ns


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """Read from outside, as an accountant."""
    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


def judge_settled(database: Path) -> None:
    """After recovery nothing is open, nothing is held, the books sum to zero."""
    assert rows(database, "select count(*) from meter_sessions where state = 'open'") == [(0,)]
    assert rows(
        database, "select coalesce(sum(units), 0) from ledger_accounts where account like '%:held'"
    ) == [(0,)]
    assert rows(database, "select sum(units) from ledger_accounts") == [(0,)]
    unposted = "select count(*) from meter_sessions where posted_units <> charged_units"
    assert rows(database, unposted) == [(0,)]


def judge_charges(database: Path, witness: Witness, killed_ns: int) -> None:
    """No acknowledged second lost, no second charged after the media."""
    charged = dict(rows(database, "select session_id, charged_units from meter_sessions"))
    private_s = dict(rows(database, "select session_id, private_s from meter_sessions"))
    for session, units in witness.marks.items():
        assert int(str(charged[session])) >= units, f"{session} lost an acknowledged mark"
    for session, opened_ns in witness.opened_ns.items():
        media_s = (killed_ns - opened_ns) // NS_PER_S
        assert int(str(private_s.get(session, 0))) <= media_s, f"{session} was charged too much"
        assert int(str(charged.get(session, 0))) <= media_s * DEAREST_UNITS_PER_S


async def judge_books(database: Path) -> None:
    """`ledger verify` and `reconcile` find nothing."""
    store = await Database.open(f"sqlite+aiosqlite:///{database}")
    try:
        assert (await verify(store)).findings == ()
        assert (await reconcile(store)).findings == ()
    finally:
        await store.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)  # a lane starts Python a hundred times: a busy machine needs 10 min
@pytest.mark.parametrize("lane", range(LANES))
async def test_kill_nine_never_bills_too_much_and_loses_nothing(tmp_path: Path, lane: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"lane {lane}: seed {seed}")
    chance = random.Random(seed)
    database = tmp_path / "money.db"
    bought: dict[str, int] = {}
    marks_seen = 0
    for run in range(KILLS_PER_LANE):
        witness, killed_ns = await one_life(database, run, chance.uniform(0.0, LIFE_MAX_S))
        judge_charges(database, witness, killed_ns)
        marks_seen += len(witness.marks)
        for member, units in witness.bought.items():
            bought[member] = bought.get(member, 0) + units
        if run % BOOKS_EVERY == BOOKS_EVERY - 1:
            await one_life(database, run + KILLS_PER_LANE, 0.0)
            await judge_books(database)
    assert marks_seen > KILLS_PER_LANE, "the victims lived long enough to be charged"
    judge_purchases(database, bought)


def judge_purchases(database: Path, acknowledged: dict[str, int]) -> None:
    """Every acknowledged purchase is in the books: credits in = charged + left."""
    owned = dict(
        rows(
            database,
            "select owner, sum(units) from ledger_accounts where owner like 'member-%'"
            " group by owner",
        )
    )
    charged = dict(
        rows(
            database,
            "select member_id, sum(charged_units) from meter_sessions group by member_id",
        )
    )
    for member, units in acknowledged.items():
        assert int(str(owned[member])) + int(str(charged.get(member, 0))) >= units
