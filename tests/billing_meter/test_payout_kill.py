"""kill -9 at every point of a payout, one after the other: each expert is paid once, for once."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.database import Database
from billing_meter.statements import reconcile, verify
from tests.billing_meter import payout_victim as victim
from tests.stores import Store

pytestmark = pytest.mark.threads

REPO = Path(__file__).resolve().parents[2]
POINTS = 20
"""Five writes with three points each, a send with two, two look-ups; one more is past the end."""
VICTIMS_S = 120.0


@pytest.mark.slow
async def test_a_kill_at_any_point_pays_each_expert_once(databases: Store, tmp_path: Path) -> None:
    url, bank = await databases.fresh(), tmp_path / "bank"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.billing_meter.payout_victim", url, str(bank)),
        *(str(point) for point in range(POINTS)),
        cwd=REPO,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(VICTIMS_S):
        told, _ = await process.communicate()
    assert process.returncode == 0
    ends = [line.split() for line in told.decode().splitlines() if not line.startswith("points")]
    died = [int(code) for word, _, code in ends if word == "died"]
    assert len(died) == POINTS
    deaths = died.count(-signal.SIGKILL)
    assert died == [-signal.SIGKILL] * deaths + [0] * (POINTS - deaths), told.decode()
    assert deaths == POINTS - 1, f"{deaths} points: count again what a payout does"
    assert [code for word, _, code in ends if word == "lived"] == ["0"] * POINTS, told.decode()
    sent = [line.split()[0] for line in bank.read_text().splitlines()]
    assert len(sent) == len(set(sent)) == POINTS
    database = await Database.open(url)
    try:
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
        table = schema.accounts.c
        async with database.read() as connection:
            cleared = await connection.scalar(
                sa.select(table.units).where(table.account == ledger.PAYOUT_CLEARING)
            )
            states = (await connection.scalars(sa.select(schema.payouts.c.state))).all()
    finally:
        await database.close()
    assert cleared == POINTS * victim.PRICE_UNITS * 60 // 100
    assert states == ["paid"] * POINTS
