"""The till: one timer for every session, one durable transaction per tick for all of them.

A beat (every 250 ms, no waiting) reads the gates, sees pauses and cuts what has run out. A tick
(every second) makes the charged seconds of all sessions durable and renews grants, off the event
loop. Gates only ever open up to what a committed transaction holds, and for a short lease after
the last durable mark; when the ledger does not answer, they run out by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import (
    debts,
    marks_rows,
    schema,
    seals,
    sessions,
    till_recover,
    till_seat,
    till_store,
    till_tick,
)
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger_store import (
    Balance,
    GuardFailed,
    LedgerTransaction,
    hold_row,
    insert_rows,
)
from billing_meter.meter import (
    NS_PER_S,
    START_NEEDS_S,
    WARNINGS_S,
    End,
    HeldMedia,
    Leeway,
    MeterEvent,
    Plan,
    SessionMeter,
    SessionOrder,
    Summary,
    Ticked,
)
from billing_meter.meter_types import FUNDS_CODES
from billing_meter.tariff import Component
from billing_meter.till_seat import Seat, Step
from billing_meter.till_store import Books, Fenced
from billing_meter.till_tick import STEPS_PER_TURN, Pages, Survey, slices
from billing_meter.till_types import Opened, Refused, RefusedCode, Switched
from billing_meter.wallet import EXPERT_SHARE_PERCENT, Wallet, ensure_expert

NODE = "node"
"""The name of this process's meter, as long as there is one."""
BEAT_S = 0.25
TICK_NS = NS_PER_S
SEAL_EVERY_NS = 60 * NS_PER_S
"""How old a transfer may become before the hash chain covers it."""
OVER_CLOSES_AFTER_NS = 5 * NS_PER_S
"""A session that ran out and that nobody closes is closed by the till itself."""
TICKS_MEASURED = 600
SUMMARIES_KEPT = 1_000
"""Ended sessions whose summary a repeated close can still get without the database."""

log = logging.getLogger(__name__)

__all__ = ["NODE", "Opened", "Refused", "RefusedCode", "SpentListener", "Switched", "Till"]

SpentListener = Callable[[str, int], None]


