"""The rows of orders and payment attempts."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import receipts, schema
from billing_meter.packages import Package
from billing_meter.promotions import Price
from billing_meter.providers import Card, Charge, DeclineReason, Redirect

_O = schema.orders.c
_A = schema.attempts.c
SWEEP_ORDERS_MAX = 100
"""How many forgotten orders one sweep closes, so that it holds the writer briefly."""


class OrderState(enum.StrEnum):
    """created → authorized → settled or failed; a settled one may be refunded or charged back."""

    CREATED = "created"
    AUTHORIZED = "authorized"
    SETTLED = "settled"
    FAILED = "failed"
    REFUNDED = "refunded"
    CHARGED_BACK = "charged_back"


@dataclass(frozen=True, slots=True)
class Order:
    """One purchase of a package; `failure` is a DeclineReason."""

    order_id: str
    member_id: str
    origin: str
    package_id: str
    method: str
    credits_units: int
    price_minor: int
    currency: str
    descriptor: str
    state: OrderState
    failure: str | None
    created_at_ms: int
    authorized_at_ms: int | None
    settled_at_ms: int | None
    list_price_minor: int
    promotion_id: str | None
    country: str | None
    refunded_units: int = 0
    transfer: int | None = None


def new_order(
    member_id: str,
    package: Package,
    price: Price,
    method: str,
    country: str | None,
    origin: str,
    descriptor: str,
    at_ms: int,
) -> Order:
    """A fresh order of a package at this price, which it keeps."""
    return Order(
        order_id=uuid.uuid4().hex,
        member_id=member_id,
        origin=origin,
        package_id=package.id,
        method=method,
        credits_units=package.credits_units,
        price_minor=price.price_minor,
        currency=package.currency,
        descriptor=descriptor,
        state=OrderState.CREATED,
        failure=None,
        created_at_ms=at_ms,
        authorized_at_ms=None,
        settled_at_ms=None,
        list_price_minor=price.list_price_minor,
        promotion_id=None if price.promotion is None else price.promotion.promotion_id,
        country=country,
    )


def _order(row: sa.RowMapping) -> Order:
    return Order(
        order_id=row["order_id"],
        member_id=row["member_id"],
        origin=row["origin"],
        package_id=row["package_id"],
        method=row["method"],
        credits_units=row["credits_units"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        descriptor=row["descriptor"],
        state=OrderState(row["state"]),
        failure=row["failure"],
        created_at_ms=row["created_at_ms"],
        authorized_at_ms=row["authorized_at_ms"],
        settled_at_ms=row["settled_at_ms"],
        list_price_minor=row["list_price_minor"],
        promotion_id=row["promotion_id"],
        country=row["country"],
        refunded_units=row["refunded_units"],
        transfer=row["transfer"],
    )


async def insert(connection: AsyncConnection, order: Order, key: str, digest: str) -> None:
    """Store a fresh order."""
    row = {
        "order_id": order.order_id,
        "key": key,
        "request_hash": digest,
        "member_id": order.member_id,
        "origin": order.origin,
        "package_id": order.package_id,
        "method": order.method,
        "credits_units": order.credits_units,
        "price_minor": order.price_minor,
        "list_price_minor": order.list_price_minor,
        "promotion_id": order.promotion_id,
        "country": order.country,
        "currency": order.currency,
        "descriptor": order.descriptor,
        "state": order.state.value,
        "refunded_units": 0,
        "created_at_ms": order.created_at_ms,
    }
    await connection.execute(sa.insert(schema.orders), [row])


async def find(connection: AsyncConnection, order_id: str, *, lock: bool = False) -> Order | None:
    """One order; `lock` keeps it until the transaction ends."""
    query = sa.select(schema.orders).where(_O.order_id == order_id)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _order(row)


async def find_by_key(connection: AsyncConnection, key: str) -> tuple[Order, str] | None:
    """The order under an idempotency key, and the hash of the request that made it."""
    query = sa.select(schema.orders).where(_O.key == key)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else (_order(row), row["request_hash"])


async def orders_of(connection: AsyncConnection, member_id: str, limit: int) -> Sequence[Order]:
    """Newest first."""
    query = (
        sa.select(schema.orders)
        .where(_O.member_id == member_id)
        .order_by(_O.created_at_ms.desc(), _O.order_id)
        .limit(limit)
    )
    return [_order(row) for row in (await connection.execute(query)).mappings()]


async def last_country(connection: AsyncConnection, member_id: str) -> str | None:
    """Where the member's last own order came from: what auto-reload goes by."""
    query = (
        sa.select(_O.country)
        .where(_O.member_id == member_id, _O.origin == "member")
        .order_by(_O.created_at_ms.desc(), _O.order_id)
        .limit(1)
    )
    found: str | None = await connection.scalar(query)
    return found


