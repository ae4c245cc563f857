"""The rows of private sessions: opened, settled, always under an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from billing_meter import ledger, marks, schema
from billing_meter.ledger import Draw, Entry
from billing_meter.marks import Figures
from billing_meter.meter import Plan, SessionMeter, SessionOrder
from billing_meter.row_updates import Given, RowUpdates, checked
from billing_meter.shares import SESSION_COLUMNS, SessionShares
from billing_meter.tariff import Tariff

SESSION_CHARGE = "session_charge"
SESSION_HOLD = "session_hold"
NOTHING = Draw()


class Fenced(Exception):
    """Rows of these sessions belong to a later epoch, or are closed: this process lost them."""

    def __init__(self, session_ids: Sequence[str]) -> None:
        super().__init__(", ".join(session_ids))
        self.session_ids = tuple(session_ids)


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger knows of a session's money."""

    hold_id: str
    hold: Draw = NOTHING
    posted_units: int = 0
    expert_units: int = 0
    entries: int = 0
    last_charge: int | None = None
    """The number of its last transfer that charged anything."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """One session's step on the ledger: the entry to write and the books afterwards."""

    entry: Entry
    books: Books
    available: Draw


def settle(
    order: SessionOrder,
    epoch: int,
    books: Books,
    plan: Plan,
    available: Draw,
    transfer: int,
) -> Settlement | None:
    """Turn a plan into one balanced transfer, which will be number `transfer`; None when nothing
    moves.

    What was used comes out of the hold, promo first; a larger hold takes from the member, promo
    first; a smaller one gives back what it took last.
    """
    used = ledger.draw(plan.posted_units - books.posted_units, books.hold)
    if used is None:
        raise ValueError("more was charged than is held")
    rest = books.hold - used
    more = plan.hold_units - rest.units
    if more >= 0:
        moved = ledger.draw(more, available)
        if moved is None:
            raise ValueError("more was planned than is available")
    else:
        moved = Draw() - ledger.unwind(-more, rest)
    if not used.units and not moved.units:
        return None
    hold = rest + moved
    expert_units = plan.earned_units
    parts = ledger.member_parts(order.member_id, Draw() - moved)
    parts.append((ledger.held_account(order.member_id), hold.units - books.hold.units))
    parts += ledger.earned_parts(order.expert_id, used.units, expert_units - books.expert_units)
    entry = Entry(
        key=f"session:{order.session_id}:{epoch}:{books.entries + 1}",
        request_hash=ledger.request_hash(
            "session",
            {"posted": plan.posted_units, "hold": plan.hold_units, "entries": books.entries + 1},
        ),
        kind=SESSION_CHARGE if used.units else SESSION_HOLD,
        postings=ledger.postings_of(*parts),
        units=used.units,
        draw=used,
        member_id=order.member_id,
        expert_id=order.expert_id,
        subject=f"session:{order.session_id}",
        hold_id=books.hold_id,
    )
    last_charge = transfer if used.units else books.last_charge
    after = Books(
        books.hold_id, hold, plan.posted_units, expert_units, books.entries + 1, last_charge
    )
    return Settlement(entry, after, available - moved)


@dataclass(frozen=True, slots=True)
class Mark:
    """A session's row at one instant: what it used, and its money."""

    session_id: str
    epoch: int
    books: Books
    figures: Figures
    charged_units: int
    closed: str | None = None
    """The reason, when this mark closes the session."""


def figures_of(meter: SessionMeter, started_at_ms: int | None, at_ms: int) -> Figures:
    """What a session has used by now."""
    (private_s, held_ms), (cam_s, cam_ms), (audio_s, audio_ms) = meter.used()
    return Figures(at_ms, started_at_ms, private_s, held_ms, cam_s, cam_ms, audio_s, audio_ms)


_T = schema.sessions.c
_FIGURES = (*Figures._fields, "charged_units")
_BOOKS = (
    "state",
    "reason",
    "posted_units",
    "expert_units",
    "entries",
    "last_charge",
    "ended_at_ms",
)


def _update(columns: Sequence[str]) -> RowUpdates:
    def build(given: Given) -> sa.Update:
        mine = _T.session_id == given["b_session_id"]
        ours = sa.and_(mine, _T.epoch == given["b_epoch"], checked(_T.state) == "open")
        values = {name: given[f"b_{name}"] for name in columns}
        return sa.update(schema.sessions).where(ours).values(values)

    return RowUpdates(_types(schema.sessions, ("session_id", "epoch", *columns)), build)


