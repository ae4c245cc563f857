"""Auto-reload: buys a package when a member's balance falls to 7 credits, if they opted in.

One durable row per member is the whole state machine: `armed` → `in_flight` → `armed`, or after a
decline `backoff`, and after the second one `off` until the member acts. The purchase itself is an
ordinary order; its end changes the row in the order's own transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from billing_meter import notices, order_store, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger_store import Balance, LedgerTransaction, read_balances
from billing_meter.meter_types import UNLIMITED
from billing_meter.order_store import Order, OrderState
from billing_meter.orders import OrderRefused, Orders
from billing_meter.packages import DEFAULT_PACKAGE_ID
from billing_meter.providers import DeclineReason
from billing_meter.row_updates import ROWS_PER_STATEMENT
from billing_meter.wallet import Wallet

THRESHOLD_UNITS = 42_000
"""7 credits."""
DAILY_CAP_DEFAULT = 5
DAILY_CAP_MAX = 50
BACKOFF_MS = 60_000
"""Between a decline and its only retry."""
IN_FLIGHT_LOOK_MS = 2_000
LIMIT_LOOK_MS = 60_000
"""How often it is looked again while the member's own limits stop it."""
ROW_LOOK_MS = 5_000
"""How often it is looked whether a member whose balance is low has opted in meanwhile, perhaps in
another process. At the dearest price 7 credits last 4 s: the first look, at the threshold, is at
once."""
DECLINES_MAX = 2
DAY_MS = 24 * 60 * 60 * 1_000

log = logging.getLogger(__name__)
_R = schema.reloads.c

ReloadState = Literal["armed", "in_flight", "backoff", "off"]
RefusedCode = Literal["unknown_package", "package_too_small", "bad_cap", "no_payment_method"]


@dataclass(frozen=True, slots=True)
class ReloadSettings:
    """What the wallet shows; `notice` tells why it stopped (`declined`, `needs_action`,
    `money_back`, `daily_cap`, or the limit or break that leaves nothing to buy for)."""

    enabled: bool
    state: ReloadState
    package_id: str
    daily_cap: int
    threshold_units: int = THRESHOLD_UNITS
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """The settings stay as they were."""

    code: RefusedCode


@dataclass(frozen=True, slots=True)
class _Wait:
    """Nothing to do for this member before this UTC millisecond."""

    until_ms: int


class _Off:
    """This member did not opt in, or not any more."""


