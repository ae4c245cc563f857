"""Orders: created → authorized → settled | failed, each credited exactly once.

An attempt is written before the provider is asked, so that after a crash it is known whom to ask
what. Settling an attempt, crediting the ledger, making the member premium and queueing the
receipt are one transaction, guarded by the attempt's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import ledger, order_store, promotion_store, promotions, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger import Posted, Purchase
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.order_store import Order, OrderState
from billing_meter.packages import PACKAGES, Package
from billing_meter.promotions import Price
from billing_meter.providers import (
    Charge,
    ChargeResult,
    Declined,
    DeclineReason,
    FakeProvider,
    Method,
    NoProvider,
    Pending,
    Provider,
    ProviderUnavailable,
    Settled,
    Unknown,
)
from billing_meter.wallet import Wallet, credit_in

__all__ = [
    "DeclineReason",
    "FakeProvider",
    "Method",
    "NoProvider",
    "Order",
    "OrderRefused",
    "OrderState",
    "Orders",
    "Package",
    "Provider",
]

POLL_S = 2.0
"""How often pending payments are looked up."""
POLL_FIRST_S = 0.5
KEY_CHARS_MAX = 120

log = logging.getLogger(__name__)

RefusedCode = Literal[
    "key_reused",
    "key_invalid",
    "unknown_package",
    "unknown_method",
    "unknown_order",
    "order_closed",
    "price_changed",
]
EVERYWHERE: Mapping[str, frozenset[str]] = {}
ResolvedHook = Callable[[LedgerTransaction, Order], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """Nothing was ordered or paid."""

    code: RefusedCode


class Orders:
    """Buying credits. `packages`, `methods` and `descriptor` are for the page."""

    def __init__(
        self,
        database: Database,
        wallet: Wallet,
        provider: Provider,
        *,
        catalog: Mapping[str, Package] = PACKAGES,
        method_countries: Mapping[str, frozenset[str]] = EVERYWHERE,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._wallet = wallet
        self._provider = provider
        self.catalog = catalog
        self._method_countries = method_countries
        self._utc_now = utc_now
        self._poller: asyncio.Task[None] | None = None
        self.on_resolved: ResolvedHook | None = None
        """Awaited inside the transaction that settles or fails an order (auto-reload)."""

    # --- for the page ---------------------------------------------------------------------

    async def packages(self) -> Sequence[Package]:
        """What can be bought."""
        return list(self.catalog.values())

    @property
    def methods(self) -> Sequence[Method]:
        """How it can be paid, somewhere."""
        return self._provider.methods

    def methods_in(self, country: str | None) -> Sequence[Method]:
        """How it can be paid there. Where the country is not known: what works in every one."""
        return [
            method
            for method in self.methods
            if method.id not in self._method_countries
            or country in self._method_countries[method.id]
        ]

    async def prices(self, country: str | None) -> Mapping[tuple[str, str], Price]:
        """(package, method) → what it costs there now."""
        at_ms = self._wallet.ledger.now_ms()
        async with self._database.read() as connection:
            open_now = await promotion_store.current(connection, at_ms)
        return {
            (package.id, method.id): promotions.price(
                open_now, package.id, package.price_minor, method.id, country, at_ms
            )
            for package in self.catalog.values()
            for method in self.methods_in(country)
        }

    @property
    def descriptor(self) -> str:
        """What stands on the statement."""
        return self._provider.descriptor

    async def list(self, member_id: str, *, limit: int = 50) -> Sequence[Order]:
        """A member's orders, newest first."""
        async with self._database.read() as connection:
            return await order_store.orders_of(connection, member_id, limit)

    async def order(self, member_id: str, order_id: str) -> Order | None:
        """One order of this member."""
        async with self._database.read() as connection:
            found = await order_store.find(connection, order_id)
        return found if found is not None and found.member_id == member_id else None

    # --- buying ---------------------------------------------------------------------------

    async def create(
        self,
        member_id: str,
        package_id: str,
        method: str,
        key: str,
        *,
        country: str | None = None,
        accepted_price_minor: int | None = None,
    ) -> Order | OrderRefused:
        """Order a package. The same key and body give the same order for ever, at its price.

        A buyer who was shown another price than it has now is asked again (`price_changed`).
        """
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            return OrderRefused("key_invalid")
        package = self.catalog.get(package_id)
        if package is None:
            return OrderRefused("unknown_package")
        if method not in {known.id for known in self.methods_in(country)}:
            return OrderRefused("unknown_method")
        async with self._wallet.ledger.transaction() as transaction:
            return await self.create_in(
                transaction,
                member_id,
                package,
                method,
                f"{member_id}:{key}",
                "member",
                country=country,
                accepted_price_minor=accepted_price_minor,
            )

    async def create_in(
        self,
        transaction: LedgerTransaction,
        member_id: str,
        package: Package,
        method: str,
        key: str,
        origin: str,
        *,
        country: str | None = None,
        accepted_price_minor: int | None = None,
    ) -> Order | OrderRefused:
        """The same inside an open transaction; `key` is already the member's own."""
        body: dict[str, str | int | None] = {
            "member": member_id,
            "package": package.id,
            "method": method,
            "origin": origin,
        }
        if accepted_price_minor is not None:
            body["accepted_price_minor"] = accepted_price_minor
        digest = ledger.request_hash("order", body)
        known = await order_store.find_by_key(transaction.connection, key)
        if known is not None:
            order, known_digest = known
            return order if known_digest == digest else OrderRefused("key_reused")
        at_ms = transaction.at_ms
        open_now = await promotion_store.current(transaction.connection, at_ms)
        price = promotions.price(open_now, package.id, package.price_minor, method, country, at_ms)
        if accepted_price_minor not in (None, price.price_minor):
            return OrderRefused("price_changed")
        order = order_store.new_order(
            member_id, package, price, method, country, origin, self.descriptor, at_ms
        )
        await order_store.insert(transaction.connection, order, key, digest)
        return order

    async def pay(self, member_id: str, order_id: str, token: str) -> Order | OrderRefused:
        """Ask the provider for an order's money. Paying again never charges again.

        The order comes back settled, failed, or authorized when the provider is slow; then the
        balance push tells the end.
        """
        async with self._wallet.ledger.transaction() as transaction:
            order = await order_store.find(transaction.connection, order_id, lock=True)
            if order is None or order.member_id != member_id:
                return OrderRefused("unknown_order")
            if order.state is OrderState.SETTLED:
                return order
            if order.state not in (OrderState.CREATED, OrderState.AUTHORIZED):
                return OrderRefused("order_closed")
            pending = await order_store.pending_attempt(transaction.connection, order_id)
            attempt_id = pending or await self.attempt_in(transaction, order, token)
        await self.charge(attempt_id, fresh=pending is None)
        found = await self.order(member_id, order_id)
        return found if found is not None else OrderRefused("unknown_order")

    async def attempt_in(self, transaction: LedgerTransaction, order: Order, token: str) -> str:
        """Write an attempt before anybody is asked for money; returns its id."""
        attempt_id = uuid.uuid4().hex
        row = {
            "attempt_id": attempt_id,
            "order_id": order.order_id,
            "provider": self._provider.name,
            "token": token,
            "state": "pending",
            "created_at_ms": transaction.at_ms,
        }
        await transaction.connection.execute(sa.insert(schema.attempts), [row])
        return attempt_id

    async def charge(self, attempt_id: str, *, fresh: bool = False) -> None:
        """Ask the provider about one pending attempt and take its answer, if it gives one.

        Unless it is `fresh`, the provider may have been asked before a crash: look it up first.
        """
        async with self._database.read() as connection:
            charge = await self._charge_of(connection, attempt_id)
        if charge is None:
            return
        try:
            result = Unknown() if fresh else await self._provider.lookup(attempt_id)
            if isinstance(result, Unknown):
                result = await self._provider.charge(charge)
        except ProviderUnavailable:
            log.warning("the payment provider did not answer for attempt %s", attempt_id)
        else:
            await self.confirm(attempt_id, result)
            if not isinstance(result, Pending):
                return
        self.start()

    async def confirm(self, attempt_id: str, result: ChargeResult) -> Order | None:
        """Take a provider's word (answer, poll or webhook). Any number of times counts once."""
        async with self._wallet.ledger.transaction() as transaction:
            order, upgraded = await self._confirm_in(transaction, attempt_id, result)
        if upgraded and order is not None:
            self._wallet.on_premium(order.member_id)
        return order

    async def _confirm_in(
        self, transaction: LedgerTransaction, attempt_id: str, result: ChargeResult
    ) -> tuple[Order | None, bool]:
        connection = transaction.connection
        order = await order_store.order_of_attempt(connection, attempt_id)
        if order is None:
            return None, False
        reference: str | None
        failure: str | None
        match result:
            case Pending(reference):
                await order_store.authorize(
                    connection, order, attempt_id, reference, transaction.at_ms
                )
                return await order_store.find(connection, order.order_id), False
            case Settled(reference):
                state, failure = "settled", None
            case Declined(reason):
                state, failure, reference = "declined", reason.value, None
        fresh = await order_store.resolve_attempt(
            connection, attempt_id, state, failure, reference, transaction.at_ms
        )
        if not fresh:
            return order, False
        upgraded = False
        if failure is None:
            request = Purchase(
                f"order:{order.order_id}",
                order.member_id,
                order.credits_units,
                f"order:{order.order_id}",
            )
            outcome, upgraded = await credit_in(transaction, request)
            if not isinstance(outcome, Posted):
                raise RuntimeError(f"a purchase was refused: {outcome.code}")
            await order_store.settle(connection, order, outcome.transfer, transaction.at_ms)
        else:
            await order_store.fail(connection, order, failure, transaction.at_ms)
        resolved = await order_store.find(connection, order.order_id)
        if self.on_resolved is not None and resolved is not None:
            await self.on_resolved(transaction, resolved)
        return resolved, upgraded

    # --- what is still pending ------------------------------------------------------------

    async def resume_pending(self) -> int:
        """Ask about every pending attempt (at start, and by the poller); how many remain."""
        async with self._database.read() as connection:
            pending = await order_store.pending_attempts(connection, self._provider.name)
        for attempt_id in pending:
            await self.charge(attempt_id)
        async with self._database.read() as connection:
            return len(await order_store.pending_attempts(connection, self._provider.name))

    def start(self) -> None:
        """Resume what an earlier run left pending, in the background."""
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(POLL_FIRST_S), name="orders")

    async def close(self) -> None:
        """Stop polling; pending attempts are resumed by the next start."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
            self._poller = None

    async def _poll(self, wait_s: float) -> None:
        while True:
            try:
                async with self._database.read() as connection:
                    pending = await order_store.pending_attempts(connection, self._provider.name)
                if not pending:
                    return
                await asyncio.sleep(wait_s)
                wait_s = POLL_S
                await self.resume_pending()
            except DatabaseUnavailable:
                log.exception("pending payments could not be looked up")

    async def _charge_of(self, connection: AsyncConnection, attempt_id: str) -> Charge | None:
        order = await order_store.order_of_attempt(connection, attempt_id)
        token = await order_store.token_of_pending(connection, attempt_id)
        if order is None or token is None:
            return None
        return Charge(
            attempt_id=attempt_id,
            member_id=order.member_id,
            method=order.method,
            token=token,
            price_minor=order.price_minor,
            currency=order.currency,
            descriptor=order.descriptor,
        )
