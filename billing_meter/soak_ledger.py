"""A large ledger: how long a balance and a page of history take among millions of transfers.

`python -m bench.meter --ledger 10000000` runs it and prints a table.

The transfers are made by the database itself, in the order in which many members' lives would have
made them: purchases, surprises, and private sessions of many charges. The books are whole: `verify`
and `reconcile` find nothing in them. Then members are asked about through the product's own code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateIndex, DropIndex

from billing_meter import schema
from billing_meter.database import METADATA, Database
from billing_meter.history import transactions
from billing_meter.wallet import Wallet, prepare_ledger

PER_MEMBER = 500
"""Transfers of one member."""
PER_SESSION = 30
"""Charges of one session: with grants of 32 s about eight minutes."""
EXPERTS = 200
CHARGE_UNITS = 2_990
EXPERT_UNITS = 1_794
"""60 %, without a remainder."""
PAGE_ITEMS = 31
"""A page of 30, and whether there is more."""
ASKED = 400
BATCH = 500_000
STEP_MS = 7

# Transfer t belongs to member t % members, as their j-th: j = t / members. The first is a purchase,
# each 31st after it a surprise, the others are charges of sessions of thirty.
_SHAPE = """
WITH RECURSIVE n (t) AS (SELECT {first} UNION ALL SELECT t + 1 FROM n WHERE t < {last}),
x (transfer, m, j) AS (SELECT t + 1, t % {members}, t / {members} FROM n)
"""
_IS_CHARGE = "j > 0 AND j % 31 > 0"
_KIND = "CASE WHEN j = 0 THEN 'purchase' WHEN j % 31 = 0 THEN 'surprise' ELSE 'session_charge' END"
_UNITS = "CASE WHEN j = 0 THEN {purchase} ELSE {charge} END"
_SESSION = "'m' || m || '-' || (j / 31)"
_HEADS = f"""
INSERT INTO ledger_transfers (transfer, key, request_hash, kind, outcome, member_id, expert_id,
    subject, units, promo_units, paid_units, hold_id, at_ms) {{shape}}
SELECT transfer, 'bench:' || (10000000000 + transfer), '{"0" * 64}', {_KIND}, 'posted',
    'member-' || m, CASE WHEN j > 0 THEN 'expert-' || (m % {{experts}}) END,
    CASE WHEN {_IS_CHARGE} THEN 'session:' || {_SESSION} ELSE 'bench' END,
    {_UNITS}, 0, {_UNITS}, CASE WHEN {_IS_CHARGE} THEN {_SESSION} END, transfer * {STEP_MS}
FROM x
"""
_LINES = """
INSERT INTO ledger_postings (transfer, account, units) {shape}
SELECT transfer, account, units FROM (
    SELECT transfer, 'member:member-' || m || ':paid' AS account,
        CASE WHEN j = 0 THEN {purchase} ELSE -{charge} END AS units FROM x
    UNION ALL
    SELECT transfer, 'expert:expert-' || (m % {experts}) || ':payable', {share} FROM x WHERE j > 0
    UNION ALL
    SELECT transfer, 'platform:revenue', {charge} - {share} FROM x WHERE j > 0
    UNION ALL
    SELECT transfer, 'platform:gateway_clearing', -{purchase} FROM x WHERE j = 0
) AS lines
"""
_SESSIONS = """
INSERT INTO meter_sessions (session_id, node, epoch, state, reason, member_id, expert_id, hold_id,
    share_percent, cam2cam_share_percent, two_way_audio_share_percent,
    private_units_per_s, cam2cam_units_per_s, two_way_audio_units_per_s,
    private_s, cam2cam_s, two_way_audio_s, held_ms, cam2cam_held_ms, two_way_audio_held_ms,
    charged_units, posted_units, expert_units, entries, opened_at_ms, started_at_ms, marked_at_ms,
    ended_at_ms, last_charge) {shape}
SELECT session_id, 'bench', 1, 'closed', 'member_left', 'member-' || m,
    'expert-' || (m % {experts}), session_id, 60, 60, 60, 299, 0, 0, charges * 10, 0, 0,
    charges * 10000, 0, 0, charges * {charge}, charges * {charge}, charges * {share}, charges,
    first * {step}, first * {step}, last * {step}, last * {step}, last FROM s
"""
_HOLDS = """
INSERT INTO ledger_holds (hold_id, member_id, state, promo_units, paid_units, taken_units,
    posted_units, returned_units, created_at_ms, closed_at_ms) {shape}