async def charge_of(
    connection: AsyncConnection, attempt_id: str, *, pending: bool = True
) -> Charge | None:
    """What the provider is asked of an attempt, by default only while it is unresolved."""
    cards = schema.cards.c
    query = (
        sa.select(
            schema.orders,
            _A.token,
            _A.provider_ref,
            _A.created_at_ms.label("attempted_at_ms"),
            cards.customer,
        )
        .select_from(
            schema.attempts.join(schema.orders).outerjoin(
                schema.cards,
                sa.and_(cards.member_id == _O.member_id, cards.provider == _A.provider),
            )
        )
        .where(_A.attempt_id == attempt_id)
    )
    if pending:
        query = query.where(_A.state == "pending")
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    return Charge(
        attempt_id=attempt_id,
        member_id=row["member_id"],
        method=row["method"],
        token=row["token"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        descriptor=row["descriptor"],
        order_id=row["order_id"],
        credits_units=row["credits_units"],
        created_at_ms=row["attempted_at_ms"],
        reference=row["provider_ref"],
        customer=row["customer"],
    )


async def order_of_attempt(connection: AsyncConnection, attempt_id: str) -> Order | None:
    """The order that an attempt is to pay."""
    query = (
        sa.select(schema.orders)
        .select_from(schema.orders.join(schema.attempts))
        .where(_A.attempt_id == attempt_id)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _order(row)


async def pending_attempt(connection: AsyncConnection, order_id: str) -> str | None:
    """The order's attempt that is not resolved yet."""
    query = sa.select(_A.attempt_id).where(_A.order_id == order_id, _A.state == "pending")
    found: str | None = await connection.scalar(query)
    return found


async def pending_attempts(connection: AsyncConnection, provider: str) -> Sequence[str]:
    """A provider's unresolved attempts, oldest first."""
    query = (
        sa.select(_A.attempt_id)
        .where(_A.state == "pending", _A.provider == provider)
        .order_by(_A.created_at_ms, _A.attempt_id)
    )
    return (await connection.scalars(query)).all()


async def paid_attempt(connection: AsyncConnection, order_id: str) -> str | None:
    """The attempt that paid an order."""
    query = sa.select(_A.attempt_id).where(_A.order_id == order_id, _A.state == "settled")
    found: str | None = await connection.scalar(query)
    return found


async def attempt_matches(
    connection: AsyncConnection, attempt_id: str, order_id: str, provider: str, reference: str
) -> bool:
    """Whether an attempt is this order's at this provider, under this reference if it has one."""
    query = sa.select(_A.provider_ref).where(
        _A.attempt_id == attempt_id, _A.order_id == order_id, _A.provider == provider
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return False
    # A page and its payment have names of their own kinds; two of one kind are two payments.
    known, kind = row[0], reference.partition("_")[0]
    return known is None or known == reference or known.partition("_")[0] != kind


async def redirect_of(connection: AsyncConnection, order_id: str, now_ms: int) -> str | None:
    """The provider's page on which an order can be paid now."""
    query = sa.select(_A.redirect_url).where(
        _A.order_id == order_id, _A.state == "pending", _A.expires_at_ms > now_ms
    )
    found: str | None = await connection.scalar(query)
    return found


async def keep_redirect(connection: AsyncConnection, attempt_id: str, page: Redirect) -> None:
    """The member pays on this page."""
    await connection.execute(
        sa.update(schema.attempts)
        .where(_A.attempt_id == attempt_id, _A.state == "pending")
        .values(
            provider_ref=page.reference, redirect_url=page.url, expires_at_ms=page.expires_at_ms
        )
    )


async def keep_card(
    connection: AsyncConnection, member_id: str, provider: str, card: Card, at_ms: int
) -> None:
    """Remember the card of the last purchase; auto-reload goes on with it."""
    table = schema.cards
    mine = sa.and_(table.c.member_id == member_id, table.c.provider == provider)
    values = {
        "token": card.token,
        "customer": card.customer,
        "fingerprint": card.fingerprint,
        "brand": card.brand,
        "last4": card.last4,
        "updated_at_ms": at_ms,
    }
    updated = await connection.execute(sa.update(table).where(mine).values(values))
    if updated.rowcount == 0:
        row = values | {"member_id": member_id, "provider": provider}
        await connection.execute(sa.insert(table), [row])
    reloads = schema.reloads
    await connection.execute(
        sa.update(reloads)
        .where(reloads.c.member_id == member_id, reloads.c.token.is_not(None))
        .values(token=card.token)
    )


async def stored_token(connection: AsyncConnection, member_id: str, provider: str) -> str | None:
    """A card of this member that may be charged without them being there."""
    table = schema.cards
    query = sa.select(table.c.token).where(
        table.c.member_id == member_id, table.c.provider == provider
    )
    found: str | None = await connection.scalar(query)
    return found


async def never_paid(connection: AsyncConnection, before_ms: int) -> Sequence[str]:
    """Orders from before then that nobody tried to pay."""
    query = (
        sa.select(_O.order_id)
        .select_from(schema.orders.outerjoin(schema.attempts))
        .where(_O.state == "created", _O.created_at_ms < before_ms, _A.attempt_id.is_(None))
        .order_by(_O.created_at_ms)
        .limit(SWEEP_ORDERS_MAX)
    )
    return (await connection.scalars(query)).all()


async def resolve_attempt(
    connection: AsyncConnection,
    attempt_id: str,
    state: str,
    failure: str | None,
    reference: str | None,
    at_ms: int,
) -> bool:
    """End an attempt; False when it had ended before: the guard of "exactly once".

    A payment may still arrive after the attempt was given up; money that came is never kept
    without its credits.
    """
    before = ("pending", "declined") if state == "settled" else ("pending",)
    result = await connection.execute(
        sa.update(schema.attempts)
        .where(_A.attempt_id == attempt_id, _A.state.in_(before))
        .values(
            state=state,
            failure=failure,
            provider_ref=sa.func.coalesce(_A.provider_ref, reference),
            resolved_at_ms=at_ms,
        )
    )
    return result.rowcount == 1


async def authorize(
    connection: AsyncConnection, order: Order, attempt_id: str, reference: str, at_ms: int
) -> None:
    """The provider will probably pay; nothing is credited yet."""
    await connection.execute(
        sa.update(schema.attempts)
        .where(_A.attempt_id == attempt_id, _A.state == "pending")
        .values(provider_ref=reference)
    )
    await connection.execute(
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id, _O.state == "created")
        .values(state="authorized", authorized_at_ms=at_ms)
    )


async def settle(connection: AsyncConnection, order: Order, transfer: int, at_ms: int) -> None:
    """The order is paid by this transfer; its receipt waits in the outbox."""
    await _change(
        connection,
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id, _O.state.in_(("created", "authorized", "failed")))
        .values(
            state="settled",
            failure=None,
            ended_at_ms=None,
            transfer=transfer,
            authorized_at_ms=sa.func.coalesce(_O.authorized_at_ms, at_ms),
            settled_at_ms=at_ms,
        ),
    )
    await receipts.queue_receipt(connection, order, at_ms)


async def fail(connection: AsyncConnection, order: Order, failure: str, at_ms: int) -> None:
    """The order will not be paid; the member is told why, unless they chose not to pay."""
    await _change(
        connection,
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id, _O.state.in_(("created", "authorized")))
        .values(state="failed", failure=failure, ended_at_ms=at_ms),
    )
    if failure != DeclineReason.NOT_PAID:
        await receipts.queue_failure(connection, order, failure, at_ms)


async def take_back(
    connection: AsyncConnection, order: Order, state: OrderState, refunded_units: int, at_ms: int
) -> None:
    """Money of a settled order went back (or came again); so much of its credits with it."""
    ended = at_ms if state is not OrderState.SETTLED else None
    await _change(
        connection,
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id, _O.state == order.state.value)
        .values(state=state.value, refunded_units=refunded_units, ended_at_ms=ended),
    )


async def _change(connection: AsyncConnection, update: sa.Update) -> None:
    """One guarded step of an order; a step from another state is a fault and rolls back."""
    if (await connection.execute(update)).rowcount != 1:
        raise RuntimeError("an order was not in the state that this step begins from")
