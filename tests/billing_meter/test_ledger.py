"""The ledger: double entry, buckets, holds, permanent keys, reversals, races for the last unit."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from billing_meter import ledger, schema
from billing_meter.database import Database, DatabaseRefused, DatabaseUnavailable
from billing_meter.ledger import (
    Debit,
    Draw,
    Hold,
    Posted,
    PostHold,
    PromoGrant,
    Purchase,
    Refused,
    Reverse,
    VoidHold,
)
from billing_meter.ledger_store import Balance
from billing_meter.statements import reconcile, verify


@pytest.fixture
async def store(house):
    await house.wallet.grant_promo("ann", 1_000, "free", "welcome")
    await house.wallet.credit_purchase("ann", 10_000, "p1", "test")
    yield house.wallet.ledger
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def units(house, account: str) -> int:
    async with house.database.read() as connection:
        table = schema.accounts
        query = sa.select(table.c.units).where(table.c.account == account)
        return int(await connection.scalar(query) or 0)


async def test_promo_is_spent_first_and_the_shares_add_up(house, store) -> None:
    posted = await store.execute(Debit("d1", "ann", "eve", 1_501, "surprise", "rose"))
    assert posted == Posted(3, 1_501, Draw(promo=1_000, paid=501))
    assert await house.wallet.balance("ann") == Balance(9_499, 0, 0)
    assert await units(house, "expert:eve:payable") == 900
    assert await units(house, "platform:revenue") == 601


async def test_the_same_key_gives_the_same_outcome_for_ever(house, store) -> None:
    debit = Debit("d1", "ann", "eve", 100, "surprise", "rose")
    first = await store.execute(debit)
    assert isinstance(first, Posted)
    again = await store.execute(debit)
    assert again == dataclasses.replace(first, replayed=True)
    assert (await house.wallet.balance("ann")).available == 10_900
    other = dataclasses.replace(debit, units=101)
    assert await store.execute(other) == Refused("key_reused")
    grant = PromoGrant("d1", "ann", 100, "rose")
    assert await store.execute(grant) == Refused("key_reused")


async def test_a_refusal_stays_a_refusal_after_a_top_up_and_a_restart(house, store) -> None:
    debit = Debit("d1", "ann", "eve", 20_000, "surprise", "castle")
    assert await store.execute(debit) == Refused("insufficient_credits")
    await house.wallet.credit_purchase("ann", 100_000, "p2", "test")
    assert await store.execute(debit) == Refused("insufficient_credits", replayed=True)
    reopened = await Database.open(house.url)
    fresh = type(store)(reopened, utc_now=house.clock.utc)
    assert await fresh.execute(debit) == Refused("insufficient_credits", replayed=True)
    await reopened.close()
    assert (await house.wallet.balance("ann")).available == 111_000


@pytest.mark.parametrize("key", ["", "k" * 201])
async def test_a_key_is_mandatory(store, key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        await store.execute(Purchase(key, "ann", 1, "x"))
    with pytest.raises(ValueError, match="cannot be transferred"):
        await store.execute(Purchase("k", "ann", 0, "x"))


async def test_a_hold_sets_aside_and_returns_to_its_buckets(house, store) -> None:
    held = await store.execute(Hold("h1", "ann", "hold-1", 1_500, "group:1"))
    assert held == Posted(3, 1_500, Draw(1_000, 500))
    balance = await house.wallet.balance("ann")
    assert (balance, balance.available) == (Balance(10_000, 1_000, 1_500), 9_500)
    assert await store.execute(Debit("d", "ann", "eve", 9_501, "x", "x")) == Refused(
        "insufficient_credits"
    )
    posted = await store.execute(PostHold("post", "hold-1", "eve", 1_200, "group", "group:1"))
    assert posted == Posted(5, 1_200, Draw(1_000, 200))
    assert await house.wallet.balance("ann") == Balance(9_800, 0, 0)
    again = await store.execute(PostHold("post2", "hold-1", "eve", 1, "group", "group:1"))
    assert again == Refused("hold_posted")
    assert await store.execute(VoidHold("void", "hold-1", "x")) == Refused("hold_posted")
    assert await store.execute(VoidHold("void2", "nope", "x")) == Refused("hold_unknown")


async def test_a_void_gives_everything_back_and_more_than_held_is_refused(house, store) -> None:
    await store.execute(Hold("h1", "ann", "hold-1", 1_500, "group:1"))
    too_much = await store.execute(PostHold("p", "hold-1", "eve", 1_501, "group", "group:1"))
    assert too_much == Refused("exceeds_hold")
    assert isinstance(await store.execute(VoidHold("v", "hold-1", "group:1")), Posted)
    assert await house.wallet.balance("ann") == Balance(10_000, 1_000, 0)


async def test_an_overdue_hold_cannot_be_posted_and_is_swept_once(house, store) -> None:
    expires = store.now_ms() + 5_000
    await store.execute(Hold("h1", "ann", "hold-1", 1_500, "group:1", expires_at_ms=expires))
    house.clock.advance(4.999)
    assert await store.expire_holds() == 0
    house.clock.advance(0.001)
    late = await store.execute(PostHold("p", "hold-1", "eve", 1, "group", "group:1"))
    assert late == Refused("hold_expired")
    assert await store.expire_holds() == 1
    assert await store.expire_holds() == 0
    assert await house.wallet.balance("ann") == Balance(10_000, 1_000, 0)


async def test_a_reversal_unwinds_paid_first_and_never_more_than_the_charge(house, store) -> None:
    debit = await store.execute(Debit("d1", "ann", "eve", 1_501, "surprise", "rose"))
    assert isinstance(debit, Posted)
    part = await store.execute(Reverse("r1", debit.transfer, 502, "sorry"))
    assert isinstance(part, Posted)
    assert part.draw == Draw(promo=1, paid=501)
    assert await house.wallet.balance("ann") == Balance(10_000, 1, 0)
    rest = await store.execute(Reverse("r2", debit.transfer, 999, "sorry"))
    assert isinstance(rest, Posted)
    assert await house.wallet.balance("ann") == Balance(10_000, 1_000, 0)
    assert await units(house, "expert:eve:payable") == 0
    assert await units(house, "platform:revenue") == 0
    more = await store.execute(Reverse("r3", debit.transfer, 1, "sorry"))
    assert more == Refused("exceeds_transfer")
    again = await store.execute(Reverse("r4", rest.transfer, 1, "sorry"))
    assert again == Refused("not_reversible")


async def test_a_purchase_is_reversed_only_from_what_is_left(house, store) -> None:
    await store.execute(Debit("d1", "ann", "eve", 2_000, "surprise", "rose"))
    whole = await store.execute(Reverse("r1", 2, 10_000, "charged back"))
    assert whole == Refused("insufficient_credits")
    part = await store.execute(Reverse("r2", 2, 9_000, "charged back"))
    assert isinstance(part, Posted)
    assert await house.wallet.balance("ann") == Balance(0, 0, 0)
    assert await units(house, "platform:gateway_clearing") == -1_000


async def test_the_constraint_stops_what_the_rules_would_let_through(house, store) -> None:
    entry = ledger.Entry(
        key="evil",
        request_hash="",
        kind="debit",
        postings={"member:ann:paid": -10_001, "platform:revenue": 10_001},
        units=10_001,
        draw=Draw(paid=10_001),
        member_id="ann",
    )
    with pytest.raises(Exception, match="below zero"):
        async with store.transaction() as transaction:
            await transaction.write([entry])
    with pytest.raises(IntegrityError):
        async with house.database.write() as connection:
            await connection.execute(
                sa.update(schema.accounts)
                .where(schema.accounts.c.account == "member:ann:paid")
                .values(units=schema.accounts.c.units - 10_001)
            )
    assert (await house.wallet.balance("ann")).available == 11_000


@pytest.mark.threads
@pytest.mark.slow
async def test_fifty_debits_race_for_ten(house, store) -> None:
    pushed: list[int] = []
    house.wallet.on_balance = lambda _member, balance: pushed.append(balance.available)
    outcomes = await asyncio.gather(
        *(store.execute(Debit(f"d{n}", "ann", "eve", 1_100, "x", f"x{n}")) for n in range(50))
    )
    assert sum(isinstance(outcome, Posted) for outcome in outcomes) == 10
    assert await house.wallet.balance("ann") == Balance(0, 0, 0)
    assert pushed == sorted(pushed, reverse=True)


@pytest.mark.threads
async def test_two_processes_race_for_the_last_credit(house, store) -> None:
    """Two connections of their own, as two processes would have, on the same file."""
    others = [await Database.open(house.url) for _ in range(2)]
    stores = [type(store)(database, utc_now=house.clock.utc) for database in others]
    outcomes = await asyncio.gather(
        *(
            stores[n % 2].execute(Debit(f"d{n}", "ann", "eve", 1_000, "x", f"x{n}"))
            for n in range(24)
        )
    )
    assert sum(isinstance(outcome, Posted) for outcome in outcomes) == 11
    same = await asyncio.gather(
        *(stores[n % 2].execute(Purchase("once", "ann", 500, "x")) for n in range(8))
    )
    assert sum(isinstance(o, Posted) and not o.replayed for o in same) == 1
    assert (await house.wallet.balance("ann")).available == 500
    for database in others:
        await database.close()


async def test_durability_is_read_back(tmp_path) -> None:
    """SQLite's; PostgreSQL's is in test_postgres."""
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/money.db")
    async with database.write() as connection:
        for pragma, wanted in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            got = (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar()
            assert got == wanted
    await database.close()
    with pytest.raises(DatabaseRefused, match="memory"):
        await Database.open("sqlite+aiosqlite://")
    with pytest.raises(DatabaseRefused):
        await Database.open(f"sqlite+aiosqlite:///{tmp_path}/no/such/directory/money.db")
    for address in ("not an address", "mysql+aiomysql://host/money", "postgresql://host/money"):
        with pytest.raises(DatabaseRefused, match="address is not usable"):
            await Database.open(address)


async def test_readers_cannot_write(house) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with house.database.read() as connection:
            await connection.execute(sa.delete(schema.transfers))