SELECT session_id, 'member-' || m, 'posted', 0, 0, charges * {charge}, charges * {charge}, 0,
    first * {step}, last * {step} FROM s
"""
# Session b of member m has the charges j = 31 b + 1 to 31 b + 30, as far as there are so many.
_SESSION_SHAPE = """
WITH RECURSIVE n (t) AS (SELECT 0 UNION ALL SELECT t + 1 FROM n WHERE t < {sessions} - 1),
p AS (SELECT t % {members} AS m, t / {members} AS b FROM n),
c AS (SELECT m, b, CASE WHEN 31 * b + 30 < {per} THEN 30 ELSE {per} - 31 * b - 1 END AS charges
    FROM p),
s AS (SELECT 'm' || m || '-' || b AS session_id, m, charges,
    (31 * b + 1) * {members} + m + 1 AS first, (31 * b + charges) * {members} + m + 1 AS last
    FROM c WHERE charges > 0)
"""
_NUMBERS = "WITH RECURSIVE n (t) AS (SELECT 0 UNION ALL SELECT t + 1 FROM n WHERE t < {last})"
_PEOPLE = (
    "INSERT INTO billing_members (member_id, created_at_ms) {members}"
    " SELECT 'member-' || t, 0 FROM n",
    "INSERT INTO billing_experts (expert_id, created_at_ms) {experts}"
    " SELECT 'expert-' || t, 0 FROM n",
    "INSERT INTO expert_shares (expert_id, private_percent, cam2cam_percent,"
    " two_way_audio_percent, surprise_percent, story_percent, content_percent, message_percent,"
    " group_percent) {experts} SELECT 'expert-' || t, 60, 60, 60, 60, 60, 60, 60, 60 FROM n",
    *(
        "INSERT INTO ledger_accounts (account, owner, units, may_be_negative) {members}"
        f" SELECT 'member:member-' || t || ':{bucket}', 'member-' || t, {units}, FALSE FROM n"
        for bucket, units in (("paid", "{paid}"), ("promo", 0), ("held", 0))
    ),
    "INSERT INTO ledger_accounts (account, owner, units, may_be_negative) {experts}"
    " SELECT 'expert:expert-' || t || ':payable', 'expert-' || t, {payable}, TRUE FROM n",
    "UPDATE ledger_accounts SET units = {revenue} WHERE account = 'platform:revenue'",
    "UPDATE ledger_accounts SET units = -{bought} WHERE account = 'platform:gateway_clearing'",
    "UPDATE ledger_head SET last_transfer = {transfers}",
)
_QUICK = {
    "sqlite": (
        "PRAGMA journal_mode=OFF",
        "PRAGMA synchronous=OFF",
        "PRAGMA cache_size=-1000000",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA threads=2",
    ),
    "postgresql": ("SET session_replication_role = replica", "SET synchronous_commit = off"),
}
"""For the filling only: nothing of it is lost when it is lost."""


def statements(transfers: int, per_member: int) -> list[str]:
    """What fills a ledger that has its tables; `transfers` is a multiple of both other numbers."""
    members = transfers // per_member
    debits = transfers - members
    purchase = 2 * per_member * CHARGE_UNITS
    names = {
        "members": members,
        "experts": EXPERTS,
        "per": per_member,
        "sessions": members * (per_member // 31 + 1),
        "charge": CHARGE_UNITS,
        "share": EXPERT_UNITS,
        "step": STEP_MS,
        "purchase": purchase,
    }
    made = []
    for first in range(0, transfers, BATCH):
        last = min(first + BATCH, transfers) - 1
        shape = _SHAPE.format(first=first, last=last, **names)
        made += [text.format(shape=shape, **names) for text in (_HEADS, _LINES)]
    shape = _SESSION_SHAPE.format(**names)
    made += [text.format(shape=shape, **names) for text in (_HOLDS, _SESSIONS)]
    numbers = {
        "members": _NUMBERS.format(last=members - 1),
        "experts": _NUMBERS.format(last=EXPERTS - 1),
        "paid": purchase - (per_member - 1) * CHARGE_UNITS,
        "payable": debits // EXPERTS * EXPERT_UNITS,
        "revenue": debits * (CHARGE_UNITS - EXPERT_UNITS),
        "bought": members * purchase,
        "transfers": transfers,
    }
    return [*made, *(text.format(**numbers) for text in _PEOPLE)]


async def fill(url: str, transfers: int, per_member: int) -> None:
    """Tables, rows, and then the indexes, which are quicker to make at once."""
    database = await Database.open(url)
    async with database.write() as connection:
        await connection.run_sync(METADATA.create_all, tables=list(schema.TABLES))
    await prepare_ledger(database)
    await database.close()
    engine = create_async_engine(url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
    indexes = [*schema.transfers.indexes, *schema.sessions.indexes]
    async with engine.connect() as connection:
        for text in _QUICK[engine.dialect.name]:
            await connection.exec_driver_sql(text)
        for index in indexes:
            await connection.execute(DropIndex(index))
        for text in statements(transfers, per_member):
            await connection.exec_driver_sql(text)
        for index in indexes:
            await connection.execute(CreateIndex(index))
        if engine.dialect.name == "postgresql":
            # As a server does by itself in time: who reads a row first does not settle its state.
            await connection.exec_driver_sql("VACUUM (ANALYZE)")
    await engine.dispose()


async def _timed(ask: Callable[[int], Awaitable[Any]], members: Sequence[int]) -> dict[str, Any]:
    took_s = []
    cpu_s = time.process_time()
    for member in members:
        began_s = time.perf_counter()
        await ask(member)
        took_s.append(time.perf_counter() - began_s)
    cpu_s = time.process_time() - cpu_s
    cuts = statistics.quantiles(took_s, n=100, method="inclusive")
    return {
        "ms_p50": round(cuts[49] * 1_000, 2),
        "ms_p99": round(cuts[98] * 1_000, 2),
        "ms_max": round(max(took_s) * 1_000, 2),
        "cpu_ms": round(cpu_s * 1_000 / len(took_s), 2),
    }


def forget_files(folder: Path) -> None:
    """Have the system keep nothing of these files in memory: who reads next waits for the disk."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.fdatasync(descriptor)  # what is not on the disk yet cannot be forgotten
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


