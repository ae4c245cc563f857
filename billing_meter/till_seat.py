"""A running session as the till keeps it, and the ledger steps that it needs (no waiting here)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing_meter import till_store
from billing_meter.ledger_store import Funds
from billing_meter.marks import Figures
from billing_meter.meter import (
    HELD_WINDOW_NS,
    LEASE_NS,
    NS_PER_S,
    UNLIMITED,
    HeldMedia,
    Leeway,
    Plan,
    SessionMeter,
    Summary,
)
from billing_meter.tariff import Component
from billing_meter.till_store import Books, Mark, Settlement

URGENT_NS = 3 * NS_PER_S
"""A grant with less left is renewed now, however many others are."""
RENEWALS_MIN = 32
RENEWALS_PART = 16
"""A tick renews at most this part of all sessions beyond the urgent ones: twice as many as need it
with grants of full length. So a tick is never much longer than another, and sessions which
began together do not renew together for ever."""


@dataclass(slots=True)
class Seat:
    """One open session: its meter, its gates, and what the ledger said last."""

    meter: SessionMeter
    books: Books
    page: int = 0
    """Where its marks are written."""
    gates: dict[Component, HeldMedia] = field(default_factory=dict)
    calm_until_ns: int = 0
    """Before this instant a beat need not look closer: media passed lately, and may pass."""
    until_ns: int = 0
    """Until when media is funded, as long as it flows without a pause."""
    fresh_until_ns: int = 0
    """Before this instant no renewal can be due."""
    doubtful: bool = False
    """A write failed without telling whether it took effect: read the books back first."""
    marked: int = -1
    """The meter's revision that is on disk."""
    started_at_ms: int | None = None
    """When people were told that media flows."""
    over_since_ns: int | None = None
    closing: str | None = None
    summary: Summary | None = None
    """Of one that is closing."""
    replaced: bool = False
    """Somebody else settled it: what it came to is in its row."""
    session_id: str = field(init=False)
    member_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.session_id = self.meter.order.session_id
        self.member_id = self.meter.order.member_id
        self.meter.lease_ns = 0

    def running(self) -> bool:
        """Neither closing nor cut."""
        return self.closing is None and not self.meter.over

    def absorb(self, now_ns: int) -> None:
        """Count what the gates forwarded since."""
        for component, gate in self.gates.items():
            self.meter.absorb(component, gate.take_held(now_ns))

    def flows(self, now_ns: int) -> bool:
        """Media passed lately and is funded: nothing is to be told, and nothing to be cut.

        Nothing else is to be found out before `calm_until_ns`, as long as this is true.
        """
        end_ns = min(self.until_ns, self.meter.lease_ns)
        gate = self.gates.get(Component.PRIVATE)
        if gate is None or now_ns >= end_ns:
            return False
        last = gate.last_forwarded_ns
        if last is None or now_ns - last >= HELD_WINDOW_NS:
            return False
        self.calm_until_ns = min(end_ns, last + HELD_WINDOW_NS)
        return True

    def leased(self, marked_ns: int) -> None:
        """What it used by `marked_ns` is durable, so it may go on for a while after that."""
        lease_ns = marked_ns + LEASE_NS
        if lease_ns > self.meter.lease_ns:
            self.meter.lease_ns = lease_ns

    def extend(self, now_ns: int) -> None:
        """Open the gates as far as the lease goes now; nothing else has changed."""
        if not self.until_ns:
            self.refresh(now_ns)
            return
        meter = self.meter
        until_ns = min(self.until_ns, meter.lease_ns)
        for component, gate in self.gates.items():
            if component is Component.PRIVATE or meter.is_on(component):
                gate.open_until(until_ns)

    def refresh(self, now_ns: int) -> None:
        """Count what passed meanwhile, then open the gates for exactly what is held, and leased.

        What passed while a commit was slow is paid out of the hold too: counted as before it, the
        gates would be open for that much longer than the hold pays.
        """
        self.absorb(now_ns)
        self.open_gates(now_ns)

    def open_gates(self, now_ns: int) -> None:
        """Open the gates for exactly what is held, and leased; all up to now is counted."""
        meter = self.meter
        until_ns = meter.deadline_ns(now_ns)
        for component, gate in self.gates.items():
            gate.open_until(until_ns if meter.is_on(component) else 0)
        self.calm_until_ns = 0
        if meter.told_flowing:
            self.until_ns = meter.funded_until_ns(now_ns)
            self.fresh_until_ns = self.until_ns - meter.renew_below_ns
        else:
            # Also when the first packets were counted here: a beat has still to tell of them.
            self.until_ns = self.fresh_until_ns = 0

    def shut(self) -> None:
        """Close every gate, before anything else happens."""
        self.calm_until_ns = 0
        for gate in self.gates.values():
            gate.open_until(0)

    def cut(self, now_ns: int) -> None:
        """Close every gate, count what passed before, count nothing after."""
        self.shut()
        self.absorb(now_ns)
        self.meter.stop()

    def figures(self, at_ms: int) -> Figures:
        """What it has used by now."""
        return till_store.figures_of(self.meter, self.started_at_ms, at_ms)

    def mark(self, at_ms: int) -> tuple[str | int | None, ...]:
        """The same for its page."""
        private, cam, audio = self.meter.used()
        return (self.session_id, at_ms, self.started_at_ms, *private, *cam, *audio)


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction does to one seat."""

    seat: Seat
    mark: Mark
    plan: Plan
    settlement: Settlement | None = None
    leeway: Leeway = UNLIMITED
    """What the member's limits leave after this step."""

    @property
    def writes(self) -> bool:
        """Whether the session's row changes."""
        return self.settlement is not None or self.closes

    @property
    def closes(self) -> bool:
        """Whether the session's row is closed by it."""
        return self.mark.closed is not None

    def hold_change(self, at_ms: int) -> dict[str, Any]:
        """The hold's row after this step."""
        return till_store.hold_change(self.seat.books, self.mark.books, self.closes, at_ms)

    def apply(self) -> None:
        """It is durable: take it into memory."""
        seat = self.seat
        seat.books = self.mark.books
        settled = self.settlement
        available = seat.meter.available_units if settled is None else settled.available.units
        seat.meter.granted(self.plan, available, self.leeway)


