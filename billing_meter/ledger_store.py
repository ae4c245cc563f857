"""The ledger in SQL: transfers with permanent keys, written with their postings and balances.

Every change of a balance is one relative, guarded UPDATE (`units + delta >= 0`), backed by a CHECK
constraint; what a plan read before it is only a plan. After the commit the new balances of the
members concerned are published.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, limits_rows, schema, share_rows
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger import (
    Debit,
    Draw,
    Entry,
    Hold,
    Outcome,
    PayDebt,
    Posted,
    PostHold,
    PromoGrant,
    Purchase,
    Refused,
    Request,
    Reverse,
    TakeBack,
    VoidHold,
)
from billing_meter.ledger_entries import (
    CREDIT_KINDS,
    FINAL_KINDS,
    credit_entry,
    debit_entry,
    entry_of,
    head_row,
    outcome_of,
    resolve_entry,
    reversal_entry,
)
from billing_meter.ledger_rows import (
    Balance,
    GuardFailed,
    hold_row,
    insert_rows,
    move_balances,
    open_account,
    read_balances,
    read_buckets,
    read_debt,
)
from billing_meter.limits import Limits, counted_units, spends
from billing_meter.meter_types import FUNDS_CODES, UNLIMITED, FundsCode, Leeway
from billing_meter.row_reads import RowReads
from billing_meter.row_updates import ROWS_PER_STATEMENT, RowInserts
from billing_meter.shares import Shares

__all__ = [
    "ROWS_PER_STATEMENT",
    "Balance",
    "BalanceListener",
    "Funds",
    "GuardFailed",
    "LedgerStore",
    "LedgerTransaction",
    "hold_row",
    "insert_rows",
    "move_balances",
    "read_balances",
    "read_buckets",
    "utc_ms",
]

_HEADS, _LINES = RowInserts(schema.transfers), RowInserts(schema.postings)
_NUMBERS = (
    sa.update(schema.head)
    .values(last_transfer=schema.head.c.last_transfer + sa.bindparam("count", type_=sa.Integer()))
    .returning(schema.head.c.last_transfer)
)
_KNOWN = RowReads(sa.select(schema.transfers), schema.transfers.c.key)
BalanceListener = Callable[[str, Balance], None]
LeewayListener = Callable[[str, Leeway], None]


@dataclass(frozen=True, slots=True)
class Funds:
    """What a member can spend now, by bucket, and what their own limits let them spend of it."""

    available: Draw
    leeway: Leeway = UNLIMITED

    def refusal(self, units: int) -> FundsCode | None:
        """Why `units` cannot be taken, or None. A limit is told before an empty balance."""
        if self.leeway.units is not None and units > self.leeway.units:
            return FUNDS_CODES[self.leeway.end]
        return None if units <= self.available.units else "insufficient_credits"

    def left(self, available: Draw) -> Funds:
        """After a step that leaves `available`."""
        return Funds(available, self.leeway.taken(self.available.units - available.units))


def utc_ms(moment: datetime) -> int:
    """Whole UTC milliseconds since the epoch, without a float in between."""
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000 + moment.microsecond // 1_000


class LedgerStore:
    """All transfers go through here, one transaction at a time."""

    def __init__(self, database: Database, *, utc_now: Callable[[], datetime]) -> None:
        self.database = database
        self._utc_now = utc_now
        self._listeners: list[BalanceListener] = []
        self._leeway_listeners: list[LeewayListener] = []
        self.on_standing: Callable[[str], None] = lambda member_id: None
        """Called after a commit that changed what a member's purchases give them."""

    def listen(self, listener: BalanceListener) -> None:
        """Call `listener(member_id, balance)` after every commit that changed a member."""
        self._listeners.append(listener)

    def listen_leeway(self, listener: LeewayListener) -> None:
        """Call `listener(member_id, leeway)` after every commit that changed a member's limits
        or what is left of them, after the balances."""
        self._leeway_listeners.append(listener)

    def now_ms(self) -> int:
        """UTC label for rows."""
        return utc_ms(self._utc_now())

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[LedgerTransaction]:
        """One durable transaction; its callbacks and the new balances follow the commit."""
        async with self.database.write() as connection:
            transaction = LedgerTransaction(connection, self.now_ms())
            yield transaction
            balances = await read_balances(connection, transaction.touched)
        for callback in transaction.after_commit:
            callback()
        for member_id in transaction.standings:
            self.on_standing(member_id)
        self.publish(balances)
        for member_id, leeway in transaction.leeways.items():
            for listener in self._leeway_listeners:
                listener(member_id, leeway)

    async def execute(self, request: Request) -> Outcome:
        """One request in its own transaction. A stale plan cannot happen under the one writer.

        When the connection is lost, it is asked once more: its key tells whether it took effect.
        """
        try:
            return await self._execute(request)
        except DatabaseUnavailable as error:
            if not error.lost:
                raise
        return await self._execute(request)

    async def _execute(self, request: Request) -> Outcome:
        async with self.transaction() as transaction:
            return await transaction.execute(request)

    def publish(self, balances: Mapping[str, Balance]) -> None:
        """Tell every listener; only for balances that are committed."""
        for member_id, balance in balances.items():
            for listener in self._listeners:
                listener(member_id, balance)

    async def expire_holds(self) -> int:
        """Void every open hold whose time has come; returns how many."""
        query = sa.select(schema.holds.c.hold_id).where(
            schema.holds.c.state == "open", schema.holds.c.expires_at_ms <= self.now_ms()
        )
        async with self.database.read() as connection:
            due = (await connection.scalars(query)).all()
        expired = 0
        for hold_id in due:
            request = VoidHold(f"expire:{hold_id}", hold_id, "expired")
            async with self.transaction() as transaction:
                outcome = await transaction.execute(request, hold_state="expired")
            expired += isinstance(outcome, Posted)
        return expired