def _types(table: sa.Table, columns: Iterable[str]) -> dict[str, TypeEngine[Any]]:
    return {f"b_{name}": table.c[name].type for name in columns}


_WRITE = _update(_FIGURES + _BOOKS)


def _row(mark: Mark) -> dict[str, Any]:
    books = mark.books
    figures = {f"b_{name}": value for name, value in mark.figures._asdict().items()}
    return figures | {
        "b_session_id": mark.session_id,
        "b_epoch": mark.epoch,
        "b_charged_units": mark.charged_units,
        "b_state": "open" if mark.closed is None else "closed",
        "b_reason": mark.closed,
        "b_posted_units": books.posted_units,
        "b_expert_units": books.expert_units,
        "b_entries": books.entries,
        "b_last_charge": books.last_charge,
        "b_ended_at_ms": None if mark.closed is None else mark.figures.marked_at_ms,
    }


async def write_marks(connection: AsyncConnection, rows: Sequence[Mark]) -> None:
    """Bring rows up to date with the transaction; Fenced when any row is not this epoch's."""
    if await _WRITE.run(connection, [_row(mark) for mark in rows]) != len(rows):
        raise Fenced(await _lost(connection, rows))


async def _lost(connection: AsyncConnection, written: Sequence[Mark]) -> list[str]:
    """Which rows are no longer ours; the closing marks of this very batch still are."""
    query = sa.select(_T.session_id, _T.epoch, _T.state, _T.marked_at_ms).where(
        _T.session_id.in_([mark.session_id for mark in written])
    )
    rows = {row.session_id: row for row in await connection.execute(query)}
    lost = []
    for mark in written:
        row = rows.get(mark.session_id)
        if row is None or row.epoch != mark.epoch or (row.state != "open" and not mark.closed):
            lost.append(mark.session_id)
    return lost or [mark.session_id for mark in written]


_HOLD = ("hold_id", "state", "promo_units", "paid_units", "posted_units", "closed_at_ms")


def _held(given: Given) -> sa.Update:
    table = schema.holds.c
    values = {name: given[f"b_{name}"] for name in _HOLD[1:]} | {
        "taken_units": table.taken_units + given["b_taken_units"],
        "returned_units": table.returned_units + given["b_returned_units"],
    }
    mine = table.hold_id == given["b_hold_id"]
    return sa.update(schema.holds).where(mine, checked(table.state) == "open").values(values)


_WRITE_HOLD = RowUpdates(_types(schema.holds, (*_HOLD, "taken_units", "returned_units")), _held)


def hold_change(before: Books, after: Books, closed: bool, at_ms: int) -> dict[str, Any]:
    """Parameters that bring a session's hold from one state of the books to the next."""
    used = after.posted_units - before.posted_units
    more = after.hold.units - (before.hold.units - used)
    return {
        "b_hold_id": before.hold_id,
        "b_state": "posted" if closed else "open",
        "b_promo_units": after.hold.promo,
        "b_paid_units": after.hold.paid,
        "b_posted_units": after.posted_units,
        "b_taken_units": max(0, more),
        "b_returned_units": max(0, -more),
        "b_closed_at_ms": at_ms if closed else None,
    }


