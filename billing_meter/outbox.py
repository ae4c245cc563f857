"""The outbox: mails as rows, written in the transaction that causes them, delivered by a worker.

A row is claimed by a guarded update that is committed before the mail goes out; the claim counts
the try and ends by itself, so that a process that died leaves nothing stuck. What may happen
twice (accepted by the server, dead before that was noted) carries the same Message-ID twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema

CLAIM_MS = 5 * 60_000
"""How long a claimed row is left alone; longer than any delivery may take."""
PAUSE_FIRST_MS = 60_000
PAUSE_GROWTH = 4
PAUSE_MAX_MS = 6 * 60 * 60_000
"""Pauses after tries: 1 min, 4 min, 16 min, about an hour, four hours, then six."""
TRIES_MAX = 10
"""About 30 hours of trying; mail servers themselves give up after days, people much earlier."""
AGE_MAX_MS = 3 * 24 * 60 * 60_000
"""Older news is not sent any more: mail switched on later must not tell of last year."""
ERROR_CHARS_MAX = 200
"""What is kept of a server's reply."""

Facts = Mapping[str, str | int | None]
MailState = Literal["waiting", "sent", "dead"]
_O = schema.outbox.c


@dataclass(frozen=True, slots=True)
class Mail:
    """One claimed row. `facts` are what its text is made of, frozen when it was queued."""

    event_id: str
    kind: str
    member_id: str
    facts: Facts
    at_ms: int
    tries: int
    """The try that the claim stands for, from 1."""
    message_id: str
    """What stands left of the @ of its Message-ID; the same at every try."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One row as operators see it: neither who gets it nor what it says."""

    event_id: str
    kind: str
    state: MailState
    tries: int
    at_ms: int
    next_at_ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """How the outbox stands: what waits, since when the oldest of it is due, what is given up."""

    waiting: int
    dead: int
    overdue_ms: int


async def queue(
    connection: AsyncConnection,
    kind: str,
    member_id: str,
    subject: str,
    facts: Facts,
    at_ms: int,
) -> None:
    """Queue a mail in the caller's transaction. The same kind and subject a second time is a bug
    of the caller (IntegrityError): it must be guarded like the money that it tells of."""
    row = {
        "event_id": f"{kind}:{subject}",
        "kind": kind,
        "member_id": member_id,
        "facts": json.dumps(dict(facts), sort_keys=True),
        "at_ms": at_ms,
        "state": "waiting",
        "tries": 0,
        "next_at_ms": at_ms,
    }
    await connection.execute(sa.insert(schema.outbox), [row])


async def is_due(connection: AsyncConnection, now_ms: int) -> bool:
    """Whether anything waits to be sent now."""
    query = sa.select(_O.event_id).where(_O.state == "waiting", _O.next_at_ms <= now_ms).limit(1)
    return await connection.scalar(query) is not None


