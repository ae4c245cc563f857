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
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec.structs import replace

from billing_meter import seals, sessions, till_tick
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger_store import Balance
from billing_meter.meter import (
    NS_PER_S,
    WARNINGS_S,
    HeldMedia,
    Leeway,
    MeterEvent,
    SessionOrder,
    Summary,
    Ticked,
)
from billing_meter.tariff import Component
from billing_meter.till_register import Register
from billing_meter.till_seat import Seat
from billing_meter.till_tick import Survey, slices
from billing_meter.till_types import Opened, Refused, RefusedCode, Switched
from billing_meter.till_writer import Writer
from billing_meter.wallet import Wallet

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
        self._register = Register()
        self._writer = Writer(
            self._ledger, self._register, node, clock_ns=clock_ns, on_lost=self._lost
        )
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
        return await self._writer.recover()

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
        for seat in self._register:
            self._end(seat, "server_stopped")
        for part in slices(list(self._register)):
            await self._writer.commit(part)

    @property
    def open_sessions(self) -> int:
        """How many sessions this till runs."""
        return len(self._register)

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
        if order.session_id in self._register:
            return Refused("already_open")
        opened = await self._writer.open(order)
        if isinstance(opened, Refused):
            return opened
        return Opened(opened.meter.snapshot())

    def attach(self, session_id: str, component: Component, gate: HeldMedia) -> None:
        """Give a component its gate, or a new one after a reconnect; the old one is closed."""
        seat = self._register.get(session_id)
        if seat is None or not seat.running():
            gate.open_until(0)
            return
        now_ns = self._clock_ns()
        old = seat.gates.get(component)
        if old is not None and old is not gate:
            old.open_until(0)
            seat.meter.absorb(component, old.take_held(now_ns))
        seat.gates[component] = gate
        seat.refresh(now_ns)

    async def switch(self, session_id: str, component: Component, on: bool) -> Switched | Refused:
        """Switch a surcharge. On: funded first, opened then. Off: closed first, settled then."""
        seat = self._register.get(session_id)
        if seat is None or not seat.running() or component is Component.PRIVATE:
            return Refused("not_open")
        if not on:
            return await self._switch_off(seat, component)
        if seat.meter.is_on(component):
            return Switched(seat.meter.snapshot())
        refused = await self._writer.switch_on(seat, component)
        return refused or Switched(seat.meter.snapshot())

    async def _switch_off(self, seat: Seat, component: Component) -> Switched:
        now_ns = self._clock_ns()
        gate = seat.gates.get(component)
        if gate is not None:
            gate.open_until(0)
        seat.absorb(now_ns)
        seat.meter.switch(component, False, now_ns)
        seat.open_gates(now_ns)
        # The surplus goes back at once if the ledger answers, else with the next renewal.
        await self._writer.commit([seat], give_back=True)
        return Switched(seat.meter.snapshot())

    def look(self, session_id: str) -> None:
        """See what passed by now; what there is to be told is told before this returns."""
        seat = self._register.get(session_id)
        if seat is not None and seat.running():
            self._look(seat, self._clock_ns(), self._ledger.now_ms())

    def cut(self, session_id: str, reason: str) -> None:
        """End a session without waiting: media is cut, what passed is counted, nothing is told
        of it any more. `close` posts it, or else the next tick; once it is cut the reason stands.
        """
        seat = self._register.get(session_id)
        if seat is not None:
            self._end(seat, reason)

    async def close(self, session_id: str, reason: str) -> Summary:
        """End a session: media is cut before this first waits, money is posted after that.

        Again is harmless and gives the first summary, from the database if need be. When the
        ledger does not answer, ticks repeat the post; the summary stands. KeyError if unknown.
        """
        seat = self._register.get(session_id)
        if seat is None:
            kept = self._summaries.get(session_id)
            return kept or await sessions.stored_summary(self._database, session_id)
        self._end(seat, reason)
        await self._writer.commit([seat])
        if seat.replaced or seat.summary is None:
            self._summaries.pop(session_id, None)
            return await sessions.stored_summary(self._database, session_id)
        return seat.summary

    def _end(self, seat: Seat, reason: str) -> None:
        if seat.closing is None:
            seat.cut(self._clock_ns())
            self._begin_closing(seat, reason)

    def _begin_closing(self, seat: Seat, reason: str) -> None:
        seat.closing = reason
        started_at = sessions.instant(seat.started_at_ms)
        seat.summary = seat.meter.summary(reason, started_at, self._utc_now())
        self._summaries[seat.session_id] = seat.summary
        while len(self._summaries) > SUMMARIES_KEPT:
            del self._summaries[next(iter(self._summaries))]

    # --- beat -----------------------------------------------------------------------------

    def beat(self, now_ns: int | None = None) -> None:
        """Look at every session's media: start, pause, resume, run out. Never waits."""
        now = self._clock_ns() if now_ns is None else now_ns
        at_ms = self._ledger.now_ms()
        for seat in self._register:
            if now < seat.calm_until_ns or not seat.running():
                continue
            if not seat.flows(now):
                self._look(seat, now, at_ms)

    def _look(self, seat: Seat, now_ns: int, at_ms: int) -> None:
        seat.absorb(now_ns)
        events = seat.meter.beat(now_ns)
        if seat.started_at_ms is None and seat.meter.started:
            seat.started_at_ms = at_ms
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

    def _lost(self, seat: Seat) -> None:
        self._emit(seat.session_id, seat.meter.lost())

    def _funds_changed(self, member_id: str, balance: Balance) -> None:
        for seat in self._register.of_member(member_id):
            self._money_changed(seat, balance.available, seat.meter.leeway)

    def _leeway_changed(self, member_id: str, leeway: Leeway) -> None:
        for seat in self._register.of_member(member_id):
            if leeway != seat.meter.leeway:
                self._money_changed(seat, seat.meter.available_units, leeway)

    def _money_changed(self, seat: Seat, available_units: int, leeway: Leeway) -> None:
        meter = seat.meter
        meter.funds_changed(available_units, leeway)
        if meter.surplus:
            seat.fresh_until_ns = 0
        if meter.end is not None and meter.renewal_due():
            self._wake.set()

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

            found = await till_tick.survey(
                self._register.pages, now, at_ms, look, len(self._register)
            )
            await self._writer.settle_orphans()
            if len(self._register):
                began_ns = time.perf_counter_ns()
                durable = await self._writer.commit(found.due, survey=found)
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

    async def _report(self, survey: Survey) -> None:
        """The marks are durable: media may go on for another lease, and people are told."""
        for part in slices(survey.told):
            now_ns = self._clock_ns()
            for seat, revision, snapshot in part:
                seat.marked = revision
                seat.leased(survey.now_ns)
                if snapshot is None or not seat.running():
                    continue
                seat.extend(now_ns)
                for listener in self._spent_listeners:
                    listener(seat.member_id, snapshot.balance_units)
                paused = not seat.meter.told_flowing
                if snapshot.paused != paused:  # people were told since the survey
                    snapshot = replace(snapshot, paused=paused)
                self._emit(seat.session_id, Ticked(snapshot))
                if snapshot.time_left_s <= WARNINGS_S[0]:
                    warning = seat.meter.warning()
                    if warning is not None:
                        self._emit(seat.session_id, warning)
            await asyncio.sleep(0)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a tick failed", exc_info=task.exception())