async def ask(
    url: str, transfers: int, per_member: int, folder: Path | None
) -> list[dict[str, Any]]:
    """Ask about random members, with cold pages if they lie below `folder`, then once more."""
    database = await Database.open(url)
    wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
    chance = random.Random(transfers)
    count = transfers // per_member

    async def balance(member: int) -> None:
        found = await wallet.balance(f"member-{member}")
        if found.posted != 2 * per_member * CHARGE_UNITS - (per_member - 1) * CHARGE_UNITS:
            raise RuntimeError("a balance is wrong")

    async def newest(member: int) -> None:
        await page(member, None)

    async def older(member: int) -> None:
        await page(member, per_member * 3 // 4 * count + member + 1)

    async def page(member: int, before: int | None) -> None:
        lines = await transactions(database, f"member-{member}", before=before, limit=PAGE_ITEMS)
        if not lines:
            raise RuntimeError("a page is empty")

    results = []
    for name, way in (("balance", balance), ("newest page", newest), ("older page", older)):
        asked = [chance.randrange(count) for _ in range(ASKED)]
        await way(0)  # a connection and its statements are nobody's first question
        if folder is not None:
            await asyncio.to_thread(forget_files, folder)
        for pages in ("cold", "warm"):
            found = {"asked for": name, "pages": pages, "transfers": transfers}
            results.append(found | await _timed(way, asked))
    await database.close()
    return results


async def measure(
    transfers: int, per_member: int, directory: Path | None, url: str | None
) -> list[dict[str, Any]]:
    """Fill a ledger and ask; a server's files are below `directory`."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        address = url or f"sqlite+aiosqlite:///{folder}/ledger.db"
        began_s = time.perf_counter()
        await fill(address, transfers, per_member)
        filled = {"of each member": per_member, "filled_s": round(time.perf_counter() - began_s, 1)}
        files = directory if url else Path(folder)
        return [result | filled for result in await ask(address, transfers, per_member, files)]


def main() -> None:
    """Command line; one JSON list."""
    parser = argparse.ArgumentParser(description="A ledger of many transfers.")
    parser.add_argument("--transfers", type=int, default=10_000_000)
    parser.add_argument("--per-member", type=int, default=PER_MEMBER)
    parser.add_argument("--dir", type=Path, help="where the database's files are")
    parser.add_argument("--url", help="another database than SQLite; empty")
    options = parser.parse_args()
    unit = options.per_member * EXPERTS
    transfers = max(1, options.transfers // unit) * unit
    print(json.dumps(uvloop.run(measure(transfers, options.per_member, options.dir, options.url))))


if __name__ == "__main__":
    main()