async def claim(connection: AsyncConnection, now_ms: int, new_message_id: str) -> Mail | None:
    """Take the oldest mail that is due. A person's mails keep their order: a later one waits.

    `new_message_id` becomes the row's own at its first claim.
    """
    earlier = schema.outbox.alias("earlier")
    older = sa.or_(
        earlier.c.at_ms < _O.at_ms,
        sa.and_(earlier.c.at_ms == _O.at_ms, earlier.c.event_id < _O.event_id),
    )
    ahead = sa.select(earlier.c.event_id).where(
        earlier.c.member_id == _O.member_id, earlier.c.state == "waiting", older
    )
    query = (
        sa.select(schema.outbox)
        .where(_O.state == "waiting", _O.next_at_ms <= now_ms, ~ahead.exists())
        .order_by(_O.next_at_ms, _O.event_id)
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    message_id = row["message_id"] or new_message_id
    taken = await connection.execute(
        sa.update(schema.outbox)
        .where(_O.event_id == row["event_id"], _O.state == "waiting", _O.tries == row["tries"])
        .values(tries=row["tries"] + 1, next_at_ms=now_ms + CLAIM_MS, message_id=message_id)
    )
    if taken.rowcount != 1:
        return None
    return Mail(
        event_id=row["event_id"],
        kind=row["kind"],
        member_id=row["member_id"],
        facts=json.loads(row["facts"]),
        at_ms=row["at_ms"],
        tries=row["tries"] + 1,
        message_id=message_id,
    )


async def delivered(connection: AsyncConnection, mail: Mail, now_ms: int) -> bool:
    """A server took it; False if another claim has come since."""
    return await _end(connection, mail, {"state": "sent", "error": None, "sent_at_ms": now_ms})


async def bury(connection: AsyncConnection, mail: Mail, error: str) -> bool:
    """It will never be sent; `error` says why, for operators."""
    return await _end(connection, mail, {"state": "dead", "error": error[:ERROR_CHARS_MAX]})


async def postpone(connection: AsyncConnection, mail: Mail, error: str, now_ms: int) -> str:
    """It may be sent later, after a pause that grows; gives the state: `waiting` or `dead`."""
    if mail.tries >= TRIES_MAX:
        await bury(connection, mail, error)
        return "dead"
    next_at_ms = now_ms + pause_ms(mail.tries)
    await _end(connection, mail, {"next_at_ms": next_at_ms, "error": error[:ERROR_CHARS_MAX]})
    return "waiting"


def pause_ms(tries: int) -> int:
    """How long to wait after this many failed tries."""
    grown: int = PAUSE_FIRST_MS * PAUSE_GROWTH ** (tries - 1)
    return min(grown, PAUSE_MAX_MS)


async def states(connection: AsyncConnection, event_ids: Iterable[str]) -> Mapping[str, str]:
    """What became of mails: event id → `waiting`, `sent` or `dead`."""
    query = sa.select(_O.event_id, _O.state).where(_O.event_id.in_(list(event_ids)))
    return {row.event_id: row.state for row in await connection.execute(query)}


async def of_state(connection: AsyncConnection, state: MailState, limit: int) -> Sequence[Kept]:
    """Rows of one state, the newest first."""
    columns = [_O[name] for name in Kept.__slots__]
    query = sa.select(*columns).where(_O.state == state).order_by(_O.at_ms.desc(), _O.event_id)
    rows = await connection.execute(query.limit(limit))
    return [Kept(**row) for row in rows.mappings()]


async def revive(connection: AsyncConnection, now_ms: int, event_id: str | None = None) -> int:
    """Let dead mails be tried anew, one or all of them; how many. Those too old to be news stay."""
    mine = [] if event_id is None else [_O.event_id == event_id]
    result = await connection.execute(
        sa.update(schema.outbox)
        .where(_O.state == "dead", _O.at_ms >= now_ms - AGE_MAX_MS, *mine)
        .values(state="waiting", tries=0, next_at_ms=now_ms)
    )
    return result.rowcount


async def figures(connection: AsyncConnection, now_ms: int) -> Figures:
    """Counted over an index; what was sent is not looked at, however much it is."""
    query = (
        sa.select(_O.state, sa.func.count(), sa.func.min(_O.next_at_ms))
        .where(_O.state.in_(["waiting", "dead"]))
        .group_by(_O.state)
    )
    found = {state: (count, first) for state, count, first in await connection.execute(query)}
    waiting, first_ms = found.get("waiting", (0, now_ms))
    return Figures(waiting, found.get("dead", (0, 0))[0], max(0, now_ms - first_ms))


async def _end(connection: AsyncConnection, mail: Mail, values: Mapping[str, object]) -> bool:
    result = await connection.execute(
        sa.update(schema.outbox)
        .where(_O.event_id == mail.event_id, _O.state == "waiting", _O.tries == mail.tries)
        .values(dict(values))
    )
    return result.rowcount == 1
