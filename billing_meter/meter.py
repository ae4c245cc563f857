"""The meter of one private session (pure): held media in, charged seconds and gates out.

Time is monotonic nanoseconds. A component's held time is the sum of the held intervals that its
gate reports; whole seconds of it are charged, each once, each only out of units that are already
held on the ledger. A surcharge counts only while the session itself holds media, and nothing is
charged before people were told that the session has started: until then they are connecting.

The ledger is asked in two steps: `plan(...)` says what to write, and `granted(plan)` takes effect
after the write is durable. Between the two the meter may go on absorbing media.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from billing_meter.meter_types import (
    FUNDS_PER_GRANT,
    GRANT_MAX_S,
    GRANT_S,
    LEASE_S,
    UNLIMITED,
    End,
    Exhausted,
    HeldMedia,
    LedgerLost,
    Leeway,
    Line,
    LowBalance,
    MeterEvent,
    MeterSnapshot,
    Paused,
    Plan,
    Resumed,
    SessionOrder,
    SpendLimit,
    Started,
    Summary,
    Ticked,
)
from billing_meter.shares import PERCENT_MAX, SessionShares
from billing_meter.tariff import Component

__all__ = [
    "CUT_GAP_NS",
    "GRANT_MAX_S",
    "GRANT_S",
    "HELD_WINDOW_NS",
    "LEASE_NS",
    "NS_PER_MS",
    "NS_PER_S",
    "START_NEEDS_S",
    "UNLIMITED",
    "WARNINGS_S",
    "End",
    "Exhausted",
    "HeldMedia",
    "LedgerLost",
    "Leeway",
    "Line",
    "LowBalance",
    "MeterEvent",
    "MeterSnapshot",
    "Paused",
    "Plan",
    "Resumed",
    "SessionMeter",
    "SessionOrder",
    "SpendLimit",
    "Started",
    "Summary",
    "Ticked",
]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
HELD_WINDOW_NS = 1_500 * NS_PER_MS
"""Without a packet for this long, the session no longer holds media."""
LEASE_NS = LEASE_S * NS_PER_S
CUT_GAP_NS = 250 * NS_PER_MS
"""The last paid second is whole if media flowed up to the cut: four frames a second still flow."""
WARNINGS_S = (180, 60, 30, 10)
_NEVER_NS = 1 << 62
START_NEEDS_S = 60
"""A session starts only with a minute of the total rate that is asked for."""


@dataclass(slots=True)
class _Lane:
    rate: int
    weight: int
    """The expert's hundredths of a unit per second."""
    on: bool = False
    held_ns: int = 0
    end_ns: int | None = None
    since_ns: int = 0
    seconds: int = 0
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """Surcharge media for which it is not known yet whether the session held media too."""