class LedgerTransaction:
    """The rules against the rows, inside one open transaction."""

    def __init__(self, connection: AsyncConnection, at_ms: int) -> None:
        self.connection = connection
        self.at_ms = at_ms
        self.touched: set[str] = set()
        self._next: int | None = None
        self.standings: dict[str, None] = {}
        """Members whose purchases or premium changed."""
        self.after_commit: list[Callable[[], None]] = []
        """Called in order once the commit is durable, before balances are published."""
        self.leeways: dict[str, Leeway] = {}
        """Members whose limits, or what is left of them, this transaction changes."""
        self._limits: dict[str, Limits | None] = {}

    async def execute(self, request: Request, *, hold_state: str | None = None) -> Outcome:
        """Plan and write one request, or give the outcome that its key already has."""
        ledger.checked(request)
        known = await self.known([request])
        if known:
            return known[request.key]
        match request:
            case Purchase() | PromoGrant():
                planned: Entry | str = credit_entry(request)
                member_id: str | None = request.member_id
            case Debit():
                planned, member_id = await self._debit(request), request.member_id
            case Hold():
                planned, member_id = await self._hold(request), request.member_id
            case PostHold():
                planned, member_id = await self._resolve(request, hold_state or "posted")
            case VoidHold():
                planned, member_id = await self._resolve(request, hold_state or "voided")
            case Reverse():
                planned, member_id = await self._reverse(request)
            case TakeBack():
                planned, member_id = await self._take_back(request)
            case PayDebt():
                planned, member_id = await self._pay_debt(request), request.member_id
        if isinstance(planned, str):
            await self.write([ledger.refusal_entry(request, planned, member_id)])
            return Refused(planned)
        first = await self.write([planned])
        return Posted(first, planned.units, planned.draw)

    async def funds(self, member_ids: Sequence[str]) -> dict[str, Funds]:
        """What members can spend until the transaction ends: every debit asks this."""
        buckets = await read_buckets(self.connection, member_ids)
        unread = [member_id for member_id in member_ids if member_id not in self._limits]
        found = await limits_rows.read_limits(self.connection, unread, self.at_ms)
        self._limits |= {member_id: found.get(member_id) for member_id in unread}
        funds = {}
        for member_id, available in buckets.items():
            limits = self._limits[member_id]
            funds[member_id] = Funds(available, UNLIMITED if limits is None else limits.leeway)
        return funds

    async def limits(self, member_id: str) -> Limits | None:
        """A member's limits as they are now; None for members who never set any."""
        await self.funds([member_id])
        return self._limits[member_id]

    async def _count(self, counted: Mapping[str, int]) -> None:
        """Move the windows of limited members; whatever was planned, none passes its limit."""
        before = {m: limits for m in counted if (limits := self._limits[m]) is not None}
        after: dict[str, Limits] = {}
        for member_id, limits in before.items():
            counting = limits.counting(counted[member_id])
            if counting is None:
                raise GuardFailed("a spend limit would be passed")
            after[member_id] = counting
            self.leeways[member_id] = counting.leeway
        await limits_rows.count(self.connection, before, after)
        self._limits |= after

    async def write(self, entries: Sequence[Entry]) -> int:
        """Write finished transfers and move the balances; returns the first one's number."""
        counted: dict[str, int] = {}
        for entry in entries:
            # Also what only turns held into spent: it may be the first of a new window.
            if entry.member_id is not None and spends(entry):
                before = counted.get(entry.member_id, 0)
                counted[entry.member_id] = before + counted_units(entry)
        unread = [member_id for member_id in counted if member_id not in self._limits]
        if unread:
            await self.funds(unread)
        await self._count(counted)
        first = await self._number(len(entries))
        heads = [head_row(first + n, entry, self.at_ms) for n, entry in enumerate(entries)]
        lines = [
            {"transfer": first + n, "account": account, "units": units}
            for n, entry in enumerate(entries)
            for account, units in entry.postings.items()
        ]
        await _HEADS.run(self.connection, heads)
        await move_balances(self.connection, ledger.account_deltas(entries))
        await _LINES.run(self.connection, lines)
        self.touched.update(e.member_id for e in entries if e.member_id and e.postings)
        return first

    async def next_transfer(self) -> int:
        """The number that the next transfer of this transaction gets."""
        if self._next is None:
            column = schema.head.c.last_transfer
            last: int = await self.connection.scalar(sa.select(column).with_for_update()) or 0
            self._next = last + 1
        return self._next

    async def _number(self, count: int) -> int:
        last = await self.connection.scalar(_NUMBERS, {"count": count})
        if last is None:
            raise GuardFailed("the ledger was never prepared")
        self._next = int(last) + 1
        return self._next - count

    async def known(self, requests: Sequence[Request]) -> dict[str, Outcome]:
        """What the keys of these requests stand for already."""
        by_key = {request.key: request for request in requests}
        found: dict[str, Outcome] = {}
        for known in await _KNOWN.rows(self.connection, sorted(by_key)):
            row = known._mapping
            outcome = found[row["key"]] = outcome_of(dict(row), by_key[row["key"]])
            if isinstance(outcome, Posted):
                # Who asks again may not have heard the first time, nor have those who listen.
                self.touched.add(row["member_id"])
        return found

    async def _debit(self, request: Debit) -> Entry | str:
        funds = (await self.funds([request.member_id]))[request.member_id]
        drawn = ledger.draw(request.units, funds.available)
        refusal = funds.refusal(request.units)
        if drawn is None or refusal is not None:
            return refusal or "insufficient_credits"
        return debit_entry(request, drawn, await self._share_percent(request))

    async def _hold(self, request: Hold) -> Entry | str:
        funds = (await self.funds([request.member_id]))[request.member_id]
        drawn = ledger.draw(request.units, funds.available)
        refusal = funds.refusal(request.units)
        if drawn is None or refusal is not None:
            return refusal or "insufficient_credits"
        row = hold_row(request.hold_id, request.member_id, drawn, self.at_ms)
        row["expires_at_ms"] = request.expires_at_ms
        await self.connection.execute(sa.insert(schema.holds), [row])
        parts = ledger.member_parts(request.member_id, Draw() - drawn)
        parts.append((ledger.held_account(request.member_id), drawn.units))
        return entry_of(
            request,
            "hold",
            parts,
            drawn,
            request.units,
            member_id=request.member_id,
            hold_id=request.hold_id,
        )

    async def _resolve(
        self, request: PostHold | VoidHold, state: str
    ) -> tuple[Entry | str, str | None]:
        table = schema.holds
        query = sa.select(table).where(table.c.hold_id == request.hold_id).with_for_update()
        row = (await self.connection.execute(query)).mappings().one_or_none()
        if row is None:
            return "hold_unknown", None
        member_id: str = row["member_id"]
        if row["state"] != "open":
            return f"hold_{row['state']}", member_id
        # Overdue but not swept yet counts as expired: a late post must not depend on the sweeper.
        overdue = row["expires_at_ms"] is not None and row["expires_at_ms"] <= self.at_ms
        if overdue and state == "posted":
            return "hold_expired", member_id
        inside = Draw(row["promo_units"], row["paid_units"])
        used_units = request.units if isinstance(request, PostHold) else 0
        used = ledger.draw(used_units, inside)
        if used is None:
            return "exceeds_hold", member_id
        rest = inside - used
        change = {
            "state": state,
            "promo_units": 0,
            "paid_units": 0,
            "posted_units": row["posted_units"] + used.units,
            "returned_units": row["returned_units"] + rest.units,
            "closed_at_ms": self.at_ms,
        }
        await self.connection.execute(
            sa.update(table).where(table.c.hold_id == request.hold_id).values(change)
        )
        percent = 0
        if isinstance(request, PostHold):
            percent = await self._share_percent(request)
        return resolve_entry(request, member_id, inside, used, percent), member_id

    async def _reverse(self, request: Reverse) -> tuple[Entry | str, str | None]:
        table = schema.transfers
        query = sa.select(table).where(table.c.transfer == request.transfer).with_for_update()
        row = (await self.connection.execute(query)).mappings().one_or_none()
        if row is None or row["outcome"] != "posted" or row["kind"] in FINAL_KINDS:
            return "not_reversible", None
        member_id: str = row["member_id"]
        lines = await self._postings(request.transfer)
        done = await self._reversed(request.transfer)
        if done.units + request.units > row["units"]:
            return "exceeds_transfer", member_id
        entry = reversal_entry(request, dict(row), lines, done)
        if row["kind"] in CREDIT_KINDS:
            available = (await read_buckets(self.connection, [member_id]))[member_id]
            if entry.draw.promo > available.promo or entry.draw.paid > available.paid:
                return "insufficient_credits", member_id
        return entry, member_id

    async def _take_back(self, request: TakeBack) -> tuple[Entry | str, str | None]:
        table = schema.transfers
        query = sa.select(table).where(table.c.transfer == request.transfer).with_for_update()
        row = (await self.connection.execute(query)).mappings().one_or_none()
        if row is None or row["outcome"] != "posted" or row["kind"] != "purchase":
            return "not_reversible", None
        member_id: str = row["member_id"]
        if await self.taken_back(request.transfer) + request.units > row["units"]:
            return "exceeds_transfer", member_id
        available = (await read_buckets(self.connection, [member_id]))[member_id]
        there = min(request.units, available.paid)
        debt = ledger.debt_account(member_id)
        if there < request.units:
            await open_account(self.connection, debt, member_id, may_be_negative=True)
        parts = [
            *ledger.member_parts(member_id, Draw(paid=-there)),
            (debt, there - request.units),
            (ledger.GATEWAY_CLEARING, request.units),
        ]
        drawn = Draw(paid=request.units)  # as the purchase had given them, all paid
        entry = entry_of(
            request,
            request.kind,
            parts,
            drawn,
            request.units,
            member_id=member_id,
            reverses=request.transfer,
        )
        return entry, member_id

    async def taken_back(self, transfer: int) -> int:
        """What was taken back of a purchase and not given again since."""
        given_again = schema.transfers.alias()
        taken = (await self._reversed(transfer)).units
        query = sa.select(sa.func.coalesce(sa.func.sum(given_again.c.units), 0)).where(
            given_again.c.outcome == "posted",
            given_again.c.reverses.in_(
                sa.select(schema.transfers.c.transfer).where(
                    schema.transfers.c.reverses == transfer
                )
            ),
        )
        return taken - int(await self.connection.scalar(query) or 0)

    async def _pay_debt(self, request: PayDebt) -> Entry | str:
        available = (await read_buckets(self.connection, [request.member_id]))[request.member_id]
        if request.units > available.paid:
            return "insufficient_credits"
        if request.units > await read_debt(self.connection, request.member_id):
            return "exceeds_debt"
        parts = [
            (ledger.paid_account(request.member_id), -request.units),
            (ledger.debt_account(request.member_id), request.units),
        ]
        drawn = Draw(paid=request.units)
        return entry_of(
            request, "debt_payment", parts, drawn, request.units, member_id=request.member_id
        )

    async def _postings(self, transfer: int) -> dict[str, int]:
        table = schema.postings
        query = sa.select(table.c.account, table.c.units).where(table.c.transfer == transfer)
        return {row.account: row.units for row in await self.connection.execute(query)}

    async def _reversed(self, transfer: int) -> Draw:
        table = schema.transfers
        query = sa.select(
            sa.func.coalesce(sa.func.sum(table.c.promo_units), 0),
            sa.func.coalesce(sa.func.sum(table.c.paid_units), 0),
        ).where(table.c.reverses == transfer, table.c.outcome == "posted")
        promo, paid = (await self.connection.execute(query)).one()
        return Draw(int(promo), int(paid))

    async def shares(self, expert_ids: Iterable[str]) -> dict[str, Shares]:
        """Experts' shares as they are now; GuardFailed when one has no account."""
        wanted = sorted(set(expert_ids))
        found = await share_rows.read(self.connection, wanted)
        missing = [expert_id for expert_id in wanted if expert_id not in found]
        if missing:
            raise GuardFailed(f"experts without an account: {', '.join(missing)}")
        return found

    async def _share_percent(self, request: Debit | PostHold) -> int:
        shares = (await self.shares([request.expert_id]))[request.expert_id]
        return shares.of_kind(request.kind)
