"""Orders: created → authorized → settled | failed, each credited exactly once.

An attempt is written before the provider is asked, so that after a crash it is known whom to ask
what. Settling an attempt, crediting the ledger, making the member premium and queueing the
receipt are one transaction, guarded by the attempt's state. What is pending is asked for again,
less and less often, whether webhooks come or not.
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

from billing_meter import (
    ledger,
    order_store,
    promotion_store,
    promotions,
    schema,
)
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger import Posted, Purchase
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.order_store import Order, OrderState
from billing_meter.packages import PACKAGES, Package
from billing_meter.promotions import Price
from billing_meter.providers import (
    ChargeResult,
    Declined,
    DeclineReason,
    FakeProvider,
    Method,
    NoProvider,
    Pending,
    Provider,
    ProviderUnavailable,
    Redirect,
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

POLL_FIRST_S, POLL_NEXT_S, POLL_MAX_S = 0.5, 2.0, 120.0
"""When a pending payment is looked up: soon, then each time after twice as long. A member may
take an hour on the provider's page, and the provider limits how often it is asked."""
FORGOTTEN_MS = 24 * 60 * 60 * 1_000
"""An order that nobody tried to pay for so long is closed."""
KEY_CHARS_MAX = 120

log = logging.getLogger(__name__)