class SessionMeter:
    """See the module; every method is synchronous and takes `now_ns` where time matters."""

    def __init__(self, order: SessionOrder, shares: SessionShares) -> None:
        self.order = order
        self.shares = shares
        rates = {c: order.tariff.rate(c) for c in Component}
        self._lanes = {c: _Lane(rate, rate * shares.of(c)) for c, rate in rates.items()}
        self._private = self._lanes[Component.PRIVATE]
        self._private.on = True
        self._spans: list[tuple[int, int]] = []
        self._plain = False
        """No surcharge is on, and nothing of one is left to be settled."""
        self._lines_know = False
        """Nothing but the private line can have changed since the lines were made."""
        self._others_used: tuple[tuple[int, int], ...] = ((0, 0),) * (len(Component) - 1)
        self.posted_units = 0
        self.hold_units = 0
        self.available_units = 0
        self.leeway = UNLIMITED
        self._more_units = 0
        """What may be held beyond what is held, as far as this session knows."""
        self._lines = tuple(Line(c, False, lane.rate, 0, 0) for c, lane in self._lanes.items())
        self.end: End | None = None
        self.charged_units = 0
        """Whole seconds of every component, priced."""
        self._weighed = 0
        """The same by the expert's percentages, in hundredths of units."""
        self.total_rate = self._private.rate
        """Units per second of everything that is on."""
        self.grant_s = 0
        """How long the last full grant was."""
        self.surplus = False
        """More is held than should be, since there is less to spend: it goes back."""
        self.lease_ns = _NEVER_NS
        """Media may pass until then: moved on with every durable mark."""
        self.revision = 0
        """Grows whenever held media was counted: a mark of an older revision is out of date."""
        self.first_media_ns: int | None = None
        self.started = False
        """People were told of the first media; what ends before that costs nothing."""
        self.paused = False
        """People were told that media stopped."""
        self.over = False
        self._warned: set[int] = set()

    # --- money that follows from the seconds ---------------------------------------------

    @property
    def earned_units(self) -> int:
        """The expert's share of what is charged."""
        return self._weighed // PERCENT_MAX

    @property
    def free_units(self) -> int:
        """Held and not used yet: what still can be charged without asking."""
        return self.posted_units + self.hold_units - self.charged_units

    @property
    def balance_units(self) -> int:
        """The member's credits to the second, as far as this session knows."""
        return self.available_units + self.free_units

    @property
    def told_flowing(self) -> bool:
        """People were told that media flows, and of no end since: as long as it does, no beat has
        anything to say."""
        return self.started and not self.paused and not self.over

    def is_on(self, component: Component) -> bool:
        """Whether the component is switched on and funded."""
        return self._lanes[component].on

    def seconds(self, component: Component) -> int:
        """Charged seconds."""
        return self._lanes[component].seconds

    def used(self) -> Sequence[tuple[int, int]]:
        """Charged seconds and whole held milliseconds of every component."""
        private = self._private
        return (private.seconds, private.held_ns // NS_PER_MS), *self._others_used

    def held_ms(self, component: Component) -> int:
        """Whole held milliseconds."""
        return self._lanes[component].held_ns // NS_PER_MS

    def time_left_s(self) -> int:
        """Whole seconds that balance and limit still pay at the current rate."""
        rate = self.total_rate
        return (self.free_units + self._more_units) // rate if rate else 0

    # --- media in -------------------------------------------------------------------------

    def absorb(self, component: Component, intervals: Sequence[tuple[int, int]]) -> None:
        """Count held intervals; what was counted before, or while switched off, is clipped."""
        if self.over:
            return
        if not intervals:
            return
        lane = self._lanes[component]
        if self._plain and lane is self._private and len(intervals) == 1:
            ((start, end),) = intervals
            if start == lane.end_ns and end >= start:
                self._flows_on(lane, start, end)
                return
        for start, end in intervals:
            begin = max(start, lane.since_ns, lane.end_ns if lane.end_ns is not None else start)
            if end < begin:
                continue
            lane.end_ns = end
            if component is Component.PRIVATE:
                self._private_held(begin, end)
            elif lane.on:
                lane.waiting.append((begin, end))
        self.revision += 1
        if len(self._spans) > 1 or any(lane.waiting for lane in self._lanes.values()):
            self._settle_waiting()
        self._count_seconds()
        self._note_plain()

    def _note_plain(self) -> None:
        others = [lane for lane in self._lanes.values() if lane is not self._private]
        self._plain = not any(lane.on or lane.waiting for lane in others)
        self._lines_know = False
        self._others_used = tuple((lane.seconds, lane.held_ns // NS_PER_MS) for lane in others)

    def _flows_on(self, lane: _Lane, start: int, end: int) -> None:
        """The common case, and the hot one: only the session itself, where it stopped before."""
        lane.end_ns = end
        lane.held_ns += end - start
        self._spans[-1] = (self._spans[-1][0], end)
        self.revision += 1
        if len(self._spans) > 1:
            del self._spans[:-1]
        whole = lane.held_ns // NS_PER_S
        if whole == lane.seconds + 1 and self.free_units >= lane.rate and self.started:
            lane.seconds = whole
            self.charged_units += lane.rate
            self._weighed += lane.weight
        elif whole > lane.seconds:
            self._count_seconds()

    def _private_held(self, begin: int, end: int) -> None:
        if self.first_media_ns is None:
            self.first_media_ns = begin
        self._private.held_ns += end - begin
        if self._spans and self._spans[-1][1] == begin:
            self._spans[-1] = (self._spans[-1][0], end)
        else:
            self._spans.append((begin, end))

    def _settle_waiting(self) -> None:
        """Charge surcharge media only where it overlaps with the session's own held media."""
        known = self._private.end_ns
        if known is None:
            return
        for component, lane in self._lanes.items():
            if component is Component.PRIVATE or not lane.waiting:
                continue
            later: list[tuple[int, int]] = []
            for start, end in lane.waiting:
                for span_start, span_end in self._spans:
                    lane.held_ns += max(0, min(end, span_end) - max(start, span_start))
                if end > known:
                    later.append((max(start, known), end))
            lane.waiting = later
        self._forget_spans()

    def _forget_spans(self) -> None:
        """Drop what no surcharge can overlap any more; the running span stays."""
        reported = [
            max(lane.since_ns, lane.end_ns or 0)
            for component, lane in self._lanes.items()
            if lane.on and component is not Component.PRIVATE
        ]
        while len(self._spans) > 1 and all(self._spans[0][1] <= ns for ns in reported):
            del self._spans[0]

    def _count_seconds(self) -> None:
        """Whole held seconds become charged ones, but never beyond what the ledger holds."""
        if not self.started:
            return
        free = self.free_units
        for lane in self._lanes.values():
            whole = lane.held_ns // NS_PER_S
            if whole <= lane.seconds:
                continue
            paid = whole if not lane.rate else min(whole, lane.seconds + free // lane.rate)
            if paid < whole:
                # A second that was not paid for stays free for ever; it is not charged later.
                lane.held_ns = paid * NS_PER_S
            cost = (paid - lane.seconds) * lane.rate
            free -= cost
            self.charged_units += cost
            self._weighed += (paid - lane.seconds) * lane.weight
            lane.seconds = paid

    # --- time out -------------------------------------------------------------------------

    def funded_ns(self) -> int:
        """How much longer media may flow until a second begins that the hold cannot pay.

        Seconds in progress are paid first; then each component's next second, in the order in
        which they begin.
        """
        left = self.free_units - self.total_rate
        if not self.started:
            left -= sum(
                (lane.held_ns // NS_PER_S - lane.seconds) * lane.rate
                for lane in self._lanes.values()
            )
        if left < 0:
            return 0
        if self.total_rate == self._private.rate:
            # Only the session itself costs: the common case, and the hot one.
            lane = self._private
            phase_ns = NS_PER_S - lane.held_ns % NS_PER_S
            return left // lane.rate * NS_PER_S + phase_ns
        lanes = [lane for lane in self._lanes.values() if lane.on and lane.rate]
        phases = sorted((NS_PER_S - lane.held_ns % NS_PER_S, lane.rate) for lane in lanes)
        whole_s, left = divmod(left, sum(rate for _, rate in phases))
        for phase_ns, rate in phases:
            if left < rate:
                return whole_s * NS_PER_S + phase_ns
            left -= rate
        raise AssertionError("a remainder below the total rate cannot pay every component")

    def deadline_ns(self, now_ns: int) -> int:
        """Until when packets may pass: the clock runs from the last packet while media flows."""
        return 0 if self.over else min(self.funded_until_ns(now_ns), self.lease_ns)

    def funded_until_ns(self, now_ns: int) -> int:
        """Until when what is held pays, from the last packet on while media flows."""
        last = self._private.end_ns
        if last is None or now_ns - last >= HELD_WINDOW_NS:
            return now_ns + self.funded_ns()
        return last + self.funded_ns()

    def _flowing(self, now_ns: int) -> bool:
        last = self._private.end_ns
        return last is not None and now_ns - last < HELD_WINDOW_NS

    def gate_until_ns(self, component: Component, now_ns: int) -> int:
        """What this component's gate gets."""
        return self.deadline_ns(now_ns) if self._lanes[component].on else 0

    def beat(self, now_ns: int) -> list[MeterEvent]:
        """Starts, pauses, resumes and the end of the last grant. Absorb all gates first."""
        if self.over:
            return []
        if self._lease_lost(now_ns):
            return [self.lost()]
        events: list[MeterEvent] = []
        last = self._private.end_ns
        if last is not None and self.first_media_ns is not None:
            if not self.started:
                self._start()
                events.append(Started(self.first_media_ns))
            flowing = self._flowing(now_ns)
            if not flowing and not self.paused:
                self.paused = True
                events.append(Paused(last))
            elif flowing and self.paused:
                self.paused = False
                events.append(Resumed())
        deadline = self.funded_until_ns(now_ns)
        if now_ns >= deadline:
            self._cut(deadline)
            events.append(self._why_over())
        return events

    def _start(self) -> None:
        """People are told now: what was held since the first packet counts."""
        self.started = True
        self.revision += 1
        self._count_seconds()
        self._note_plain()

    def _lease_lost(self, now_ns: int) -> bool:
        """Media flowed up to the end of the lease, and nobody made its seconds durable since.

        Packets pass no more from that end on. A process that was stopped gets the time of a held
        window to write; one that was stopped for longer than its lease finds no media that flowed.
        """
        last = self._private.end_ns
        if last is None or now_ns < self.lease_ns + HELD_WINDOW_NS:
            return False
        return last >= self.lease_ns - HELD_WINDOW_NS

    def _cut(self, deadline: int) -> None:
        """The grant ended while media flowed: its last second is whole, up to the cut itself."""
        for component, lane in self._lanes.items():
            if lane.on and lane.end_ns is not None and 0 <= deadline - lane.end_ns <= CUT_GAP_NS:
                self.absorb(component, [(lane.end_ns, deadline)])
        self.over = True

    def _why_over(self) -> MeterEvent:
        match self.end:
            case None:
                return self.lost()
            case End.FUNDS:
                return Exhausted()
            case limit:
                return SpendLimit(limit)

    def lost(self) -> LedgerLost:
        """The session ends because its ledger is gone."""
        self.over = True
        return LedgerLost()

    def stop(self) -> None:
        """The session ends from outside: nothing is counted after this."""
        self.over = True

    # --- switches -------------------------------------------------------------------------

    def switch(self, component: Component, on: bool, now_ns: int) -> None:
        """A rate boundary. For on: only after the plan with the new rate is durable."""
        lane = self._lanes[component]
        if on and not lane.on:
            lane.since_ns = now_ns
        lane.on = on
        self._note_plain()
        self.total_rate = sum(lane.rate for lane in self._lanes.values() if lane.on)

    # --- the ledger -----------------------------------------------------------------------

    def renewal_due(self) -> bool:
        """Half of the grant is used, or more is held than should be.

        Also at the end of the funds or of a limit: credits are bought, another session gives back
        what it held, a new day begins.
        """
        return not self.over and (self.surplus or self.funded_ns() < self.renew_below_ns)

    @property
    def renew_below_ns(self) -> int:
        """With less granted time than this a renewal is due."""
        return max(self.grant_s, GRANT_S) * NS_PER_S // 2

    def plan(
        self,
        available_units: int,
        leeway: Leeway = UNLIMITED,
        *,
        extra_rate: int = 0,
        shrink: bool = False,
    ) -> Plan:
        """Post what is used and hold a full grant, or all whole seconds that are left.

        `extra_rate` is the surcharge about to be switched on; `shrink` gives a surplus back.
        """
        rate = self.total_rate + extra_rate
        free = self.free_units
        funds, bound = self._spendable(available_units, leeway)
        grant_s = self._next_grant_s(funds, rate)
        target = rate * grant_s
        wanted = min(target, funds // rate * rate) if rate else 0
        if not shrink and not self.surplus:
            wanted = max(wanted, min(free, funds))
        end = bound if wanted < target else None
        return Plan(self.charged_units, wanted, end, grant_s, self.earned_units)

    def _next_grant_s(self, funds: int, rate: int) -> int:
        """Longer for a session that lasts, as long as it strands little of what there is."""
        half_used = self.funded_ns() < self.renew_below_ns
        grant_s = 2 * self.grant_s if half_used else self.grant_s
        few_s = funds // (rate * FUNDS_PER_GRANT) if rate else GRANT_S
        return max(GRANT_S, min(grant_s, GRANT_MAX_S, few_s))

    def final_plan(self) -> Plan:
        """Post what is used, hold nothing more."""
        return Plan(self.charged_units, 0, self.end, earned_units=self.earned_units)

    def _spendable(self, available_units: int, leeway: Leeway) -> tuple[int, End]:
        """Units that may still be used, and what they end with.

        A limit that was lowered takes nothing back that is held already: gates are open on it.
        """
        more, end = available_units, End.FUNDS
        if leeway.units is not None and leeway.units < more:
            more, end = leeway.units, leeway.end
        for limit in (self.order.spend_limit_units, leeway.session_units):
            if limit is not None and limit - self.posted_units - self.hold_units < more:
                more, end = limit - self.posted_units - self.hold_units, End.LIMIT_SESSION
        return self.free_units + max(0, more), end

    def granted(self, plan: Plan, available_units: int, leeway: Leeway = UNLIMITED) -> None:
        """The plan is durable."""
        self.posted_units = plan.posted_units
        self.hold_units = plan.hold_units
        self.end = plan.end
        self.grant_s = plan.grant_s
        self.surplus = False
        self.available_units = available_units
        self.leeway = leeway
        self._more_units = self._spendable(available_units, leeway)[0] - self.free_units

    def funds_changed(self, available_units: int, leeway: Leeway | None = None) -> None:
        """Another transfer of the member was committed, or the member's limits changed."""
        leeway = leeway or self.leeway
        if (available_units, leeway) == (self.available_units, self.leeway):
            return
        before = self.time_left_s()
        self.available_units, self.leeway = available_units, leeway
        funds = self._spendable(available_units, leeway)[0]
        most = max(GRANT_S * self.total_rate, 2 * funds // FUNDS_PER_GRANT)
        self.surplus = self.free_units > most
        self._more_units = funds - self.free_units
        after = self.time_left_s()
        self._warned -= {s for s in self._warned if before <= s < after}

    def warning(self) -> LowBalance | None:
        """The warning that is due now, if one is; several at once make one."""
        if self.over or not self.started:
            return None
        left = self.time_left_s()
        if left > WARNINGS_S[0]:
            return None
        due = {s for s in WARNINGS_S if left <= s} - self._warned
        if not due:
            return None
        self._warned |= due
        return LowBalance(left, self._spendable(self.available_units, self.leeway)[1])

    # --- views ----------------------------------------------------------------------------

    def lines(self) -> tuple[Line, ...]:
        """Every component, PRIVATE first."""
        first, lane = self._lines[0], self._private
        if self._lines_know:
            if first.seconds != lane.seconds:
                cost = lane.seconds * lane.rate
                first = Line(first.component, True, lane.rate, lane.seconds, cost)
                self._lines = (first, *self._lines[1:])
            return self._lines
        self._lines = tuple(
            line
            if line.seconds == lane.seconds and line.on == lane.on
            else Line(c, lane.on, lane.rate, lane.seconds, lane.seconds * lane.rate)
            for line, (c, lane) in zip(self._lines, self._lanes.items(), strict=True)
        )
        self._lines_know = self._plain
        return self._lines

    def snapshot(self) -> MeterSnapshot:
        """For the HUD of both sides."""
        rate, charged = self.total_rate, self.charged_units
        free = self.posted_units + self.hold_units - charged
        return MeterSnapshot(
            self.order.session_id,
            self._private.held_ns // NS_PER_MS,
            self.paused or not self.started,
            rate,
            charged,
            self.lines(),
            self.available_units + free,
            (free + self._more_units) // rate if rate else 0,
            self._weighed // PERCENT_MAX,
        )

    def summary(self, reason: str, started_at: datetime | None, ended_at: datetime) -> Summary:
        """For both sides after the end."""
        return Summary(
            session_id=self.order.session_id,
            held_ms=self.held_ms(Component.PRIVATE),
            cost_units=self.charged_units,
            lines=self.lines(),
            balance_units=self.balance_units,
            earned_units=self.earned_units,
            reason=reason,
            started_at=started_at,
            ended_at=ended_at,
        )