class Reload:
    """Call `load()` at start; connect `on_spent` to the till; balances come from the wallet."""

    def __init__(
        self,
        database: Database,
        wallet: Wallet,
        orders: Orders,
        *,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._wallet = wallet
        self._orders = orders
        self._utc_now = utc_now
        self._waiting: dict[str, int] = {}
        """Members whose row was not off when it was looked at → before when not to act."""
        self._looked: dict[str, int] = {}
        """Members whose balance is low and whose row was off → before when not to look again."""
        self._to_look: set[str] = set()
        self._looker: asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        orders.on_resolved = self._resolved
        wallet.ledger.listen(self._balance_changed)

    # --- settings -------------------------------------------------------------------------

    async def load(self) -> None:
        """Learn who opted in. Purchases in flight are resumed by `Orders.resume_pending`."""
        query = sa.select(_R.member_id).where(_R.state != "off")
        async with self._database.read() as connection:
            members = (await connection.scalars(query)).all()
        self._waiting = dict.fromkeys(members, 0)

    async def settings(self, member_id: str) -> ReloadSettings:
        """Off with the defaults for those who never opted in."""
        query = sa.select(schema.reloads).where(_R.member_id == member_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return ReloadSettings(False, "off", DEFAULT_PACKAGE_ID, DAILY_CAP_DEFAULT)
        return ReloadSettings(
            enabled=row["state"] != "off",
            state=row["state"],
            package_id=row["package_id"],
            daily_cap=row["daily_cap"],
            notice=row["notice"],
        )

    async def set_settings(
        self,
        member_id: str,
        *,
        enabled: bool,
        package_id: str = DEFAULT_PACKAGE_ID,
        daily_cap: int = DAILY_CAP_DEFAULT,
        token: str | None = None,
    ) -> ReloadSettings | ReloadRefused:
        """Opt in or out, or change package and cap for the next purchase.

        The package must be above the threshold, or a reload would call for the next one at once.
        Without `token` the provider's stored card is used. Opting in forgets earlier declines.
        """
        package = self._orders.catalog.get(package_id)
        if package is None:
            return ReloadRefused("unknown_package")
        if package.credits_units <= THRESHOLD_UNITS:
            return ReloadRefused("package_too_small")
        if not 1 <= daily_cap <= DAILY_CAP_MAX:
            return ReloadRefused("bad_cap")
        card = token or await self._orders.stored_token(member_id)
        if enabled and (card is None or not self._orders.methods):
            return ReloadRefused("no_payment_method")
        wanted = {"package_id": package_id, "daily_cap": daily_cap, "token": card}
        async with self._wallet.ledger.transaction() as transaction:
            await self._store_settings(transaction, member_id, enabled, wanted)
        if enabled:
            self._waiting[member_id] = 0
        else:
            self._waiting.pop(member_id, None)
            self._looked.pop(member_id, None)
        return await self.settings(member_id)

    async def _store_settings(
        self, transaction: LedgerTransaction, member_id: str, enabled: bool, wanted: dict[str, Any]
    ) -> None:
        query = sa.select(_R.state).where(_R.member_id == member_id).with_for_update()
        state = await transaction.connection.scalar(query)
        changed = wanted | {"updated_at_ms": transaction.at_ms}
        if state is None:
            row = changed | {
                "member_id": member_id,
                "state": "armed" if enabled else "off",
                "method": self._orders.methods[0].id if self._orders.methods else "",
                "failures": 0,
                "day": 0,
                "day_count": 0,
                "serial": 0,
            }
            await transaction.connection.execute(sa.insert(schema.reloads), [row])
            return
        if not enabled:
            changed |= {"state": "off", "notice": None}
        elif state != "in_flight":
            changed |= {"state": "armed", "failures": 0, "backoff_until_ms": None, "notice": None}
        await transaction.connection.execute(
            sa.update(schema.reloads).where(_R.member_id == member_id).values(changed)
        )

    # --- triggers -------------------------------------------------------------------------

    def on_spent(self, member_id: str, balance_units: int) -> None:
        """A second of a session was charged (the till calls it, every tick)."""
        if balance_units > THRESHOLD_UNITS:
            return
        now_ms, until_ms = self._now_ms(), self._waiting.get(member_id)
        if until_ms is None:
            self._ask_row(member_id, now_ms)
        elif now_ms >= until_ms and member_id not in self._tasks:
            task = asyncio.create_task(self._checked(member_id), name=f"reload of {member_id}")
            self._tasks[member_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(member_id, None))

    def _balance_changed(self, member_id: str, balance: Balance) -> None:
        self.on_spent(member_id, balance.posted)

    def _ask_row(self, member_id: str, now_ms: int) -> None:
        """They may have opted in with another process: memory cannot tell, their row can."""
        if now_ms < self._looked.get(member_id, 0):
            return
        self._looked[member_id] = now_ms + ROW_LOOK_MS
        self._to_look.add(member_id)
        if self._looker is None or self._looker.done():
            self._looker = asyncio.create_task(self._look(), name="reload rows")

    async def _look(self) -> None:
        """Read the rows of all who wait for it at once, and act for those who opted in."""
        while self._to_look:
            members = sorted(self._to_look)[:ROWS_PER_STATEMENT]
            self._to_look.difference_update(members)
            query = sa.select(_R.member_id).where(_R.member_id.in_(members), _R.state != "off")
            try:
                async with self._database.read() as connection:
                    armed = (await connection.scalars(query)).all()
            except DatabaseUnavailable:
                log.exception("who opted in to auto-reload could not be looked up")
                continue
            for member_id in armed:
                self._waiting[member_id] = 0
                self.on_spent(member_id, 0)
        now_ms = self._now_ms()
        self._looked = {m: until_ms for m, until_ms in self._looked.items() if until_ms > now_ms}

    async def idle(self) -> None:
        """Wait for the checks that run now."""
        while self._looker is not None and not self._looker.done():
            await asyncio.wait([self._looker])
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _checked(self, member_id: str) -> None:
        try:
            await self.check(member_id)
        except DatabaseUnavailable:
            log.exception("auto-reload of member %s could not be checked", member_id)
            self._waiting[member_id] = self._now_ms() + BACKOFF_MS

    async def check(self, member_id: str) -> Order | None:
        """Buy if the row is armed and the balance is at the threshold or below."""
        async with self._wallet.ledger.transaction() as transaction:
            claimed = await self._claim(transaction, member_id)
        if isinstance(claimed, _Off):
            self._waiting.pop(member_id, None)
            return None
        if isinstance(claimed, _Wait):
            if member_id in self._waiting:
                self._waiting[member_id] = claimed.until_ms
            return None
        if claimed is None:
            return None
        order, attempt_id = claimed
        await self._orders.charge(attempt_id, fresh=True)
        return await self._orders.order(member_id, order.order_id)

    async def _claim(
        self, transaction: LedgerTransaction, member_id: str
    ) -> tuple[Order, str] | _Wait | _Off | None:
        """Take the row in flight, with its order and attempt: there is never a second one."""
        connection, now_ms = transaction.connection, transaction.at_ms
        query = sa.select(schema.reloads).where(_R.member_id == member_id).with_for_update()
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None or row["state"] == "off":
            return _Off()
        if await self._unresolved(transaction, row["order_id"]):
            return _Wait(now_ms + IN_FLIGHT_LOOK_MS)
        if row["state"] == "backoff" and now_ms < row["backoff_until_ms"]:
            return _Wait(row["backoff_until_ms"])
        balance = (await read_balances(connection, [member_id]))[member_id]
        if balance.posted > THRESHOLD_UNITS:
            return None
        mine = sa.update(schema.reloads).where(_R.member_id == member_id)
        limits = await transaction.limits(member_id)
        leeway = UNLIMITED if limits is None else limits.leeway
        if leeway.units is not None and leeway.units <= balance.available:
            # What they have is all that their limits let them spend: more would lie idle.
            await connection.execute(mine.values(notice=leeway.end.value, updated_at_ms=now_ms))
            return _Wait(now_ms + LIMIT_LOOK_MS)
        # A day never goes back: a calendar that is set back and on again gives no second cap.
        day = max(now_ms // DAY_MS, row["day"])
        count = row["day_count"] if row["day"] == day else 0
        if count >= row["daily_cap"]:
            await connection.execute(mine.values(notice="daily_cap", updated_at_ms=now_ms))
            return _Wait((day + 1) * DAY_MS)
        package = self._orders.catalog.get(row["package_id"])
        if package is None or row["token"] is None:
            await connection.execute(mine.values(state="off", notice="declined"))
            await notices.queue_reload_off(connection, member_id, "declined", now_ms)
            return None
        serial = row["serial"] + 1
        key = f"reload:{member_id}:{serial}"
        country = await order_store.last_country(connection, member_id)
        order = await self._orders.create_in(
            transaction, member_id, package, row["method"], key, "auto_reload", country=country
        )
        if isinstance(order, OrderRefused):
            raise RuntimeError(f"auto-reload order refused: {order.code}")
        attempt_id = await self._orders.attempt_in(transaction, order, row["token"])
        values = {
            "state": "in_flight",
            "order_id": order.order_id,
            "serial": serial,
            "day": day,
            "day_count": count + 1,
            "notice": None,
            "updated_at_ms": now_ms,
        }
        await connection.execute(mine.values(values))
        return order, attempt_id

    async def _unresolved(self, transaction: LedgerTransaction, order_id: str | None) -> bool:
        """Whether the last reload is still under way, even if opted out and in meanwhile."""
        if order_id is None:
            return False
        order = await order_store.find(transaction.connection, order_id)
        return order is not None and order.state in (OrderState.CREATED, OrderState.AUTHORIZED)

    async def _resolved(self, transaction: LedgerTransaction, order: Order) -> None:
        """An order ended: bring the row of its member along, in the same transaction."""
        if order.origin != "auto_reload":
            return
        # Whoever was told to wait for this one's end may look again at once.
        transaction.after_commit.append(lambda: self._look_again(order.member_id))
        mine = sa.and_(
            _R.member_id == order.member_id,
            _R.state == "in_flight",
            _R.order_id == order.order_id,
        )
        query = sa.select(_R.failures).where(mine)
        failures = await transaction.connection.scalar(query)
        if failures is None:
            return  # switched off meanwhile: this purchase completes, none follows
        values: dict[str, Any] = {"updated_at_ms": transaction.at_ms}
        if order.state is OrderState.SETTLED:
            values |= {"state": "armed", "failures": 0, "backoff_until_ms": None}
        elif order.failure == DeclineReason.NEEDS_ACTION:
            values |= {"state": "off", "failures": failures + 1, "notice": "needs_action"}
        elif failures + 1 >= DECLINES_MAX:
            values |= {"state": "off", "failures": failures + 1, "notice": "declined"}
        else:
            until_ms = transaction.at_ms + BACKOFF_MS
            values |= {"state": "backoff", "failures": failures + 1, "backoff_until_ms": until_ms}
        await transaction.connection.execute(sa.update(schema.reloads).where(mine).values(values))
        if values.get("state") == "off":
            await notices.queue_reload_off(
                transaction.connection, order.member_id, values["notice"], transaction.at_ms
            )

    def _look_again(self, member_id: str) -> None:
        if member_id in self._waiting:
            self._waiting[member_id] = 0

    def _now_ms(self) -> int:
        return self._wallet.ledger.now_ms()