async def write_holds(connection: AsyncConnection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Apply `hold_change` rows; a missing one is a broken book and rolls back."""
    if await _WRITE_HOLD.run(connection, changes) != len(changes):
        raise Fenced([str(change["b_hold_id"]) for change in changes])


def session_row(
    order: SessionOrder, node: str, epoch: int, page: int, shares: SessionShares, at_ms: int
) -> dict[str, Any]:
    """A session that has just been opened; its marks will be on `page`."""
    zeros = dict.fromkeys(
        (
            "private_s",
            "cam2cam_s",
            "two_way_audio_s",
            "held_ms",
            "cam2cam_held_ms",
            "two_way_audio_held_ms",
            "charged_units",
            "posted_units",
            "expert_units",
        ),
        0,
    )
    return zeros | {
        "session_id": order.session_id,
        "node": node,
        "epoch": epoch,
        "state": "open",
        "member_id": order.member_id,
        "expert_id": order.expert_id,
        "hold_id": order.session_id,
        **dict(zip(SESSION_COLUMNS, shares, strict=True)),
        "spend_limit_units": order.spend_limit_units,
        "private_units_per_s": order.tariff.private_units_per_s,
        "cam2cam_units_per_s": order.tariff.cam2cam_units_per_s,
        "two_way_audio_units_per_s": order.tariff.two_way_audio_units_per_s,
        "entries": 1,
        "page": page,
        "opened_at_ms": at_ms,
        "marked_at_ms": at_ms,
    }


async def raise_epoch(connection: AsyncConnection, node: str, at_ms: int) -> int:
    """Become the owner of the node's sessions; every earlier owner is fenced from now on."""
    table = schema.meter_owner
    result = await connection.execute(
        sa.update(table).where(table.c.node == node).values(epoch=table.c.epoch + 1, at_ms=at_ms)
    )
    if result.rowcount == 0:
        await connection.execute(sa.insert(table), [{"node": node, "epoch": 1, "at_ms": at_ms}])
    epoch = await connection.scalar(sa.select(table.c.epoch).where(table.c.node == node))
    return int(epoch or 0)


SWEPT_AT_MS = 0
"""In `meter_owner.at_ms`: the node was taken for dead and nobody owns it; it may begin anew."""


async def owner(connection: AsyncConnection, node: str) -> tuple[int, int] | None:
    """(epoch, when its owner wrote last) of a node."""
    table = schema.meter_owner
    query = sa.select(table.c.epoch, table.c.at_ms).where(table.c.node == node)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.epoch, row.at_ms)


async def owners_with_sessions(connection: AsyncConnection) -> list[tuple[str, int, int]]:
    """(node, epoch, when its owner wrote last) of the nodes that have open sessions."""
    table = schema.meter_owner
    has_open = sa.select(_T.session_id).where(_T.state == "open", _T.node == table.c.node).exists()
    rows = await connection.execute(
        sa.select(table.c.node, table.c.epoch, table.c.at_ms).where(has_open)
    )
    return [(row.node, row.epoch, row.at_ms) for row in rows]


async def beat_owner(connection: AsyncConnection, node: str, epoch: int, at_ms: int) -> bool:
    """The owner is alive; False when it is the owner no more."""
    table = schema.meter_owner
    result = await connection.execute(
        sa.update(table).where(table.c.node == node, table.c.epoch == epoch).values(at_ms=at_ms)
    )
    return result.rowcount == 1


async def fence_silent(connection: AsyncConnection, node: str, epoch: int, at_ms: int) -> bool:
    """Take a node from an owner that has not written since; False when it has."""
    table = schema.meter_owner
    result = await connection.execute(
        sa.update(table)
        .where(table.c.node == node, table.c.epoch == epoch, table.c.at_ms == at_ms)
        .values(epoch=epoch + 1, at_ms=SWEPT_AT_MS)
    )
    return result.rowcount == 1


async def read_books(
    connection: AsyncConnection, session_ids: Iterable[str]
) -> dict[str, tuple[str, Books]]:
    """State (`open` or `closed`) and books of sessions, as the database has them."""
    holds = schema.holds.c
    query = (
        sa.select(
            _T.session_id,
            _T.state,
            _T.hold_id,
            _T.posted_units,
            _T.expert_units,
            _T.entries,
            _T.last_charge,
            holds.promo_units,
            holds.paid_units,
        )
        .select_from(schema.sessions.join(schema.holds))
        .where(_T.session_id.in_(list(session_ids)))
    )
    found: dict[str, tuple[str, Books]] = {}
    for row in await connection.execute(query):
        hold = Draw(row.promo_units, row.paid_units)
        books = Books(
            row.hold_id, hold, row.posted_units, row.expert_units, row.entries, row.last_charge
        )
        found[row.session_id] = (row.state, books)
    return found


def order_of(row: Mapping[str, Any]) -> SessionOrder:
    """The order of a stored session."""
    tariff = Tariff(
        row["private_units_per_s"], row["cam2cam_units_per_s"], row["two_way_audio_units_per_s"]
    )
    return SessionOrder(
        row["session_id"], row["member_id"], row["expert_id"], tariff, row["spend_limit_units"]
    )


def mark_in(row: Mapping[str, Any], epoch: int, books: Books, closed: str) -> Mark:
    """Close a stored session at its own last durable mark."""
    figures = marks.of_row(row)
    return Mark(row["session_id"], epoch, books, figures, row["charged_units"], closed)
