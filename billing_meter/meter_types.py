"""What goes into the meter and comes out of it: orders, gates, snapshots, events, plans."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from billing_meter.tariff import Component, Tariff

GRANT_S = 8
"""Seconds of the current total rate that the first grant holds: outlives a slow fsync."""
GRANT_MAX_S = 64
"""A grant may be twice as long as the one before, up to this: fewer writes, but more stranded."""
FUNDS_PER_GRANT = 16
"""A grant longer than GRANT_S is at most this part of what the member can spend."""
LEASE_S = 8
"""Media passes at most this long after the last durable mark, whatever is held: what a crash or a
lost ledger can cost the house, and how soon a process that lost its ledger is silent."""


class HeldMedia(Protocol):
    """What the meter needs of a forwarding gate."""

    @property
    def last_forwarded_ns(self) -> int | None:
        """When the last packet passed, or None."""

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        """Held intervals (start, end) not reported before."""

    def open_until(self, until_ns: int) -> None:
        """Packets pass only while now < until_ns; 0 closes."""


class End(enum.StrEnum):
    """Why no further grant is to be expected; the codes that people and programs see."""

    FUNDS = "balance_empty"
    LIMIT_SESSION = "limit_session"
    LIMIT_DAY = "limit_day"
    LIMIT_WEEK = "limit_week"
    LIMIT_MONTH = "limit_month"
    ON_BREAK = "on_break"


FundsCode = Literal[
    "insufficient_credits", "limit_session", "limit_day", "limit_week", "limit_month", "on_break"
]
FUNDS_CODES: Mapping[End, FundsCode] = {
    End.FUNDS: "insufficient_credits",
    End.LIMIT_SESSION: "limit_session",
    End.LIMIT_DAY: "limit_day",
    End.LIMIT_WEEK: "limit_week",
    End.LIMIT_MONTH: "limit_month",
    End.ON_BREAK: "on_break",
}
"""What a refusal is called when this is what keeps a member from spending."""


@dataclass(frozen=True, slots=True)
class Leeway:
    """What a member's own limits let a session set aside beyond what is set aside already."""

    units: int | None = None
    """Over all that they do; None: no limit. Below zero after a limit was lowered."""
    end: End = End.FUNDS
    """Whose limit `units` is."""
    session_units: int | None = None
    """What one session may cost in all; None: no limit."""

    def taken(self, units: int) -> Leeway:
        """After `units` more (or fewer) were set aside."""
        return self if self.units is None else replace(self, units=self.units - units)


UNLIMITED = Leeway()


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """What the two agreed on: prices are frozen here."""

    session_id: str
    member_id: str
    expert_id: str
    tariff: Tariff
    spend_limit_units: int | None = None
    wanted: frozenset[Component] = frozenset()
    """Surcharges that are on from the start; PRIVATE always is."""


class Line(Struct, frozen=True):
    """One component: whole charged seconds and their units."""

    component: Component
    on: bool
    rate_units_per_s: int
    seconds: int
    units: int


class MeterSnapshot(Struct, frozen=True):
    """Everything the HUD shows; `paused` also before the first packet."""

    session_id: str
    held_ms: int
    paused: bool
    rate_units_per_s: int
    cost_units: int
    lines: tuple[Line, ...]
    balance_units: int
    time_left_s: int
    earned_units: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A session after its end."""

    session_id: str
    held_ms: int
    cost_units: int
    lines: tuple[Line, ...]
    balance_units: int
    earned_units: int
    reason: str
    started_at: datetime | None
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Started:
    """The first packet passed: the clock runs."""

    first_media_ns: int


class Ticked(Struct, frozen=True):
    """The tick's mark is durable."""

    snapshot: MeterSnapshot


@dataclass(frozen=True, slots=True)
class Paused:
    """No packet for the hold window: nothing is charged since `last_media_ns`."""

    last_media_ns: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """Packets pass again."""


@dataclass(frozen=True, slots=True)
class LowBalance:
    """Once at each of WARNINGS_S; a top-up arms those again that it lifts the balance above."""

    seconds_left: int
    cause: End = End.FUNDS
    """What ends the session then: the balance, or a limit of the member's own."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The balance cannot pay another whole second; media is cut already."""


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """A limit of the member's own does not let another second begin; media is cut already."""

    end: End


@dataclass(frozen=True, slots=True)
class LedgerLost:
    """The ledger gave no new grant before the last one ran out; media is cut already."""


MeterEvent = Started | Ticked | Paused | Resumed | LowBalance | Exhausted | SpendLimit | LedgerLost


@dataclass(frozen=True, slots=True)
class Plan:
    """What one ledger entry does to a session's money. Totals, so that repeating adds nothing."""

    posted_units: int
    """Charged so far and now to be posted."""
    hold_units: int
    """What the hold contains afterwards."""
    end: End | None
    """Why the hold is smaller than a full grant."""
    grant_s: int = GRANT_S
    """How many seconds a full grant is."""
    earned_units: int = 0
    """The expert's share of what is posted then."""
