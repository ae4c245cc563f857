"""What readiness and metrics say of a store that takes no writes, and when it takes them again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.store_health import SLOW_AFTER_NS, StoreHealth, Trouble
from billing_meter.store_probe import probe
from signaling import store_watch
from signaling.middlewares import STORE_RETRY_S
from signaling.store_watch import TROUBLE_TEXTS, watch_store
from signaling.tasks import background

PASSWORD = "correct-horse-9"


async def pragma(database: Database, text: str) -> None:
    """On the writer's own connection."""
    async with database._turn, database._writer.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute(f"PRAGMA {text}")


async def fill(database: Database) -> None:
    """More than the file may grow."""
    async with database.write() as connection:
        await connection.execute(sa.text("CREATE TABLE ballast AS SELECT zeroblob(1000000) AS b"))


async def ledger_metrics(client) -> dict[str, dict[str, float]]:
    text = await (await client.get("/metrics")).text()
    return {
        family.name: {s.labels.get("reason", ""): s.value for s in family.samples}
        for family in text_string_to_metric_families(text)
        if family.name.startswith("parlour_ledger")
    }


@pytest.mark.parametrize("trouble", [Trouble.FULL, Trouble.READ_ONLY, Trouble.LOCKED])
async def test_it_is_not_ready_by_name_until_a_write_was_durable(
    door, problem, trouble: Trouble
) -> None:
    database, client = door.services.database, door.client()
    path = door.config.data_dir / "parlour.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        if trouble is Trouble.LOCKED:
            await pragma(database, "busy_timeout=0")
            other.execute("BEGIN IMMEDIATE")
        elif trouble is Trouble.FULL:
            await pragma(database, "max_page_count=1")
        else:
            await pragma(database, "query_only=ON")
        assert (await client.get("/readyz")).status == 200, "nobody knows yet"
        with pytest.raises(DatabaseUnavailable) as failed:
            await fill(database)
        assert failed.value.trouble is trouble
        reply = await client.get("/readyz")
        assert await problem(reply) == (503, "ledger_unavailable")
        assert (await reply.json(content_type=None))["detail"].startswith(f"{trouble}: ")
        assert not door.services.wallet.writable
        found = await ledger_metrics(client)
        assert found["parlour_ledger_unavailable"] == {t: float(t is trouble) for t in Trouble}
        assert found["parlour_ledger_write_failures"][trouble] == 1
    if trouble is Trouble.READ_ONLY:
        with pytest.raises(DatabaseUnavailable):
            await probe(database, door.services.node)
        assert not door.services.wallet.writable
        await pragma(database, "query_only=OFF")
        async with database.write():
            pass
        assert not door.services.wallet.writable, "a commit that changes nothing proves nothing"
    await probe(database, door.services.node)
    assert (await client.get("/readyz")).status == 200
    assert set((await ledger_metrics(client))["parlour_ledger_unavailable"].values()) == {0.0}


async def test_who_wants_something_meanwhile_is_told_to_come_again(door, problem) -> None:
    """With the same key, and then it is done once."""
    database, account = door.services.database, await door.member("mia")
    headers = {"Authorization": f"Bearer {door.token(account)}", "Idempotency-Key": "k1"}
    wanted = {"package": "credits-9", "method": "card"}
    client = door.client()
    await pragma(database, "query_only=ON")
    for path, body in (("/orders", wanted), ("/login", {"username": "mia", "password": PASSWORD})):
        reply = await client.post(f"/api/v1{path}", json=body, headers=headers)
        assert await problem(reply) == (503, "ledger_unavailable")
        assert int(reply.headers["Retry-After"]) == STORE_RETRY_S
    await pragma(database, "query_only=OFF")
    ordered = [await client.post("/api/v1/orders", json=wanted, headers=headers) for _ in range(2)]
    assert [reply.status for reply in ordered] == [201, 201], await ordered[0].text()
    first, second = [(await reply.json())["order"] for reply in ordered]
    assert first == second


async def test_the_watch_finds_trouble_without_traffic_and_its_end(door, monkeypatch) -> None:
    database, health = door.services.database, door.services.database.health
    monkeypatch.setattr(store_watch, "PROBE_PERIOD_S", 0.0)
    monkeypatch.setattr(store_watch, "PROBE_AGAIN_S", 0.0)
    await pragma(database, "query_only=ON")
    async with background(watch_store(database, "watched")), asyncio.timeout(10):
        while health.failures[Trouble.READ_ONLY] < 2:
            await look(database)
        await pragma(database, "query_only=OFF")
        while not door.services.wallet.writable:
            await look(database)


async def look(database: Database) -> None:
    """Readers go on whatever the writer can or cannot do."""
    async with database.read() as connection:
        names = await connection.scalars(sa.text("SELECT node FROM meter_owner"))
        assert "?watched" not in names.all(), "a probe leaves nothing"


def test_a_write_that_takes_long_is_trouble_while_it_lasts() -> None:
    health = StoreHealth()
    health.began(1_000)
    assert health.trouble(1_000 + SLOW_AFTER_NS) is None
    assert health.trouble(1_001 + SLOW_AFTER_NS) is Trouble.SLOW
    health.ended(None)
    assert health.trouble(10**18) is None
    health.began(0)
    health.ended(Trouble.LOST)
    assert health.trouble(0) is Trouble.LOST
    assert set(TROUBLE_TEXTS) == set(Trouble)