def most_urgent(due: list[tuple[int, Seat]], seats: int) -> list[Seat]:
    """Of those whose renewal is due (granted time left, seat), the ones that renew in this tick."""
    room = max(RENEWALS_MIN, seats // RENEWALS_PART)
    if len(due) > room:
        due.sort(key=lambda found: found[0])
    return [
        seat for place, (left_ns, seat) in enumerate(due) if place < room or left_ns < URGENT_NS
    ]


def make_step(seat: Seat, plan: Plan, funds: Funds, epoch: int, at_ms: int, transfer: int) -> Step:
    """A plan as rows. A plan that takes nothing waits: the seconds stay in the hold until then.

    `transfer` is the number that its transfer gets, if it is one.
    """
    meter = seat.meter
    settled, leeway = None, funds.leeway
    if plan.hold_units == meter.free_units and seat.closing is None:
        plan = Plan(meter.posted_units, meter.hold_units, plan.end, meter.grant_s)
    else:
        settled = till_store.settle(meter.order, epoch, seat.books, plan, funds.available, transfer)
    if settled is not None:
        leeway = funds.left(settled.available).leeway
    books = seat.books if settled is None else settled.books
    figures = seat.figures(at_ms)
    mark = Mark(seat.session_id, epoch, books, figures, meter.charged_units, seat.closing)
    return Step(seat, mark, plan, settled, leeway)


def make_steps(
    seats: Iterable[Seat],
    funds: dict[str, Funds],
    epoch: int,
    at_ms: int,
    transfer: int,
    *,
    give_back: bool = False,
) -> list[Step]:
    """Steps of seats of one transaction, whose first transfer gets the number `transfer`.

    `funds` are reduced as the steps take from them.
    """
    steps = []
    for seat in seats:
        mine = funds[seat.member_id]
        if seat.closing:
            plan = seat.meter.final_plan()
        else:
            plan = seat.meter.plan(mine.available.units, mine.leeway, shrink=give_back)
        step = make_step(seat, plan, mine, epoch, at_ms, transfer)
        if step.settlement is not None:
            funds[seat.member_id] = mine.left(step.settlement.available)
            transfer += 1
        steps.append(step)
    return steps


def entries_of(steps: Sequence[Step]) -> list[Any]:
    """The transfers of steps, in their order."""
    return [step.settlement.entry for step in steps if step.settlement is not None]
