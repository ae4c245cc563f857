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

_O = schema.orders.c
_A = schema.attempts.c


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


async def token_of_pending(connection: AsyncConnection, attempt_id: str) -> str | None:
    """The provider's token, only while the attempt is unresolved."""
    query = sa.select(_A.token).where(_A.attempt_id == attempt_id, _A.state == "pending")
    found: str | None = await connection.scalar(query)
    return found


async def resolve_attempt(
    connection: AsyncConnection,
    attempt_id: str,
    state: str,
    failure: str | None,
    reference: str | None,
    at_ms: int,
) -> bool:
    """End a pending attempt; False when it had ended before: the guard of "exactly once"."""
    result = await connection.execute(
        sa.update(schema.attempts)
        .where(_A.attempt_id == attempt_id, _A.state == "pending")
        .values(state=state, failure=failure, provider_ref=reference, resolved_at_ms=at_ms)
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
    await connection.execute(
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id)
        .values(
            state="settled",
            transfer=transfer,
            authorized_at_ms=sa.func.coalesce(_O.authorized_at_ms, at_ms),
            settled_at_ms=at_ms,
        )
    )
    await receipts.queue_receipt(connection, order, at_ms)


async def fail(connection: AsyncConnection, order: Order, failure: str, at_ms: int) -> None:
    """The order will not be paid; the member is told why."""
    await connection.execute(
        sa.update(schema.orders)
        .where(_O.order_id == order.order_id)
        .values(state="failed", failure=failure, ended_at_ms=at_ms)
    )
    await receipts.queue_failure(connection, order, failure, at_ms)
