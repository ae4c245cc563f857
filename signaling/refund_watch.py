"""Tells open pages what became of refunds, whoever decided: staff here, or a command elsewhere.

Of private sessions that members asked back, and of purchases that staff gave back.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

from billing_meter.ledger_store import utc_ms
from billing_meter.purchases import Purchases
from billing_meter.refunds import Refunds
from billing_meter.wallet import Wallet
from rooms.floor import Floor
from rooms.roles import VisitorKind
from signaling import wire
from signaling.hub import Hub

WATCH_PERIOD_S = 2.0
"""How soon a page hears of what another process decided; one look is two queries by an index."""
SLACK_MS = 60_000
"""A decision's instant is of its writer's clock, before the commit: look back as far as this."""


class RefundWatch:
    """Looks for decisions that are new since the last look."""

    def __init__(
        self, wallet: Wallet, floor: Floor, hub: Hub, utc_now: Callable[[], dt.datetime]
    ) -> None:
        self._wallet = wallet
        self._floor = floor
        self._hub = hub
        self._utc_now = utc_now
        self._refunds = Refunds(wallet.ledger)
        self._purchases = Purchases(wallet)
        self._told: frozenset[str | int] = frozenset()
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Push balance and news to whoever is here; a page that is not reads them when it comes."""
        if not self._floor.has_members():
            return  # a query wakes two threads a dozen times, while packets are forwarded
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        since_ms = utc_ms(self._utc_now()) - SLACK_MS
        decided: dict[str | int, str] = {
            one.session_id: one.member_id for one in await self._refunds.decided_since(since_ms)
        }
        for given in await self._purchases.refunded_since(since_ms):
            decided[given.transfer] = given.member_id
        new = {member_id for name, member_id in decided.items() if name not in self._told}
        self._told = frozenset(decided)
        for member_id in new:
            if not self._floor.places_of((VisitorKind.MEMBER, member_id)):
                continue
            self._wallet.on_balance(member_id, await self._wallet.balance(member_id))
            self._hub.tell_member(member_id, wire.WalletChanged(part="refunds"))
