"""PostgreSQL alone: what is refused at start, writers taking turns, and connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from billing_meter import postgres, schema
from billing_meter.database import Database, DatabaseRefused, DatabaseUnavailable
from billing_meter.ledger import Debit, Posted, PromoGrant, Refused
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import SessionOrder
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Tariff
from billing_meter.till import Opened
from tests.database_proxy import Fault, Proxy
from tests.postgres import USER, Cluster
from tests.stores import PostgresStore, Store
from tests.turns import turn

pytestmark = pytest.mark.threads

PACKAGE = 167_940


@pytest.fixture(params=["postgresql"])
def store_of(cluster: Cluster) -> Store:
    """Instead of both."""
    return PostgresStore(cluster)


@pytest.fixture
async def proxy(quick_dir: Path, cluster: Cluster) -> AsyncIterator[Proxy]:
    async with Proxy(quick_dir, cluster.directory) as made:
        yield made


async def refusal(url: str) -> str:
    """Why a database is not taken."""
    with pytest.raises(DatabaseRefused) as refused:
        await Database.open(url)
    text = str(refused.value)
    assert "\n" not in text
    assert "swordfish" not in text
    return text


# --- at start -----------------------------------------------------------------------------------


async def test_what_is_not_there_is_refused_by_name(databases, tmp_path) -> None:
    url = await databases.fresh()
    assert "does not exist" in await refusal(databases.cluster.url("no_such_database"))
    assert "stranger" in await refusal(url.replace(USER, "stranger", 1))
    nobody = await refusal(f"postgresql+asyncpg://{USER}:swordfish@/money?host={tmp_path}")
    assert "No such file" in nobody
    closed = f"postgresql+asyncpg://{USER}:swordfish@127.0.0.1:1/money"
    assert "127.0.0.1:1/money" in await refusal(closed)


async def test_a_server_that_may_lose_what_it_promised_is_refused(databases, monkeypatch) -> None:
    url = await databases.fresh()
    monkeypatch.setitem(postgres._WRITER, "synchronous_commit", "off")
    assert "synchronous_commit=off" in await refusal(url)
    monkeypatch.undo()
    cluster = databases.cluster
    await cluster.set("fsync", "off")
    try:
        assert "fsync=off" in await refusal(url)
    finally:
        await cluster.set("fsync", None)
    await (await Database.open(url)).close()


async def test_a_server_that_is_too_old_or_read_only_is_refused(databases, monkeypatch) -> None:
    url = await databases.fresh()
    monkeypatch.setattr(postgres, "VERSION_MIN", 99)
    assert "too old: 99 or later is needed" in await refusal(url)
    monkeypatch.undo()
    monkeypatch.setitem(postgres._WRITER, "default_transaction_read_only", "on")
    assert "transaction_read_only=on" in await refusal(url)
    monkeypatch.undo()
    name = await databases.cluster.create("template0", "ENCODING 'LATIN1' LOCALE 'C'")
    try:
        assert "server_encoding=LATIN1" in await refusal(databases.cluster.url(name))
    finally:
        await databases.cluster.drop(name)


# --- taking turns -------------------------------------------------------------------------------


async def test_what_a_transaction_has_read_is_true_until_it_ends(house) -> None:
    """Another process cannot change it, and sees the result as soon as it may go on."""
    other = await Database.open(house.url)
    await house.fund("ann", 1_000)
    paid = sa.select(schema.accounts.c.units).where(schema.accounts.c.account == "member:ann:paid")

    async def read_theirs() -> int:
        async with other.write() as connection:
            return int(await connection.scalar(paid) or 0)

    async with house.database.write() as connection:
        waiting = asyncio.create_task(read_theirs())
        while not await waits_for_turn(house):
            await turn()
        assert await connection.scalar(paid) == 1_000
        change = sa.update(schema.accounts).values(units=schema.accounts.c.units + 5)
        await connection.execute(change.where(schema.accounts.c.account == "member:ann:paid"))
        assert not waiting.done()
    assert await waiting == 1_005
    await other.close()


async def waits_for_turn(house) -> bool:
    """Whether a writer of this database waits for the lock."""
    query = sa.text(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
    )
    async with house.database.read() as connection:
        return bool(await connection.scalar(query))


async def test_a_reader_has_one_snapshot_and_waits_for_nobody(house) -> None:
    count = sa.select(sa.func.count()).select_from(schema.members)
    async with house.database.read() as reader:
        before = await reader.scalar(count)
        await house.wallet.open_member("bob")
        assert await reader.scalar(count) == before
        async with house.database.write():
            assert await reader.scalar(count) == before
    async with house.database.read() as reader:
        assert await reader.scalar(count) == before + 1


async def test_a_writer_does_not_wait_for_ever(house, monkeypatch) -> None:
    monkeypatch.setitem(postgres._WRITER, "lock_timeout", "50ms")
    monkeypatch.setitem(postgres._REQUIRED, "lock_timeout", "50ms")
    other = await Database.open(house.url)
    async with house.database.write():
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await LedgerStore(other, utc_now=house.clock.utc).execute(PromoGrant("g", "a", 1, "x"))
    async with other.write():
        pass
    await other.close()


async def test_a_process_that_stalls_in_its_transaction_loses_it(house, monkeypatch) -> None:
    monkeypatch.setitem(postgres._WRITER, "idle_in_transaction_session_timeout", "100ms")
    monkeypatch.setitem(postgres._REQUIRED, "idle_in_transaction_session_timeout", "100ms")
    stalled = await Database.open(house.url)

    async def stall() -> None:
        async with stalled.write() as connection:
            await connection.execute(sa.delete(schema.members))
            # It stands still; meanwhile the others get their turn.
            await house.fund("ann", 1_000)

    with pytest.raises(DatabaseUnavailable) as failed:
        await stall()
    assert failed.value.lost
    assert (await house.wallet.balance("ann")).paid_units == 1_000
    async with stalled.write() as connection:
        left = await connection.scalar(sa.select(sa.func.count()).select_from(schema.members))
    assert left == 1
    await stalled.close()


# --- connections that break ---------------------------------------------------------------------


async def test_connections_that_died_while_idle_are_replaced_unheard(house) -> None:
    await house.fund("ann", 1_000)
    await house.wallet.balance("ann")
    await end_all_connections(house.url)
    assert (await house.wallet.balance("ann")).paid_units == 1_000
    await house.fund("ann", 500)
    assert (await house.wallet.balance("ann")).paid_units == 1_500


async def end_all_connections(url: str) -> None:
    """What a restart of the server or an idle firewall does."""
    parsed = sa.make_url(url)
    host = str(parsed.query["host"])
    connection = await asyncpg.connect(host=host, user=USER, database="postgres")
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    await connection.execute(query, parsed.database)
    await connection.close()


async def test_what_was_acknowledged_survives_the_death_of_the_server(house, cluster) -> None:
    await house.fund("ann", PACKAGE)
    assert isinstance(await house.till.open(order()), Opened)
    gate = house.gate()
    gate.start()
    cluster.stop(immediately=True)
    with pytest.raises(DatabaseUnavailable) as failed:
        await house.fund("ann", 1)
    assert failed.value.lost
    cluster.start()
    assert (await house.wallet.balance("ann")).posted == PACKAGE
    await house.restart()
    assert (await house.wallet.balance("ann")).held_units == 0
    await books_are_clean(house.database)


def order() -> SessionOrder:
    return SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50))


async def books_are_clean(database: Database) -> None:
    assert (await verify(database)).findings == ()
    assert (await reconcile(database)).findings == ()


@pytest.mark.parametrize("fault", ["unheard", "unanswered"])
async def test_a_debit_whose_commit_was_lost_is_done_once(house, proxy, fault: Fault) -> None:
    await house.fund("ann", 1_000)
    far = await Database.open(proxy.url(house.url))
    ledger = LedgerStore(far, utc_now=house.clock.utc)
    pushed: list[int] = []
    ledger.listen(lambda _member, balance: pushed.append(balance.available))
    proxy.fault = fault
    outcome = await ledger.execute(Debit("d1", "ann", "eve", 600, "surprise", "rose"))
    assert proxy.faults == 1
    assert isinstance(outcome, Posted)
    assert outcome.replayed == (fault == "unanswered")
    assert pushed == [400]
    again = await ledger.execute(Debit("d2", "ann", "eve", 600, "surprise", "rose"))
    assert again == Refused("insufficient_credits")
    await far.close()
    await books_are_clean(house.database)


async def test_a_commit_still_on_its_way_is_waited_for_and_not_repeated(house, proxy) -> None:
    """The client has lost its connection before the server has got the COMMIT."""
    far = await Database.open(proxy.url(house.url))
    ledger = LedgerStore(far, utc_now=house.clock.utc)
    proxy.fault = "late"
    asked = asyncio.create_task(ledger.execute(PromoGrant("g1", "ann", 700, "welcome")))
    while not await waits_for_turn(house):
        await turn()
    proxy.deliver.set()
    outcome = await asked
    assert isinstance(outcome, Posted)
    assert outcome.replayed
    assert (await house.wallet.balance("ann")).promo_units == 700
    await far.close()


async def test_a_silent_server_is_given_up(house, proxy, monkeypatch) -> None:
    monkeypatch.setattr(postgres, "WRITE_STATEMENT_MS", 100)
    monkeypatch.setattr(postgres, "ANSWER_MARGIN_S", 0.1)
    far = await Database.open(proxy.url(house.url))
    proxy.fault = "silent"
    with pytest.raises(DatabaseUnavailable) as failed:
        async with far.write():
            pass
    assert failed.value.lost
    async with far.write() as connection:
        assert await connection.scalar(sa.select(1)) == 1
    await far.close()
