"""What a till writes: every step of its sessions' money, in transactions under its epoch.

A write that fails leaves it unknown whether it took effect. Such seats are doubtful: their books
are read back before the next step. Sessions that a later owner took are cut and forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import debts, marks_rows, schema, till_recover, till_seat, till_store
from billing_meter.database import DatabaseUnavailable
from billing_meter.ledger_store import (
    GuardFailed,
    LedgerStore,
    LedgerTransaction,
    hold_row,
    insert_rows,
)
from billing_meter.meter import START_NEEDS_S, End, Plan, SessionMeter, SessionOrder
from billing_meter.meter_types import FUNDS_CODES
from billing_meter.shares import DEFAULT_SHARES
from billing_meter.tariff import Component
from billing_meter.till_register import Register
from billing_meter.till_seat import Seat, Step
from billing_meter.till_store import Books, Fenced
from billing_meter.till_tick import STEPS_PER_TURN, Survey, slices
from billing_meter.till_types import Refused
from billing_meter.wallet import ensure_expert

log = logging.getLogger(__name__)


class Writer:
    """Writes for one till. `on_lost` is called for each running seat that a later owner took."""

    def __init__(
        self,
        ledger: LedgerStore,
        register: Register,
        node: str,
        *,
        clock_ns: Callable[[], int],
        on_lost: Callable[[Seat], None],
    ) -> None:
        self._ledger = ledger
        self._register = register
        self._node = node
        self._clock_ns = clock_ns
        self._on_lost = on_lost
        self._epoch: int | None = None
        self._orphans: set[str] = set()

    async def recover(self) -> int:
        """Take the node's sessions over and settle each to its last durable mark; how many."""
        async with self._ledger.transaction() as transaction:
            epoch, settled = await till_recover.take_over(transaction, self._node)
        self._epoch = epoch
        return settled

    # --- a session opens, a surcharge is switched on ---------------------------------------

    async def open(self, order: SessionOrder) -> Seat | Refused:
        """Make the session and its first hold durable."""
        try:
            if self._epoch is None:
                await self.recover()
            async with self._ledger.transaction() as transaction:
                return await self.open_in(transaction, order)
        except (DatabaseUnavailable, Fenced):
            log.exception("session %s could not be opened", order.session_id)
            self._orphans.add(order.session_id)
            return Refused("ledger_unavailable")
        except IntegrityError:
            return Refused("already_open")

    async def open_in(self, transaction: LedgerTransaction, order: SessionOrder) -> Seat | Refused:
        """The same in a transaction that may open others too; they come onto one page."""
        connection, at_ms = transaction.connection, transaction.at_ms
        epoch = await self._owned(transaction, order)
        shares = await ensure_expert(connection, order.expert_id, at_ms, DEFAULT_SHARES)
        meter = SessionMeter(order, shares.of_session)
        for component in order.wanted:
            meter.switch(component, True, self._clock_ns())
        funds = (await transaction.funds([order.member_id]))[order.member_id]
        plan = meter.plan(funds.available.units, funds.leeway)
        refusal = funds.refusal(START_NEEDS_S * meter.total_rate)
        if refusal is not None or not plan.hold_units:
            return Refused(refusal or FUNDS_CODES[plan.end or End.FUNDS])
        settled = till_store.settle(order, epoch, Books(order.session_id), plan, funds.available, 0)
        if settled is None:
            raise GuardFailed("a first hold moved nothing")
        hold = hold_row(order.session_id, order.member_id, settled.books.hold, at_ms)
        await insert_rows(connection, schema.holds, [hold])
        page = self._register.pages.with_room()
        row = till_store.session_row(order, self._node, epoch, page, meter.shares, at_ms)
        await insert_rows(connection, schema.sessions, [row])
        await transaction.write([settled.entry])
        meter.granted(plan, settled.available.units, funds.left(settled.available).leeway)
        seat = Seat(meter, settled.books, page)
        transaction.after_commit.append(partial(self._seated, seat))
        return seat

    def _seated(self, seat: Seat) -> None:
        seat.leased(self._clock_ns())
        self._register.add(seat)

    async def _owned(self, transaction: LedgerTransaction, order: SessionOrder) -> int:
        """Our epoch. Taken for dead while we were stopped: a new one; replaced: Fenced."""
        epoch = self._epoch or 0
        found = await till_store.owner(transaction.connection, self._node)
        if found is not None and found[0] == epoch:
            return epoch
        if found is None or found[1] != till_store.SWEPT_AT_MS:
            raise Fenced([order.session_id])
        epoch, _ = await till_recover.take_over(transaction, self._node)
        transaction.after_commit.append(partial(setattr, self, "_epoch", epoch))
        return epoch

    async def switch_on(self, seat: Seat, component: Component) -> Refused | None:
        """Hold what a surcharge needs and open its gate; a refusal, or None when it is on."""
        try:
            async with self._ledger.transaction() as transaction:
                return await self._switch_on_in(transaction, seat, component)
        except (DatabaseUnavailable, GuardFailed, IntegrityError, Fenced) as error:
            self._doubt([seat], error)
            return Refused("ledger_unavailable")
        except BaseException as error:
            self._doubt([seat], error)
            raise

    async def _switch_on_in(
        self, transaction: LedgerTransaction, seat: Seat, component: Component
    ) -> Refused | None:
        await self._repair(transaction.connection, [seat])
        funds = (await transaction.funds([seat.member_id]))[seat.member_id]
        if not seat.running():
            return Refused("not_open")
        seat.absorb(self._clock_ns())
        meter = seat.meter
        extra = meter.order.tariff.rate(component)
        plan = meter.plan(funds.available.units, funds.leeway, extra_rate=extra)
        if funds.leeway.end is End.ON_BREAK:
            return Refused("on_break")
        if plan.hold_units < meter.total_rate + extra:
            return Refused(FUNDS_CODES[plan.end or End.FUNDS])
        number = await transaction.next_transfer()
        step = till_seat.make_step(seat, plan, funds, self._epoch or 0, transaction.at_ms, number)
        await self._write(transaction, [step])

        def durable() -> None:
            self._apply(step)
            now_ns = self._clock_ns()
            if seat.running():
                seat.absorb(now_ns)
                meter.switch(component, True, now_ns)
                seat.open_gates(now_ns)

        transaction.after_commit.append(durable)
        return None

    # --- seats' next steps ----------------------------------------------------------------

    async def commit(
        self, seats: Sequence[Seat], *, survey: Survey | None = None, give_back: bool = False
    ) -> bool:
        """One transaction for these seats; when one of them is bad, one for each instead.

        Returns whether the survey is durable.
        """
        try:
            await self._try_commit(seats, survey, give_back=give_back)
        except Fenced as error:
            self._doubt(seats, error)
            self._drop_fenced(error)
            left = [seat for seat in seats if seat.session_id in self._register]
            again = left or (survey is not None and len(self._register) > 0)
            if again and len(left) < len(seats):
                return await self.commit(left, survey=survey, give_back=give_back)
            return False
        except (DatabaseUnavailable, GuardFailed, IntegrityError, ValueError) as error:
            self._doubt(seats, error)
            if isinstance(error, DatabaseUnavailable) or not seats:
                return False
            durable = survey is not None and await self.commit((), survey=survey)
            for seat in seats if durable or len(seats) > 1 else ():
                await self.commit([seat], give_back=give_back)
            return durable
        except BaseException as error:
            self._doubt(seats, error)
            raise
        return True

    async def _try_commit(
        self, seats: Sequence[Seat], survey: Survey | None, *, give_back: bool
    ) -> None:
        async with self._ledger.transaction() as transaction:
            if survey is not None:
                await self._mark(transaction, survey)
            present = [seat for seat in seats if seat.session_id in self._register]
            if not present:
                return
            await self._repair(transaction.connection, present)
            funds = await transaction.funds(sorted({seat.member_id for seat in present}))
            number = await transaction.next_transfer()
            steps: list[Step] = []
            for part in slices(present, STEPS_PER_TURN):
                common = (funds, self._epoch or 0, transaction.at_ms, number)
                made = till_seat.make_steps(part, *common, give_back=give_back)
                number += len(till_seat.entries_of(made))
                steps += made
                await asyncio.sleep(0)
            await self._write(transaction, steps)
            transaction.after_commit += [partial(self._apply, step) for step in steps]

    async def _mark(self, transaction: LedgerTransaction, survey: Survey) -> None:
        """Every session's seconds, and the owner's sign of life."""
        connection, epoch = transaction.connection, self._epoch or 0
        if not await till_store.beat_owner(connection, self._node, epoch, transaction.at_ms):
            raise Fenced([seat.session_id for seat in self._register])
        if not await marks_rows.write(connection, self._node, epoch, survey.pages):
            raise Fenced([seat.session_id for seat in self._register])

    async def _write(self, transaction: LedgerTransaction, steps: Sequence[Step]) -> None:
        written = [step for step in steps if step.writes]
        await till_store.write_marks(transaction.connection, [step.mark for step in written])
        holds = [step.hold_change(transaction.at_ms) for step in written]
        await till_store.write_holds(transaction.connection, holds)
        entries = till_seat.entries_of(steps)
        if entries:
            await debts.pay_from(transaction, await transaction.write(entries), entries)

    def _apply(self, step: Step) -> None:
        """Durable: take it into memory and open the gates as far as it holds."""
        step.apply()
        if step.closes:
            self._register.remove(step.seat.session_id)
        elif step.seat.running():
            step.seat.refresh(self._clock_ns())

    # --- when writes fail -----------------------------------------------------------------

    def _doubt(self, seats: Iterable[Seat], error: BaseException) -> None:
        log.error("ledger write failed: %s", error)
        for seat in seats:
            seat.doubtful = True

    async def _repair(self, connection: AsyncConnection, seats: Sequence[Seat]) -> None:
        """Read the books of doubtful seats back: the failed write may have taken effect."""
        doubtful = {seat.session_id: seat for seat in seats if seat.doubtful}
        if not doubtful:
            return
        found = await till_store.read_books(connection, doubtful)
        for session_id, seat in doubtful.items():
            state, books = found.get(session_id, ("closed", seat.books))
            if state == "closed":
                raise Fenced([session_id])
            meter = seat.meter
            plan = Plan(books.posted_units, books.hold.units, meter.end, meter.grant_s)
            meter.granted(plan, meter.available_units, meter.leeway)
            seat.books, seat.doubtful = books, False
            if seat.running():  # less may be held than the gates were opened for
                seat.refresh(self._clock_ns())

    def _drop_fenced(self, fenced: Fenced) -> None:
        """Somebody else settled these sessions (or our own close did): cut and forget them."""
        for session_id in fenced.session_ids:
            seat = self._register.remove(session_id)
            if seat is None:
                continue
            running, seat.replaced = seat.running(), True
            seat.cut(self._clock_ns())
            if running:
                self._on_lost(seat)

    async def settle_orphans(self) -> None:
        """Sessions whose opening failed without telling whether their row exists."""
        orphans = self._orphans.copy()
        if not orphans or self._epoch is None:
            return
        left = sorted(name for name in orphans if name not in self._register)
        try:
            async with self._ledger.transaction() as transaction:
                await till_recover.settle_rows(transaction, left, self._epoch, "ledger_unavailable")
        except DatabaseUnavailable:
            return
        self._orphans -= orphans  # another one may have come meanwhile