class Till:
    """Owns every open session of this process. `on_event` is called synchronously."""

    def __init__(
        self,
        database: Database,
        wallet: Wallet,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_event: Callable[[str, MeterEvent], None],
        node: str = NODE,
    ) -> None:
        self._database = database
        self._ledger = wallet.ledger
        self._clock_ns = clock_ns
        self._utc_now = utc_now
        self._on_event = on_event
        self._node = node
        self._epoch: int | None = None
        self._seats: dict[str, Seat] = {}
        self._pages = Pages()
        self._by_member: dict[str, set[str]] = {}
        self._orphans: set[str] = set()
        self._summaries: dict[str, Summary] = {}
        self._spent_listeners: list[SpentListener] = []
        self._ticking = False
        self._sealed_ns = clock_ns()
        self._sealing = False
        self._timer: asyncio.Task[None] | None = None
        self._tick_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.tick_commits_ns: deque[int] = deque(maxlen=TICKS_MEASURED)
        """How long the last ticks' transactions took, from asking for the writer to durable."""
        self._ledger.listen(self._funds_changed)
        self._ledger.listen_leeway(self._leeway_changed)

    # --- life -----------------------------------------------------------------------------

    async def recover(self) -> int:
        """Take the node's sessions over and settle each to its last durable mark; how many."""
        async with self._ledger.transaction() as transaction:
            epoch, settled = await till_recover.take_over(transaction, self._node)
        self._epoch = epoch
        return settled

    def start(self) -> None:
        """Start the timer."""
        if self._timer is None:
            self._timer = asyncio.create_task(self._run(), name="till")

    async def stop(self) -> None:
        """Stop the timer and close what is still open, media first."""
        if self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timer
            self._timer = None
        if self._tick_task is not None:
            await asyncio.wait([self._tick_task])
        for seat in self._seats.values():
            self._end(seat, "server_stopped")
        for part in slices(list(self._seats.values())):
            await self._commit(part)

    @property
    def open_sessions(self) -> int:
        """How many sessions this till runs."""
        return len(self._seats)

    def listen_spent(self, listener: SpentListener) -> None:
        """Call `listener(member_id, balance_units)` for every running session of every tick."""
        self._spent_listeners.append(listener)

    async def _run(self) -> None:
        next_tick_ns = self._clock_ns()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT_S)
            now_ns = self._clock_ns()
            self.beat(now_ns)
            if self._ticking or (now_ns < next_tick_ns and not self._wake.is_set()):
                self._wake.clear()
                continue
            self._wake.clear()
            if now_ns >= next_tick_ns:
                next_tick_ns = max(next_tick_ns + TICK_NS, now_ns + TICK_NS // 2)
            self._tick_task = asyncio.create_task(self._tick_and_seal(), name="till tick")
            self._tick_task.add_done_callback(_log_failure)

    async def _tick_and_seal(self) -> None:
        await self.tick()
        now_ns = self._clock_ns()
        if now_ns - self._sealed_ns < SEAL_EVERY_NS or self._sealing:
            return
        self._sealing, self._sealed_ns = True, now_ns
        try:
            await seals.seal(self._database, self._ledger.now_ms())
        except DatabaseUnavailable:
            log.exception("the journal could not be sealed")
        finally:
            self._sealing = False

    # --- sessions -------------------------------------------------------------------------

    async def open(self, order: SessionOrder) -> Opened | Refused:
        """Make the session and its first hold durable. Gates are attached afterwards."""
        if order.session_id in self._seats:
            return Refused("already_open")
        try:
            if self._epoch is None:
                await self.recover()
            async with self._ledger.transaction() as transaction:
                opened = await self._open_in(transaction, order)
        except (DatabaseUnavailable, Fenced):
            log.exception("session %s could not be opened", order.session_id)
            self._orphans.add(order.session_id)
            return Refused("ledger_unavailable")
        except IntegrityError:
            return Refused("already_open")
        if isinstance(opened, Refused):
            return opened
        return Opened(opened.meter.snapshot())

    async def _open_in(self, transaction: LedgerTransaction, order: SessionOrder) -> Seat | Refused:
        connection, at_ms = transaction.connection, transaction.at_ms
        epoch = await self._owned(transaction, order)
        percent = await ensure_expert(connection, order.expert_id, at_ms, EXPERT_SHARE_PERCENT)
        meter = SessionMeter(order, percent)
        for component in order.wanted:
            meter.switch(component, True, self._clock_ns())
        funds = (await transaction.funds([order.member_id]))[order.member_id]
        plan = meter.plan(funds.available.units, funds.leeway)
        refusal = funds.refusal(START_NEEDS_S * meter.total_rate)
        if refusal is not None or not plan.hold_units:
            return Refused(refusal or FUNDS_CODES[plan.end or End.FUNDS])
        settled = till_store.settle(
            order, epoch, percent, Books(order.session_id), plan, funds.available, 0
        )
        if settled is None:
            raise GuardFailed("a first hold moved nothing")
        hold = hold_row(order.session_id, order.member_id, settled.books.hold, at_ms)
        await insert_rows(connection, schema.holds, [hold])
        page = self._pages.with_room()
        row = till_store.session_row(order, self._node, epoch, page, percent, at_ms)
        await insert_rows(connection, schema.sessions, [row])
        await transaction.write([settled.entry])
        meter.granted(plan, settled.available.units, funds.left(settled.available).leeway)
        seat = Seat(meter, settled.books, page)
        transaction.after_commit.append(partial(self._seated, seat))
        return seat

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

    def attach(self, session_id: str, component: Component, gate: HeldMedia) -> None:
        """Give a component its gate, or a new one after a reconnect; the old one is closed."""
        seat = self._seats.get(session_id)
        if seat is None or not seat.running():
            gate.open_until(0)
            return
        now_ns = self._clock_ns()
        old = seat.gates.get(component)
        if old is not None and old is not gate:
            old.open_until(0)
            seat.meter.absorb(component, old.take_held(now_ns))
        seat.gates[component] = gate
        seat.refresh(now_ns, self._ledger.now_ms())

    async def switch(self, session_id: str, component: Component, on: bool) -> Switched | Refused:
        """Switch a surcharge. On: funded first, opened then. Off: closed first, settled then."""
        seat = self._seats.get(session_id)
        if seat is None or not seat.running() or component is Component.PRIVATE:
            return Refused("not_open")
        if not on:
            return await self._switch_off(seat, component)
        if seat.meter.is_on(component):
            return Switched(seat.meter.snapshot())
        try:
            async with self._ledger.transaction() as transaction:
                refused = await self._switch_on_in(transaction, seat, component)
        except (DatabaseUnavailable, GuardFailed, IntegrityError, Fenced) as error:
            self._doubt([seat], error)
            return Refused("ledger_unavailable")
        except BaseException as error:
            self._doubt([seat], error)
            raise
        return refused or Switched(seat.meter.snapshot())

    async def _switch_on_in(
        self, transaction: LedgerTransaction, seat: Seat, component: Component
    ) -> Refused | None:
        await self._repair(transaction.connection, [seat])
        funds = (await transaction.funds([seat.member_id]))[seat.member_id]
        if not seat.running():
            return Refused("not_open")
        seat.absorb(self._clock_ns(), transaction.at_ms)
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
                seat.absorb(now_ns, transaction.at_ms)
                meter.switch(component, True, now_ns)
                seat.open_gates(now_ns)

        transaction.after_commit.append(durable)
        return None

    async def _switch_off(self, seat: Seat, component: Component) -> Switched:
        now_ns = self._clock_ns()
        gate = seat.gates.get(component)
        if gate is not None:
            gate.open_until(0)
        seat.absorb(now_ns, self._ledger.now_ms())
        seat.meter.switch(component, False, now_ns)
        seat.open_gates(now_ns)
        # The surplus goes back at once if the ledger answers, else with the next renewal.
        await self._commit([seat], give_back=True)
        return Switched(seat.meter.snapshot())

    async def close(self, session_id: str, reason: str) -> Summary:
        """End a session: media is cut before this first waits, money is posted after that.

        Again is harmless and gives the first summary, from the database if need be. When the
        ledger does not answer, ticks repeat the post; the summary stands. KeyError if unknown.
        """
        seat = self._seats.get(session_id)
        if seat is None:
            kept = self._summaries.get(session_id)
            return kept or await sessions.stored_summary(self._database, session_id)
        self._end(seat, reason)
        await self._commit([seat])
        return self._summaries[session_id]

    def _end(self, seat: Seat, reason: str) -> None:
        if seat.closing is None:
            seat.cut(self._clock_ns(), self._ledger.now_ms())
            self._begin_closing(seat, reason)

    def _begin_closing(self, seat: Seat, reason: str) -> None:
        seat.closing = reason
        started_at = sessions.instant(seat.started_at_ms)
        summary = seat.meter.summary(reason, started_at, self._utc_now())
        self._summaries[seat.session_id] = summary
        while len(self._summaries) > SUMMARIES_KEPT:
            del self._summaries[next(iter(self._summaries))]

    # --- beat -----------------------------------------------------------------------------

    def beat(self, now_ns: int | None = None) -> None:
        """Look at every session's media: start, pause, resume, run out. Never waits."""
        now = self._clock_ns() if now_ns is None else now_ns
        at_ms = self._ledger.now_ms()
        for seat in list(self._seats.values()):
            if now < seat.calm_until_ns or not seat.running():
                continue
            if not seat.flows(now):
                self._look(seat, now, at_ms)

    def _look(self, seat: Seat, now_ns: int, at_ms: int) -> None:
        seat.absorb(now_ns, at_ms)
        events = seat.meter.beat(now_ns)
        if seat.meter.over:
            seat.over_since_ns = now_ns
            seat.shut()
        else:
            seat.open_gates(now_ns)
        for event in events:
            self._emit(seat.session_id, event)

    def _emit(self, session_id: str, event: MeterEvent) -> None:
        try:
            self._on_event(session_id, event)
        except Exception:
            log.exception("a listener failed on %s of session %s", event, session_id)

    def _funds_changed(self, member_id: str, balance: Balance) -> None:
        for session_id in self._by_member.get(member_id, ()):
            seat = self._seats[session_id]
            self._money_changed(seat, balance.available, seat.meter.leeway)

    def _leeway_changed(self, member_id: str, leeway: Leeway) -> None:
        for session_id in self._by_member.get(member_id, ()):
            seat = self._seats[session_id]
            if leeway != seat.meter.leeway:
                self._money_changed(seat, seat.meter.available_units, leeway)

    def _money_changed(self, seat: Seat, available_units: int, leeway: Leeway) -> None:
        meter = seat.meter
        meter.funds_changed(available_units, leeway)
        if meter.surplus:
            seat.fresh_until_ns = 0
        if meter.end is not None and meter.renewal_due():
            self._wake.set()

    def _seated(self, seat: Seat) -> None:
        seat.leased(self._clock_ns())
        self._seats[seat.session_id] = seat
        self._pages.add(seat)
        self._by_member.setdefault(seat.member_id, set()).add(seat.session_id)

    def _unseat(self, session_id: str) -> Seat | None:
        seat = self._seats.pop(session_id, None)
        if seat is not None:
            self._pages.remove(seat)
            mine = self._by_member[seat.member_id]
            mine.discard(session_id)
            if not mine:
                del self._by_member[seat.member_id]
        return seat

    # --- tick -----------------------------------------------------------------------------

    async def tick(self, now_ns: int | None = None) -> None:
        """Make all sessions' seconds durable in one transaction, renewing grants that are due."""
        if self._ticking:
            return
        self._ticking = True
        try:
            now = self._clock_ns() if now_ns is None else now_ns
            at_ms = self._ledger.now_ms()

            def look(seat: Seat) -> None:
                if seat.running():
                    self._look(seat, now, at_ms)
                else:
                    self._close_forgotten(seat, now)

            found = await till_tick.survey(self._pages, now, at_ms, look, len(self._seats))
            await self._settle_orphans()
            if self._seats:
                began_ns = time.perf_counter_ns()
                durable = await self._commit(found.due, survey=found)
                self.tick_commits_ns.append(time.perf_counter_ns() - began_ns)
                if durable:
                    await self._report(found)
        finally:
            self._ticking = False

    def _close_forgotten(self, seat: Seat, now_ns: int) -> None:
        since = seat.over_since_ns
        if seat.closing is None and since is not None and now_ns - since > OVER_CLOSES_AFTER_NS:
            end = seat.meter.end
            self._begin_closing(seat, "ledger_unavailable" if end is None else end.value)

    async def _commit(
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
            left = [seat for seat in seats if seat.session_id in self._seats]
            again = left or (survey is not None and self._seats)
            if again and len(left) < len(seats):
                return await self._commit(left, survey=survey, give_back=give_back)
            return False
        except (DatabaseUnavailable, GuardFailed, IntegrityError, ValueError) as error:
            self._doubt(seats, error)
            if isinstance(error, DatabaseUnavailable) or not seats:
                return False
            durable = survey is not None and await self._commit((), survey=survey)
            for seat in seats if durable or len(seats) > 1 else ():
                await self._commit([seat], give_back=give_back)
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
            present = [seat for seat in seats if seat.session_id in self._seats]
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
            raise Fenced(list(self._seats))
        if not await marks_rows.write(connection, self._node, epoch, survey.pages):
            raise Fenced(list(self._seats))

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
            self._unseat(step.seat.session_id)
        elif step.seat.running():
            step.seat.refresh(self._clock_ns(), self._ledger.now_ms())

    async def _report(self, survey: Survey) -> None:
        """The marks are durable: media may go on for another lease, and people are told."""
        for part in slices(survey.told):
            now_ns, at_ms = self._clock_ns(), self._ledger.now_ms()
            for seat, revision, snapshot in part:
                seat.marked = revision
                seat.leased(survey.now_ns)
                if snapshot is None or not seat.running():
                    continue
                seat.extend(now_ns, at_ms)
                for listener in self._spent_listeners:
                    listener(seat.member_id, snapshot.balance_units)
                self._emit(seat.session_id, Ticked(snapshot))
                if snapshot.time_left_s <= WARNINGS_S[0]:
                    warning = seat.meter.warning()
                    if warning is not None:
                        self._emit(seat.session_id, warning)
            await asyncio.sleep(0)

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
                seat.refresh(self._clock_ns(), self._ledger.now_ms())

    def _drop_fenced(self, fenced: Fenced) -> None:
        """Somebody else settled these sessions (or our own close did): cut and forget them."""
        for session_id in fenced.session_ids:
            seat = self._unseat(session_id)
            if seat is None:
                continue
            running = seat.running()
            seat.cut(self._clock_ns(), self._ledger.now_ms())
            if running:
                self._emit(session_id, seat.meter.lost())

    async def _settle_orphans(self) -> None:
        """Sessions whose opening failed without telling whether their row exists."""
        if not self._orphans or self._epoch is None:
            return
        orphans = sorted(self._orphans - self._seats.keys())
        try:
            async with self._ledger.transaction() as transaction:
                await till_recover.settle_rows(
                    transaction, orphans, self._epoch, "ledger_unavailable"
                )
        except DatabaseUnavailable:
            return
        self._orphans.clear()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a tick failed", exc_info=task.exception())