RefusedCode = Literal[
    "key_reused",
    "key_invalid",
    "unknown_package",
    "unknown_method",
    "unknown_order",
    "order_closed",
    "on_break",
    "price_changed",
    "token_unusable",
]
EVERYWHERE: Mapping[str, frozenset[str]] = {}
ResolvedHook = Callable[[LedgerTransaction, Order], Awaitable[None]]
CardHook = Callable[[LedgerTransaction, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """Nothing was ordered or paid."""

    code: RefusedCode


class WrongPayment(Exception):
    """The provider reports another amount or currency than was ordered; nothing was changed."""


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
        poll_first_s: float = POLL_FIRST_S,
    ) -> None:
        self._database = database
        self._wallet = wallet
        self._provider = provider
        self.catalog = catalog
        self._method_countries = method_countries
        self._utc_now = utc_now
        self._poll_first_s = poll_first_s
        self._poller: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._looks: dict[str, tuple[float, float]] = {}
        """Pending attempt → when (loop time) it is looked up next, and the wait after that."""
        self.on_resolved: ResolvedHook | None = None
        """Awaited inside the transaction that settles or fails an order (auto-reload)."""
        self.on_card: CardHook | None = None
        """Awaited inside the transaction that settles an order, with its card's fingerprint."""

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
    def redirects(self) -> bool:
        """Whether members pay on the provider's own page."""
        return self._provider.redirects

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

    async def find(self, order_id: str) -> Order | None:
        """An order, whosever it is: for staff."""
        async with self._database.read() as connection:
            return await order_store.find(connection, order_id)

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
        if await _on_break(transaction, member_id):
            return OrderRefused("on_break")
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

    async def pay(self, member_id: str, order_id: str, token: str = "") -> Order | OrderRefused:
        """Ask the provider for an order's money. Paying again never charges again.

        The order comes back settled, failed, or authorized when the provider is slow; then the
        balance push tells the end. Still created means that `redirect` has the page to pay on,
        or that the provider has not answered yet.
        """
        if bool(token) == self._provider.redirects:
            return OrderRefused("token_unusable")
        async with self._wallet.ledger.transaction() as transaction:
            order = await order_store.find(transaction.connection, order_id, lock=True)
            if order is None or order.member_id != member_id:
                return OrderRefused("unknown_order")
            if order.state is OrderState.SETTLED:
                return order
            if order.state not in (OrderState.CREATED, OrderState.AUTHORIZED):
                return OrderRefused("order_closed")
            pending = await order_store.pending_attempt(transaction.connection, order_id)
            if pending is None and await _on_break(transaction, member_id):
                return OrderRefused("on_break")
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
            charge = await order_store.charge_of(connection, attempt_id)
        if charge is None:
            return
        try:
            result = Unknown() if fresh else await self._provider.lookup(charge)
            if isinstance(result, Unknown):
                result = await self._provider.charge(charge)
            await self.confirm(attempt_id, result)
            if isinstance(result, Settled | Declined):
                return
        except ProviderUnavailable:
            log.warning("the payment provider did not answer for attempt %s", attempt_id)
        except WrongPayment as wrong:
            log.error("attempt %s was not credited: %s", attempt_id, wrong)
        self.start()

    async def check(self, member_id: str, order_id: str) -> Order | OrderRefused:
        """Ask the provider about a member's order now: they came back from its page."""
        async with self._database.read() as connection:
            order = await order_store.find(connection, order_id)
            if order is None or order.member_id != member_id:
                return OrderRefused("unknown_order")
            attempt_id = await order_store.pending_attempt(connection, order_id)
        if attempt_id is not None:
            await self.charge(attempt_id)
        return await self.order(member_id, order_id) or OrderRefused("unknown_order")

    async def cancel(self, member_id: str, order_id: str) -> Order | OrderRefused:
        """The member does not want it any more. What was paid in the meantime is credited."""
        async with self._wallet.ledger.transaction() as transaction:
            order = await order_store.find(transaction.connection, order_id, lock=True)
            if order is None or order.member_id != member_id:
                return OrderRefused("unknown_order")
            attempt_id = await order_store.pending_attempt(transaction.connection, order_id)
            if attempt_id is None and order.state is OrderState.CREATED:
                await self._fail_in(transaction, order, DeclineReason.NOT_PAID.value)
            charge = attempt_id and await order_store.charge_of(transaction.connection, attempt_id)
        if attempt_id and charge:
            try:
                result = await self._provider.cancel(charge)
                if not isinstance(result, Unknown):
                    await self.confirm(attempt_id, result)
            except ProviderUnavailable:
                log.warning("the payment provider did not answer for attempt %s", attempt_id)
            except WrongPayment as wrong:
                log.error("attempt %s was not credited: %s", attempt_id, wrong)
        return await self.order(member_id, order_id) or OrderRefused("unknown_order")

    async def redirect(self, order: Order) -> str | None:
        """The provider's page on which this order can be paid now."""
        async with self._database.read() as connection:
            now_ms = self._wallet.ledger.now_ms()
            return await order_store.redirect_of(connection, order.order_id, now_ms)

    async def stored_token(self, member_id: str) -> str | None:
        """A card that may be charged without the member being there, if there is one."""
        async with self._database.read() as connection:
            known = await order_store.stored_token(connection, member_id, self._provider.name)
        return known or self._provider.default_token

    async def confirm(self, attempt_id: str, result: ChargeResult) -> Order | None:
        """Take a provider's word (answer, poll or webhook). Any number of times counts once.

        Raises WrongPayment.
        """
        async with self._wallet.ledger.transaction() as transaction:
            return await self.confirm_in(transaction, attempt_id, result)

    async def confirm_in(
        self, transaction: LedgerTransaction, attempt_id: str, result: ChargeResult
    ) -> Order | None:
        """The same inside an open transaction."""
        connection, at_ms = transaction.connection, transaction.at_ms
        order = await order_store.order_of_attempt(connection, attempt_id)
        if order is None:
            return None
        match result:
            case Redirect():
                await order_store.keep_redirect(connection, attempt_id, result)
            case Pending(reference):
                await order_store.authorize(connection, order, attempt_id, reference, at_ms)
            case Declined(reason):
                if await order_store.resolve_attempt(
                    connection, attempt_id, "declined", reason.value, None, at_ms
                ):
                    await self._fail_in(transaction, order, reason.value)
            case Settled():
                _check_payment(order, result)
                if await order_store.resolve_attempt(
                    connection, attempt_id, "settled", None, result.reference, at_ms
                ):
                    await self._settle_in(transaction, order, result)
        return await order_store.find(connection, order.order_id)

    async def _settle_in(
        self, transaction: LedgerTransaction, order: Order, result: Settled
    ) -> None:
        subject = f"order:{order.order_id}"
        request = Purchase(subject, order.member_id, order.credits_units, subject)
        outcome, upgraded = await credit_in(transaction, request)
        if not isinstance(outcome, Posted):
            raise RuntimeError(f"a purchase was refused: {outcome.code}")
        connection, at_ms = transaction.connection, transaction.at_ms
        await order_store.settle(connection, order, outcome.transfer, at_ms)
        if result.card is not None:
            await order_store.keep_card(
                connection, order.member_id, self._provider.name, result.card, at_ms
            )
            if self.on_card is not None and result.card.fingerprint is not None:
                await self.on_card(transaction, result.card.fingerprint)
        if upgraded:
            transaction.after_commit.append(lambda: self._wallet.on_premium(order.member_id))
        await self._tell_resolved(transaction, order.order_id)

    async def _fail_in(self, transaction: LedgerTransaction, order: Order, failure: str) -> None:
        await order_store.fail(transaction.connection, order, failure, transaction.at_ms)
        await self._tell_resolved(transaction, order.order_id)

    async def _tell_resolved(self, transaction: LedgerTransaction, order_id: str) -> None:
        resolved = await order_store.find(transaction.connection, order_id)
        if self.on_resolved is not None and resolved is not None:
            await self.on_resolved(transaction, resolved)

    # --- what is still pending ------------------------------------------------------------

    async def resume_pending(self) -> int:
        """Ask about every pending attempt at once; how many remain."""
        for attempt_id in await self._pending():
            await self.charge(attempt_id)
        return len(await self._pending())

    async def close_forgotten(self) -> int:
        """Close orders that nobody tried to pay for a day; how many."""
        before_ms = self._wallet.ledger.now_ms() - FORGOTTEN_MS
        async with self._database.read() as connection:
            forgotten = await order_store.never_paid(connection, before_ms)
        for order_id in forgotten:
            async with self._wallet.ledger.transaction() as transaction:
                order = await order_store.find(transaction.connection, order_id, lock=True)
                tried = await order_store.pending_attempt(transaction.connection, order_id)
                if order is not None and order.state is OrderState.CREATED and tried is None:
                    await self._fail_in(transaction, order, DeclineReason.NOT_PAID.value)
        return len(forgotten)

    def start(self) -> None:
        """Look after what is pending, also from an earlier run, in the background."""
        self._wake.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="orders")

    async def close(self) -> None:
        """Stop polling; pending attempts are resumed by the next start."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
            self._poller = None

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            wait_s = POLL_NEXT_S
            try:
                pending = await self._pending()
                if not pending:
                    self._looks.clear()
                    return
                now_s = loop.time()
                known = self._looks
                self._looks = {
                    attempt_id: known.get(attempt_id, (now_s + self._poll_first_s, POLL_NEXT_S))
                    for attempt_id in pending
                }
                for attempt_id, (at_s, next_s) in list(self._looks.items()):
                    if at_s <= now_s:
                        self._looks[attempt_id] = (now_s + next_s, min(next_s * 2, POLL_MAX_S))
                        await self.charge(attempt_id)
                wait_s = min(at_s for at_s, _ in self._looks.values()) - loop.time()
            except DatabaseUnavailable:
                log.exception("pending payments could not be looked up")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, 0)):
                    await self._wake.wait()

    async def _pending(self) -> Sequence[str]:
        async with self._database.read() as connection:
            return await order_store.pending_attempts(connection, self._provider.name)


def _check_payment(order: Order, paid: Settled) -> None:
    if paid.price_minor not in (None, order.price_minor):
        raise WrongPayment(f"{paid.price_minor} was paid instead of {order.price_minor}")
    if paid.currency not in (None, order.currency):
        raise WrongPayment(f"{paid.currency} was paid instead of {order.currency}")


async def _on_break(transaction: LedgerTransaction, member_id: str) -> bool:
    """Whether the member chose to buy nothing now."""
    limits = await transaction.limits(member_id)
    return limits is not None and limits.break_until_ms is not None
