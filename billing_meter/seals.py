"""The hash chain over the journal, written off the hot path: any later change of a row is seen.

A seal covers every transfer since the one before, with its postings, in number order. Sealing
reads what is committed, hashes in a thread and writes one row.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.database import Database

TRANSFERS_PER_SEAL = 5_000
"""Bounds the rows in memory; a seal of this many takes a few hundredths of a second."""
GENESIS = "0" * 64

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """How far the chain reaches, and the first seal that does not fit, if one does not."""

    sealed_transfers: int
    broken_seal: int | None


async def seal(database: Database, at_ms: int) -> int:
    """Seal what is committed now and not sealed yet; returns how many seals were written.

    When another sealer (a second process) was quicker, its seals stand and this one stops.
    """
    async with database.read() as connection:
        target = int(await connection.scalar(sa.select(schema.head.c.last_transfer)) or 0)
    written = 0
    while True:
        async with database.read() as connection:
            number, reached, digest = await _last(connection)
            last = min(target, reached + TRANSFERS_PER_SEAL)
            if last <= reached:
                return written
            heads, lines = await _rows(connection, reached + 1, last)
        digest = await asyncio.to_thread(chain, digest, heads, lines)
        row = {"seal": number + 1, "last_transfer": last, "digest": digest, "at_ms": at_ms}
        try:
            async with database.write() as connection:
                await connection.execute(sa.insert(schema.seals), [row])
        except IntegrityError:
            return written
        written += 1


async def check(connection: AsyncConnection) -> ChainCheck:
    """Recompute the whole chain inside one snapshot."""
    table = schema.seals
    query = sa.select(table.c.seal, table.c.last_transfer, table.c.digest).order_by(table.c.seal)
    digest, reached = GENESIS, 0
    for number, (seal_no, last, stored) in enumerate(
        (await connection.execute(query)).all(), start=1
    ):
        heads, lines = await _rows(connection, reached + 1, last)
        digest = await asyncio.to_thread(chain, digest, heads, lines)
        reaches = bool(heads) and heads[-1][0] == last
        if digest != stored or seal_no != number or not reaches:
            return ChainCheck(reached, seal_no)
        reached = last
    return ChainCheck(reached, None)


def chain(previous: str, heads: Rows, lines: Rows) -> str:
    """The next digest: SHA-256 over the one before and the canonical rows."""
    digest = hashlib.sha256(previous.encode())
    for row in (*heads, *lines):
        digest.update(json.dumps(list(row), separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


async def _last(connection: AsyncConnection) -> tuple[int, int, str]:
    table = schema.seals
    query = sa.select(table.c.seal, table.c.last_transfer, table.c.digest)
    row = (await connection.execute(query.order_by(table.c.seal.desc()).limit(1))).one_or_none()
    return (0, 0, GENESIS) if row is None else (row[0], row[1], row[2])


async def _rows(connection: AsyncConnection, first: int, last: int) -> tuple[Rows, Rows]:
    heads = sa.select(schema.transfers).where(schema.transfers.c.transfer.between(first, last))
    lines = sa.select(schema.postings).where(schema.postings.c.transfer.between(first, last))
    found = [tuple(row) for row in await connection.execute(heads)]
    posted = [tuple(row) for row in await connection.execute(lines)]
    # Ordered by us: a database may order text by the rules of a language, and those change.
    return sorted(found, key=lambda row: row[0]), sorted(posted, key=lambda row: row[:2])
