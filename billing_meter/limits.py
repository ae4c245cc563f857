"""Spend limits (pure): calendar windows, what they still leave, raises that wait, breaks.

A window counts all that left a member's buckets in it: what was spent, and what holds set aside
now. A hold that is open when a window begins counts in the new one too, so what is spent out of it
later never passes the new window's limit. Refunds give no room back: a limit is on what was spent.

Instants are UTC milliseconds. A window never goes back: after a backward step of the clock the
window that was reached stays, with its count.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo

from billing_meter.ledger import (
    GATEWAY_CLEARING,
    PROMO_COST,
    Entry,
    debt_account,
    held_account,
    paid_account,
    promo_account,
)
from billing_meter.meter_types import UNLIMITED, End, Leeway

HOUR_MS = 60 * 60 * 1_000
RAISE_WAITS_MS = 24 * HOUR_MS
"""A raised or removed limit counts only after this: nobody should decide that in the moment."""
BREAK_DAYS = (1, 7, 30)
"""How long a break may be asked for, in days of 24 hours."""


class Span(enum.StrEnum):
    """What a limit is for."""

    SESSION = "session"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


WINDOWS = (Span.DAY, Span.WEEK, Span.MONTH)
END_OF = {
    Span.SESSION: End.LIMIT_SESSION,
    Span.DAY: End.LIMIT_DAY,
    Span.WEEK: End.LIMIT_WEEK,
    Span.MONTH: End.LIMIT_MONTH,
}


def window_start_ms(span: Span, at_ms: int, zone: tzinfo) -> int:
    """When the calendar day, week (from Monday) or month began that `at_ms` lies in."""
    return _midnight_ms(_first_day(span, _local_date(at_ms, zone)), zone)


def window_end_ms(span: Span, at_ms: int, zone: tzinfo) -> int:
    """When the next one begins."""
    first = _first_day(span, _local_date(at_ms, zone))
    match span:
        case Span.DAY:
            after = first + timedelta(days=1)
        case Span.WEEK:
            after = first + timedelta(days=7)
        case Span.MONTH:
            after = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        case Span.SESSION:
            raise ValueError("a session is no calendar window")
    return _midnight_ms(after, zone)


def _first_day(span: Span, day: date) -> date:
    match span:
        case Span.DAY:
            return day
        case Span.WEEK:
            return day - timedelta(days=day.weekday())
        case Span.MONTH:
            return day.replace(day=1)
        case Span.SESSION:
            raise ValueError("a session is no calendar window")


def _local_date(at_ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(at_ms // 1_000, zone).date()


def _midnight_ms(day: date, zone: tzinfo) -> int:
    """The instant of 00:00; where the clocks skip it, the instant at which they do."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000


@dataclass(frozen=True, slots=True)
class Limit:
    """Units in force (None: no limit), and what replaces them at `next_at_ms` (None: nothing)."""

    units: int | None = None
    next_units: int | None = None
    next_at_ms: int | None = None

    def at(self, now_ms: int) -> Limit:
        """With a raise whose time has come in force."""
        if self.next_at_ms is None or now_ms < self.next_at_ms:
            return self
        return Limit(self.next_units)

    def wanted(self, units: int | None, now_ms: int) -> Limit:
        """Lowered at once; raised or removed after RAISE_WAITS_MS; the present value keeps it.

        Asking again for the raise that waits does not make it wait longer; any other wish
        replaces it.
        """
        present = self.at(now_ms)
        if present.units is None or (units is not None and units <= present.units):
            return Limit(units)
        if present.next_at_ms is not None and present.next_units == units:
            return present
        return Limit(present.units, units, now_ms + RAISE_WAITS_MS)


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted since a window began: transfers from number `since_transfer` on."""

    start_ms: int
    counted_units: int
    since_transfer: int


@dataclass(frozen=True, slots=True)
class Limits:
    """A member's limits as they are at one instant (see `at`)."""

    zone_name: str
    limits: Mapping[Span, Limit]
    windows: Mapping[Span, Window]
    break_until_ms: int | None = None

    def at(self, now_ms: int, zone: tzinfo, held_units: int, next_transfer: int) -> Limits:
        """Raises that are due in force, windows that have passed begun anew, breaks ended."""
        windows = {}
        for span, window in self.windows.items():
            start_ms = window_start_ms(span, now_ms, zone)
            new = Window(start_ms, held_units, next_transfer)
            windows[span] = new if start_ms > window.start_ms else window
        over = self.break_until_ms is not None and now_ms >= self.break_until_ms
        return Limits(
            self.zone_name,
            {span: limit.at(now_ms) for span, limit in self.limits.items()},
            windows,
            None if over else self.break_until_ms,
        )

    @property
    def any_in_force(self) -> bool:
        """Whether anything is limited at all."""
        return any(limit.units is not None for limit in self.limits.values())

    def left_units(self, span: Span) -> int | None:
        """What a window still leaves, below zero after its limit was lowered; None: no limit."""
        units = self.limits[span].units
        return None if units is None else units - self.windows[span].counted_units

    @property
    def leeway(self) -> Leeway:
        """What may still be set aside, and by which name it ends."""
        session_units = self.limits[Span.SESSION].units
        if self.break_until_ms is not None:
            return Leeway(0, End.ON_BREAK, session_units)
        tightest = UNLIMITED
        for span in WINDOWS:
            left = self.left_units(span)
            # Of two that end together the longer one is named: it is what lasts.
            if left is not None and (tightest.units is None or left <= tightest.units):
                tightest = Leeway(left, END_OF[span])
        return replace(tightest, session_units=session_units)

    def counting(self, units: int) -> Limits | None:
        """With `units` more (or fewer) counted in every window; None if a limit forbids it."""
        leeway = self.leeway
        if units > 0 and leeway.units is not None and units > leeway.units:
            return None
        windows = {
            span: replace(window, counted_units=window.counted_units + units)
            for span, window in self.windows.items()
        }
        return replace(self, windows=windows)


def aside_accounts(member_id: str) -> tuple[str, ...]:
    """Where units go, or come from, that are no spending: purchases, gifts, money back, debts."""
    return (GATEWAY_CLEARING, PROMO_COST, debt_account(member_id))


def counted_units(entry: Entry) -> int:
    """What a transfer adds to its member's windows, or gives back to them out of a hold."""
    member_id = entry.member_id
    if member_id is None:
        return 0
    get = entry.postings.get
    back_units = get(paid_account(member_id), 0) + get(promo_account(member_id), 0)
    back_units += sum(get(account, 0) for account in aside_accounts(member_id))
    if back_units <= 0:
        return -back_units
    # Back to the member: only what comes out of the hold was counted before.
    return -min(back_units, max(0, -get(held_account(member_id), 0)))


def spends(entry: Entry) -> bool:
    """Whether a transfer concerns what its member spends or holds."""
    if entry.member_id is None:
        return False
    return held_account(entry.member_id) in entry.postings or counted_units(entry) != 0
