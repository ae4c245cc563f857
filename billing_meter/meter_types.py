"""What goes into the meter and comes out of it: orders, gates, snapshots, events, plans."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing_meter.tariff import Component, Tariff


class HeldMedia(Protocol):
    """What the meter needs of a forwarding gate."""

    @property
    def last_forwarded_ns(self) -> int | None:
        """When the last packet passed, or None."""

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        """Held intervals (start, end) not reported before."""

    def open_until(self, until_ns: int) -> None:
        """Packets pass only while now < until_ns; 0 closes."""


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


@dataclass(frozen=True, slots=True)
class Line:
    """One component: whole charged seconds and their units."""

    component: Component
    on: bool
    rate_units_per_s: int
    seconds: int
    units: int


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
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


@dataclass(frozen=True, slots=True)
class Ticked:
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


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The balance cannot pay another whole second; media is cut already."""


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """The session's own limit cannot pay another whole second; media is cut already."""


@dataclass(frozen=True, slots=True)
class LedgerLost:
    """The ledger gave no new grant before the last one ran out; media is cut already."""


MeterEvent = Started | Ticked | Paused | Resumed | LowBalance | Exhausted | SpendLimit | LedgerLost


class End(enum.Enum):
    """Why no further grant is to be expected."""

    FUNDS = "funds"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one ledger entry does to a session's money. Totals, so that repeating adds nothing."""

    posted_units: int
    """Charged so far and now to be posted."""
    hold_units: int
    """What the hold contains afterwards."""
    end: End | None
    """Why the hold is smaller than a full grant."""
