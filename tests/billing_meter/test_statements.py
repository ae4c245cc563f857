"""Proofs over the books: clean ones are clean, and every flipped row is named."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import DropConstraint

from billing_meter import journal, schema, soak_ledger
from billing_meter.database import Database
from billing_meter.ledger import Debit, Hold, PromoGrant, Purchase, TakeBack
from billing_meter.meter import SessionOrder
from billing_meter.orders import Order, Orders
from billing_meter.providers import FakeProvider
from billing_meter.seals import seal
from billing_meter.statements import reconcile, statement, transactions, verify
from billing_meter.tariff import Component, Tariff


async def test_the_large_ledger_of_the_bench_is_a_whole_book(databases) -> None:
    url = await databases.empty()
    await soak_ledger.fill(url, transfers=4_000, per_member=20)
    database = await Database.open(url)
    try:
        assert (await verify(database)).findings == ()
        report = await reconcile(database)
        assert (report.findings, report.checked["sessions"]) == ((), 200)
        page = await transactions(database, "member-7", limit=5)
        assert [line.kind for line in page] == ["session", "purchase"]
        assert page[0].balance_after_units == page[1].units - 19 * soak_ledger.CHARGE_UNITS
    finally:
        await database.close()


@pytest.fixture
async def books(house):
    """A book with everything in it: a purchase, a grant, a debit, a hold, two sessions."""
    orders = Orders(house.database, house.wallet, FakeProvider(), utc_now=house.clock.utc)
    order = await orders.create("ann", "credits-27", "card", "k")
    assert isinstance(order, Order)
    await orders.pay("ann", order.order_id, "tok_ok")
    await house.wallet.grant_promo("ann", 59_940, "free", "welcome")
    ledger = house.wallet.ledger
    await ledger.execute(Debit("d1", "ann", "eve", 9_001, "surprise", "rose"))
    await ledger.execute(Debit("d2", "ann", "eve", 10**9, "surprise", "castle"))
    await ledger.execute(Hold("h1", "ann", "pledge-1", 12_000, "group:1"))
    for name in ("s1", "s2"):
        await house.till.open(SessionOrder(name, "ann", "eve", Tariff(299, 100, 50)))
        gate = house.gate()
        house.till.attach(name, Component.PRIVATE, gate)
        gate.start()
        await house.run(13)
        if name == "s1":
            await house.till.close(name, "member_left")
    await seal(house.database, 0)
    return house


async def test_clean_books_are_clean(books) -> None:
    assert (await verify(books.database)).findings == ()
    assert (await reconcile(books.database)).findings == ()
    report = await verify(books.database)
    assert report.ok
    assert report.checked["sealed_transfers"] == report.checked["transfers"] > 8
    assert (await reconcile(books.database)).checked == {
        "sessions": 2,
        "refunds": 0,
        "payouts": 0,
        "purchases": 0,
        "groups": 0,
        "experts": 1,
        "orders": 1,
        "spend_windows": 0,
    }


async def test_the_journal_comes_out_whole_and_in_order(books, monkeypatch) -> None:
    """Page by page, refusals included; of one owner what concerns them."""
    monkeypatch.setattr(journal, "ROWS_PER_STATEMENT", 3)

    async def rows(owner: str | None = None) -> list[dict[str, object]]:
        pages = [page async for page in journal.journal(books.database, owner)]
        return [dict(zip(journal.COLUMNS, row, strict=True)) for page in pages for row in page]

    found = await rows()
    async with books.database.read() as connection:
        lines = (await connection.execute(sa.select(schema.postings))).all()
    assert [(row["transfer"], row["account"], row["units"]) for row in found if row["account"]] == [
        tuple(line) for line in sorted(lines, key=lambda line: (line.transfer, line.account))
    ]
    refusals = [row for row in found if row["outcome"] == "refused"]
    assert [(row["key"], row["account"]) for row in refusals] == [("d2", None)]
    assert sum(int(str(row["units"])) for row in found if row["account"]) == 0
    assert await rows("ann") == found
    assert {row["kind"] for row in await rows("eve")} >= {"surprise", "session_charge"}
    assert await rows("nobody") == []


MONEY_COLUMNS = [
    (schema.accounts, "units"),
    (schema.transfers, "units"),
    (schema.transfers, "promo_units"),
    (schema.transfers, "paid_units"),
    (schema.transfers, "at_ms"),
    (schema.postings, "units"),
    (schema.holds, "paid_units"),
    (schema.holds, "posted_units"),
    (schema.sessions, "private_s"),
    (schema.sessions, "charged_units"),
    (schema.sessions, "posted_units"),
    (schema.sessions, "expert_units"),
    (schema.sessions, "share_percent"),
    (schema.sessions, "held_ms"),
    (schema.orders, "credits_units"),
    (schema.seals, "last_transfer"),
    (schema.head, "last_transfer"),
]


async def without_checks(database: Database) -> None:
    """Let every figure be written."""
    async with database.write() as connection:
        if database.dialect == "sqlite":
            await connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
            return
        for table in schema.TABLES:
            for constraint in table.constraints:
                if isinstance(constraint, sa.CheckConstraint):
                    await connection.execute(DropConstraint(constraint))


async def test_every_flipped_figure_is_found(books) -> None:
    """Each figure of the first, a middle and the last row: change it, see it found, undo."""
    # With the constraints off, as a broken disk or a person with a shell would do it.
    await without_checks(books.database)
    for table, column in MONEY_COLUMNS:
        keys = list(table.primary_key.columns)
        async with books.database.read() as connection:
            rows = (await connection.execute(sa.select(table))).mappings().all()
        assert rows
        for row in {id(row): row for row in (rows[0], rows[len(rows) // 2], rows[-1])}.values():
            mine = sa.and_(*(key == row[key.name] for key in keys))
            wrong = 0 if column == "held_ms" else row[column] + 1
            async with books.database.write() as connection:
                await connection.execute(sa.update(table).where(mine).values({column: wrong}))
            found = [
                *(await verify(books.database)).findings,
                *(await reconcile(books.database)).findings,
            ]
            assert found, (table.name, column, dict(row))
            right = {column: row[column]}
            async with books.database.write() as connection:
                await connection.execute(sa.update(table).where(mine).values(right))
    assert (await verify(books.database)).ok


async def test_a_removed_transfer_is_found(books) -> None:
    async with books.database.write() as connection:
        await connection.execute(sa.delete(schema.postings).where(schema.postings.c.transfer == 3))
        await connection.execute(sa.update(schema.orders).values(transfer=1))
        await connection.execute(
            sa.delete(schema.transfers).where(schema.transfers.c.transfer == 3)
        )
    codes = {finding.code for finding in (await verify(books.database)).findings}
    assert {"transfer_missing", "balance_wrong", "chain_broken"} <= codes


async def test_a_statement_adds_up_to_the_balance(books) -> None:
    whole = await statement(books.database, "ann", 0, 2**53)
    assert whole.findings == ()
    assert whole.opening_units == 0
    assert [(line.kind, line.units) for line in whole.lines] == [
        ("purchase", 167_940),
        ("promo_grant", 59_940),
        ("surprise", -9_001),
        ("session", -299 * 13),
        ("session", whole.lines[-1].units),
    ]
    assert whole.lines[-1].balance_after_units == whole.closing_units
    # The running session's last seconds lie in its hold, not in the journal yet.
    posted = (await books.wallet.balance("ann")).posted
    assert 0 <= whole.closing_units - posted <= 8 * 299
    await books.till.close("s2", "member_left")
    whole = await statement(books.database, "ann", 0, 2**53)
    assert whole.closing_units == (await books.wallet.balance("ann")).posted
    parts = [
        await statement(books.database, "ann", 0, whole.lines[2].at_ms),
        await statement(books.database, "ann", whole.lines[2].at_ms, 2**53),
    ]
    assert parts[0].closing_units == parts[1].opening_units
    expert = await statement(books.database, "eve", 0, 2**53, owner="expert")
    assert expert.findings == ()
    charged = [299 * 13, -whole.lines[-1].units]
    assert expert.closing_units == 9_001 * 60 // 100 + sum(units * 60 // 100 for units in charged)


async def test_history_pages_newest_first(books) -> None:
    await books.till.close("s2", "member_left")
    everything = await transactions(books.database, "ann")
    assert [line.kind for line in everything][-3:] == ["surprise", "promo_grant", "purchase"]
    first = await transactions(books.database, "ann", limit=2)
    rest = await transactions(books.database, "ann", before=first[-1].id)
    assert [*first, *rest] == list(everything)


async def more_lines(books) -> None:
    """Two sessions side by side with debits between, a line that comes to nothing, a refund."""
    ledger = books.wallet.ledger
    posted = await ledger.execute(Purchase("bought", "ann", 50_000, "order:x"))
    for name in ("s3", "s4"):
        await books.till.open(SessionOrder(name, "ann", "eve", Tariff(299, 100, 50)))
        gate = books.gate()
        books.till.attach(name, Component.PRIVATE, gate)
        gate.start()
    for n in range(4):
        await books.run(5)
        await ledger.execute(Debit(f"tip-{n}", "ann", "eve", 100 + n, "surprise", "rose"))
        if n == 1:
            await books.till.close("s4", "member_left")
    left = (await books.wallet.balance("ann")).available
    await ledger.execute(Debit("all", "ann", "eve", left, "surprise", "castle"))
    await ledger.execute(TakeBack("back", posted.transfer, 50_000, "charge_back", "order:x"))
    await books.till.close("s3", "member_left")
    await ledger.execute(PromoGrant("gift", "ann", 7_000, "sorry"))


@pytest.mark.parametrize("closed", [True, False])
async def test_pages_of_any_size_are_the_statement_backwards(books, closed) -> None:
    """Whatever lies across a page's edge: sessions that took many transfers, and side by side."""
    await more_lines(books)
    if closed:
        await books.till.close("s2", "member_left")
    whole = list(reversed((await statement(books.database, "ann", 0, 2**53)).lines))
    assert len(whole) > 8
    for size in (1, 3, 50):
        pages, before = [], None
        while True:
            page = await transactions(books.database, "ann", before=before, limit=size)
            if not page:
                break
            pages += page
            before = page[-1].id
        assert pages == whole
    assert await transactions(books.database, "nobody") == []
    assert list(await transactions(books.database, "ann", before=10**15)) == whole
