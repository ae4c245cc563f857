"""Webhooks of payment providers: believed, counted once, and taken in any order.

An event only says where to look. The provider is asked what is true now, and its answer and the
event's id are written in one transaction, so a repeated event finds its id and does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import order_reversals, order_store, schema
from billing_meter.database import Database
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.orders import Orders, WrongPayment
from billing_meter.providers import (
    CheckNews,
    EventRefused,
    EventSource,
    News,
    Pending,
    ProviderEvent,
    Redirect,
    Settled,
)
from billing_meter.wallet import Wallet

log = logging.getLogger(__name__)

CheckHook = Callable[[str], Awaitable[bool | None]]
Taken = Literal["applied", "duplicate", "ignored"]


class Webhooks:
    """One provider's events. `take` raises EventRefused and ProviderUnavailable."""

    def __init__(
        self, database: Database, wallet: Wallet, orders: Orders, source: EventSource
    ) -> None:
        self._database = database
        self._wallet = wallet
        self._orders = orders
        self._source = source
        self.on_check: CheckHook | None = None
        """Asks what became of a card check: whether it was still pending; None: none of ours."""

    @property
    def provider(self) -> str:
        """Whose events these are."""
        return self._source.name

    async def take(self, body: bytes, signature: str) -> Taken:
        """Check, look, and apply. `ignored` is what does not concern our orders."""
        event = self._source.open_event(body, signature)
        async with self._database.read() as connection:
            if await self._known(connection, event):
                return "duplicate"
        news = await self._source.news(event)
        if news is None:
            return "ignored"
        if isinstance(news, CheckNews):
            return await self._checked(news.check_id)
        async with self._wallet.ledger.transaction() as transaction:
            if await self._known(transaction.connection, event):
                return "duplicate"  # it came twice at once
            await self._apply(transaction, event, news)
        return "applied"

    async def _checked(self, check_id: str) -> Taken:
        """The claim's own state makes its end once, so the event need not be remembered."""
        pending = None if self.on_check is None else await self.on_check(check_id)
        if pending is None:
            return "ignored"
        return "applied" if pending else "duplicate"

    async def _apply(
        self, transaction: LedgerTransaction, event: ProviderEvent, news: News
    ) -> None:
        connection = transaction.connection
        reference = (
            news.result.reference if isinstance(news.result, Settled | Pending | Redirect) else ""
        )
        if not await order_store.attempt_matches(
            connection, news.attempt_id, news.order_id, self.provider, reference
        ):
            log.warning("event %s is about an order that is not its own", event.event_id)
            raise EventRefused("order_mismatch")
        try:
            order = await self._orders.confirm_in(transaction, news.attempt_id, news.result)
        except WrongPayment as wrong:
            log.error("event %s, order %s: %s", event.event_id, news.order_id, wrong)
            raise EventRefused("payment_mismatch") from None
        assert order is not None
        await order_reversals.told(transaction, order, news.refunded_minor, news.dispute)
        row = {
            "provider": self.provider,
            "event_id": event.event_id,
            "kind": event.kind[:64],
            "order_id": news.order_id,
            "at_ms": transaction.at_ms,
        }
        await connection.execute(sa.insert(schema.events), [row])

    async def _known(self, connection: AsyncConnection, event: ProviderEvent) -> bool:
        table = schema.events.c
        query = sa.select(table.event_id).where(
            table.provider == self.provider, table.event_id == event.event_id
        )
        return await connection.scalar(query) is not None
