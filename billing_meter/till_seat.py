"""A running session as the till keeps it, and the ledger steps that it needs (no waiting here)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing_meter import till_store
from billing_meter.ledger_store import Funds
from billing_meter.meter import (
    EARLY_RENEW_BELOW_NS,
    HELD_WINDOW_NS,
    RENEW_BELOW_NS,
    UNLIMITED,
    HeldMedia,
    Leeway,
    Plan,
    SessionMeter,
)
from billing_meter.tariff import Component
from billing_meter.till_store import Books, Mark, Settlement

RENEWALS_SPREAD_TICKS = 4
"""A grant lasts about this many ticks, so this part of all sessions renews in each."""


@dataclass(slots=True)
class Seat:
    """One open session: its meter, its gates, and what the ledger said last."""

    meter: SessionMeter
    books: Books
    gates: dict[Component, HeldMedia] = field(default_factory=dict)
    calm_until_ns: int = 0
    """Before this instant, while packets pass, a beat need not look closer."""
    doubtful: bool = False
    """A write failed without telling whether it took effect: read the books back first."""
    marked: int = -1
    """The meter's revision that is on disk."""
    started_at_ms: int | None = None
    over_since_ns: int | None = None
    closing: str | None = None

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.meter.order.session_id

    @property
    def member_id(self) -> str:
        """Who pays."""
        return self.meter.order.member_id

    def running(self) -> bool:
        """Neither closing nor cut."""
        return self.closing is None and not self.meter.over

    def calm(self, now_ns: int) -> bool:
        """Packets pass and the deadline, which only ever moves on, is not reached."""
        gate = self.gates.get(Component.PRIVATE)
        if gate is None or now_ns >= self.calm_until_ns:
            return False
        last = gate.last_forwarded_ns
        return last is not None and now_ns - last < HELD_WINDOW_NS

    def absorb(self, now_ns: int, at_ms: int) -> None:
        """Count what the gates forwarded since."""
        for component, gate in self.gates.items():
            self.meter.absorb(component, gate.take_held(now_ns))
        if self.started_at_ms is None and self.meter.first_media_ns is not None:
            self.started_at_ms = at_ms

    def refresh(self, now_ns: int) -> None:
        """Open the gates for exactly what is held."""
        until_ns = self.meter.deadline_ns(now_ns)
        for component, gate in self.gates.items():
            gate.open_until(until_ns if self.meter.is_on(component) else 0)
        quiet = self.meter.paused or self.meter.first_media_ns is None
        self.calm_until_ns = 0 if quiet else until_ns

    def shut(self) -> None:
        """Close every gate, before anything else happens."""
        for gate in self.gates.values():
            gate.open_until(0)

    def cut(self, now_ns: int, at_ms: int) -> None:
        """Close every gate, count what passed before, count nothing after."""
        self.shut()
        self.absorb(now_ns, at_ms)
        self.meter.stop()


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction does to one seat."""

    seat: Seat
    mark: Mark
    plan: Plan | None = None
    settlement: Settlement | None = None
    leeway: Leeway = UNLIMITED
    """What the member's limits leave after this step."""

    @property
    def moves_money(self) -> bool:
        """Whether more than the seconds changes."""
        return self.settlement is not None or self.closes

    @property
    def closes(self) -> bool:
        """Whether the session's row is closed by it."""
        return self.mark.closed is not None

    @property
    def grants(self) -> bool:
        """Whether the gates may open further, or know better why not."""
        return self.plan is not None

    def hold_change(self, at_ms: int) -> dict[str, Any]:
        """The hold's row after this step."""
        return till_store.hold_change(self.seat.books, self.mark.books, self.closes, at_ms)

    def apply(self) -> None:
        """It is durable: take it into memory."""
        seat = self.seat
        seat.books = self.mark.books
        seat.marked = self.mark.revision
        if self.plan is not None:
            settled = self.settlement
            available = seat.meter.available_units if settled is None else settled.available.units
            seat.meter.granted(self.plan, available, self.leeway)


def due_for_ledger(seats: Sequence[Seat], *, give_back: bool) -> dict[str, Seat]:
    """Closing seats, those at half of their grant, and a few that soon are; by session."""
    due: dict[str, Seat] = {}
    soon: list[tuple[int, str, Seat]] = []
    for seat in seats:
        if give_back or seat.closing:
            due[seat.session_id] = seat
        elif (left_ns := seat.meter.renewal_ns()) is None:
            continue
        elif left_ns < RENEW_BELOW_NS:
            due[seat.session_id] = seat
        elif left_ns < EARLY_RENEW_BELOW_NS:
            soon.append((left_ns, seat.session_id, seat))
    room = -(-len(seats) // RENEWALS_SPREAD_TICKS) - len(due)
    if room > 0 and len(seats) > 1:
        soon.sort(key=lambda found: found[0])
        due |= {session_id: seat for _, session_id, seat in soon[:room]}
    return due


def make_step(seat: Seat, plan: Plan, funds: Funds, epoch: int, at_ms: int) -> Step:
    """A plan as rows. A plan that takes nothing waits: the seconds stay in the hold until then."""
    meter = seat.meter
    settled, leeway = None, funds.leeway
    if plan.hold_units == meter.free_units and seat.closing is None:
        plan = Plan(meter.posted_units, meter.hold_units, plan.end)
    else:
        settled = till_store.settle(
            meter.order, epoch, meter.share_percent, seat.books, plan, funds.available
        )
    if settled is not None:
        leeway = funds.left(settled.available).leeway
    books = seat.books if settled is None else settled.books
    mark = till_store.mark_of(meter, epoch, books, seat.started_at_ms, at_ms, seat.closing)
    return Step(seat, mark, plan, settled, leeway)


def make_steps(
    seats: Iterable[Seat],
    due: Mapping[str, Seat],
    funds: dict[str, Funds],
    epoch: int,
    at_ms: int,
    *,
    give_back: bool = False,
) -> list[Step]:
    """Steps of all seats of one transaction; `funds` are reduced as the steps take from them."""
    steps = []
    for seat in seats:
        if seat.session_id in due:
            mine = funds[seat.member_id]
            if seat.closing:
                plan = seat.meter.final_plan()
            else:
                plan = seat.meter.plan(mine.available.units, mine.leeway, shrink=give_back)
            step = make_step(seat, plan, mine, epoch, at_ms)
            if step.settlement is not None:
                funds[seat.member_id] = mine.left(step.settlement.available)
            steps.append(step)
        elif seat.meter.revision != seat.marked:
            mark = till_store.mark_of(seat.meter, epoch, seat.books, seat.started_at_ms, at_ms)
            steps.append(Step(seat, mark))
    return steps
