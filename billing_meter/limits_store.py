"""What members decide about their own spending: limits, raises that wait, breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from billing_meter import limits_rows
from billing_meter.database import Database
from billing_meter.ledger_store import LedgerStore, LedgerTransaction
from billing_meter.limits import BREAK_DAYS, HOUR_MS, WINDOWS, Limits, Span, window_end_ms
from billing_meter.units import CREDITS_MAX, UNITS_PER_CREDIT

LIMIT_UNITS_MAX = CREDITS_MAX * UNITS_PER_CREDIT
"""No real limit comes near; every sum stays below 2^63."""

RefusedCode = Literal["bad_limit", "bad_break", "unknown_time_zone", "time_zone_fixed"]


@dataclass(frozen=True, slots=True)
class LimitsRefused:
    """Nothing was changed."""

    code: RefusedCode


class SpendLimits:
    """A member's own limits. Changes are published to running sessions after their commit."""

    def __init__(self, database: Database, ledger: LedgerStore) -> None:
        self._database = database
        self._ledger = ledger

    async def view(self, member_id: str, zone_name: str = limits_rows.DEFAULT_ZONE) -> Limits:
        """As they are now; with everything open and counted in `zone_name` before the first."""
        now_ms = self._ledger.now_ms()
        async with self._database.read() as connection:
            stored = await limits_rows.read_limits(connection, [member_id], now_ms)
            if member_id in stored:
                return stored[member_id]
            return await limits_rows.begin(connection, member_id, zone_name, now_ms)

    def resets_at_ms(self, limits: Limits, span: Span) -> int | None:
        """When a window's count begins anew; None for a session."""
        if span not in WINDOWS:
            return None
        # From the window that is counted, which a backward clock step left ahead of the clock.
        start_ms = max(self._ledger.now_ms(), limits.windows[span].start_ms)
        return window_end_ms(span, start_ms, limits_rows.zone_of(limits))

    async def set_limit(
        self, member_id: str, span: Span, units: int | None, zone_name: str | None = None
    ) -> Limits | LimitsRefused:
        """Lower a limit at once; raise or remove (None) it after a day. Repeating is harmless.

        Days and weeks begin in the zone that came with the first limit; another zone counts only
        while no limit is in force, for it moves the windows.
        """
        if units is not None and not 0 <= units <= LIMIT_UNITS_MAX:
            return LimitsRefused("bad_limit")
        if zone_name is not None and limits_rows.known_zone(zone_name) is None:
            return LimitsRefused("unknown_time_zone")
        async with self._ledger.transaction() as transaction:
            limits = await self._limits(transaction, member_id, zone_name)
            if isinstance(limits, LimitsRefused):
                return limits
            wanted = limits.limits[span].wanted(units, transaction.at_ms)
            changed = replace(limits, limits={**limits.limits, span: wanted})
            await _keep(transaction, member_id, changed)
        return changed

    async def take_break(self, member_id: str, days: int) -> Limits | LimitsRefused:
        """Buy and start nothing for so many times 24 hours; only ever made longer."""
        if days not in BREAK_DAYS:
            return LimitsRefused("bad_break")
        async with self._ledger.transaction() as transaction:
            limits = await self._limits(transaction, member_id, None)
            if isinstance(limits, LimitsRefused):
                return limits
            until_ms = transaction.at_ms + days * 24 * HOUR_MS
            changed = replace(limits, break_until_ms=max(until_ms, limits.break_until_ms or 0))
            await _keep(transaction, member_id, changed)
        return changed

    async def _limits(
        self, transaction: LedgerTransaction, member_id: str, zone_name: str | None
    ) -> Limits | LimitsRefused:
        """The member's limits; their rows are made if this is the first time."""
        connection, now_ms = transaction.connection, transaction.at_ms
        limits = await transaction.limits(member_id)
        if limits is not None and zone_name in (None, limits.zone_name):
            return limits
        if limits is not None and limits.any_in_force:
            return LimitsRefused("time_zone_fixed")
        fresh = await limits_rows.begin(
            connection, member_id, zone_name or limits_rows.DEFAULT_ZONE, now_ms
        )
        if limits is not None:
            fresh = replace(fresh, break_until_ms=limits.break_until_ms)
            await limits_rows.remove(connection, member_id)
        await limits_rows.insert(connection, member_id, fresh, now_ms)
        return fresh


async def _keep(transaction: LedgerTransaction, member_id: str, limits: Limits) -> None:
    await limits_rows.change(transaction.connection, member_id, limits, transaction.at_ms)
    transaction.leeways[member_id] = limits.leeway
