"""A store that fails under a running meter: full, read-only, locked, frozen, stopped, killed.

Never billed unrecorded, never recorded unbilled: what is charged in the end are exactly the seconds
that passed the gate, and the gate never opens further than what is durable pays. The event loop is
never late for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger import Debit, Posted
from billing_meter.meter import SessionOrder
from billing_meter.meter_types import LEASE_S
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.store_health import Trouble
from billing_meter.store_probe import probe
from billing_meter.tariff import Tariff
from billing_meter.till import Refused
from tests.billing_meter.live_meter import (
    FUNDS_UNITS,
    RATE,
    LiveMeter,
    S,
    live_meter,
)
from tests.disks import mounted, needs_root
from tests.postgres import Cluster, unprivileged
from tests.stores import PostgresStore, SqliteStore

pytestmark = [pytest.mark.slow, pytest.mark.patient, pytest.mark.timeout(120)]
SQLITE = "sqlite+aiosqlite:///"
SHORT_S = 0.4
"""Real seconds: less than what is held at any time pays, which is two at least."""
POSTGRES_MIB = 96
FUNDS_MAX = 5_000


HANDS = ThreadPoolExecutor(1)
"""Lives as long as the process: a server that a thread started is killed when that thread ends."""


async def by_hand(live: LiveMeter, work: Callable[[], None]) -> None:
    """Something that takes its time, beside the loop, and none of the meter's."""
    assert live.watch is not None
    with live.watch.resting(), live.clock.standing():
        await asyncio.get_running_loop().run_in_executor(HANDS, work)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """The path of a Unix socket has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="parlour-") as directory:
        Path(directory).chmod(0o755)  # the server is another user
        yield Path(directory)


@dataclass
class Fault:
    """How a store breaks and is mended, and what its writers are told meanwhile."""

    url: str
    breaks: Callable[[], None]
    mends: Callable[[], None]
    trouble: Trouble | None = None
    """None: a write waits instead of failing."""


async def store_at(path: Path, folder: Path) -> str:
    """A store with tables, safe on its disk."""
    empty = (await SqliteStore(folder).fresh()).removeprefix(SQLITE)
    with path.open("wb") as file:
        file.write(Path(empty).read_bytes())
        file.flush()
        os.fsync(file.fileno())
    return f"{SQLITE}{path}"


@asynccontextmanager
async def full(folder: Path) -> AsyncIterator[Fault]:
    with mounted(folder, "tmpfs") as disk:
        path = disk.path / "money.db"
        url = await store_at(path, folder)
        yield Fault(url, partial(disk.fill_under, path), disk.free, Trouble.FULL)


@asynccontextmanager
async def frozen(folder: Path) -> AsyncIterator[Fault]:
    with mounted(folder, "ext4") as disk:
        url = await store_at(disk.path / "money.db", folder)
        yield Fault(url, disk.freeze, disk.thaw)


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[Fault]:
    url = await SqliteStore(folder).fresh()
    path = url.removeprefix(SQLITE)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:

        def lock() -> None:
            other.execute("BEGIN EXCLUSIVE")

        def unlock() -> None:
            other.execute("ROLLBACK")

        yield Fault(url, lock, unlock)


@asynccontextmanager
async def cut_off(cluster: Cluster) -> AsyncIterator[Fault]:
    """The server dies as if the power went, and starts again."""
    store = PostgresStore(cluster)
    url = await store.fresh()
    yield Fault(url, lambda: cluster.stop(immediately=True), cluster.start, Trouble.LOST)
    await store.close()


@asynccontextmanager
async def stopped(cluster: Cluster) -> AsyncIterator[Fault]:
    """Every process of the server stands still: connections are there, answers are not."""
    store = PostgresStore(cluster)
    url = await store.fresh()
    parts: list[int] = []

    def stop() -> None:
        children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split()
        parts.extend([cluster.pid, *map(int, children)])
        for pid in parts:
            os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        while parts:
            os.kill(parts.pop(), signal.SIGCONT)

    try:
        yield Fault(url, stop, go_on)
    finally:
        go_on()
    await store.close()


SQLITE_FAULTS = {"full": full, "frozen": frozen, "locked": locked}
POSTGRES_FAULTS = {"cut_off": cut_off, "stopped": stopped}


@pytest.fixture(
    params=[
        pytest.param("full", marks=needs_root),
        pytest.param("frozen", marks=needs_root),
        "locked",
        *POSTGRES_FAULTS,
    ]
)
def fault(request, tmp_path: Path) -> AbstractAsyncContextManager[Fault]:
    name = request.param
    if name in POSTGRES_FAULTS:
        return POSTGRES_FAULTS[name](request.getfixturevalue("cluster"))
    return SQLITE_FAULTS[name](tmp_path)


def order(session_id: str) -> SessionOrder:
    return SessionOrder(session_id, "ann", "eve", Tariff(RATE, 100, 50))


async def test_a_session_goes_on_over_a_short_fault(fault) -> None:
    """Mended in time: nobody notices."""
    async with fault as store, live_meter(store.url) as live:
        await live.talk("s1")
        await live.ticks("s1", 3)
        await by_hand(live, store.breaks)
        assert not await live.until_lost("s1", SHORT_S)
        await by_hand(live, store.mends)
        await live.ticks("s1", 8)
        assert not live.lost_ns
        await live.till.close("s1", "member_left")
        await live.judge("s1")


async def test_a_session_ends_with_its_last_grant(fault) -> None:
    """Mended too late: media ends with what was held, money is posted when the store is back."""
    async with fault as store, live_meter(store.url) as live:
        stream = await live.talk("s1")
        await live.ticks("s1", 3)
        await by_hand(live, store.breaks)
        told_units = live.told_units["s1"]
        assert await live.until_lost("s1")
        ended_ns = stream.began_ns + stream.passed_ns
        assert ended_ns == stream.granted_ns, "no packet after the last grant or lease"
        assert live.lost_ns["s1"] >= ended_ns, "cut first, told second"
        assert stream.passed_ns <= live.told_units["s1"] // RATE * S + (LEASE_S + 1) * S
        assert told_units <= live.told_units["s1"] <= stream.passed_ns // S * RATE
        debit = Debit("d1", "ann", "eve", RATE, "surprise", "rose")
        if store.trouble is not None:
            await refuses(live, debit, store.trouble)
        await by_hand(live, store.mends)
        summary = await live.till.close("s1", "ledger_unavailable")
        assert summary.cost_units == stream.passed_ns // S * RATE
        assert isinstance(await live.wallet.counter.debit(debit), Posted)
        await live.until_settled("s1")
        balance = await live.wallet.balance("ann")
        assert balance.posted == FUNDS_UNITS - summary.cost_units - RATE
        await live.judge("s1")
        await live.talk("s3")
        await live.ticks("s3", 2)
        await live.till.close("s3", "member_left")
        await live.judge("s3")


async def refuses(live: LiveMeter, debit: Debit, trouble: Trouble) -> None:
    """Whoever wants something now hears it by name."""
    assert live.database.health.failures[trouble] > 0
    assert not live.wallet.writable
    with pytest.raises(DatabaseUnavailable) as failed:
        await live.wallet.counter.debit(debit)
    assert failed.value.trouble is trouble
    assert await live.till.open(order("s2")) == Refused("ledger_unavailable")


@needs_root
async def test_a_disk_that_became_read_only_is_settled_after_it_was_mended(tmp_path: Path) -> None:
    """ext4's `errors=remount-ro`, under the open files; then fsck, mount and start."""
    with mounted(tmp_path, "ext4") as disk:
        url = await store_at(disk.path / "money.db", tmp_path)
        async with live_meter(url) as live:
            stream = await live.talk("s1")
            await live.ticks("s1", 3)
            await by_hand(live, disk.fail)
            assert await live.until_lost("s1")
            assert stream.began_ns + stream.passed_ns == stream.granted_ns
            assert not live.wallet.writable
            with pytest.raises(DatabaseUnavailable):
                await live.wallet.counter.debit(Debit("d1", "ann", "eve", RATE, "surprise", "x"))
        durable_units, passed_ns = live.told_units["s1"], stream.passed_ns
        disk.unmount()
        disk.check()
        disk.mount()
        database = await Database.open(url)
        async with database.read() as connection:
            open_ids = await connection.scalars(
                sa.text("SELECT session_id FROM meter_sessions WHERE state = 'open'")
            )
            assert open_ids.all() == ["s1"]
        await database.close()
        async with live_meter(url) as live:
            assert await live.till.recover() == 1
            record = await session_record(live.database, "s1")
            assert record is not None
            assert record.summary.cost_units == durable_units <= passed_ns // S * RATE
            balance = await live.wallet.balance("ann")
            assert (balance.posted, balance.held_units) == (FUNDS_UNITS - durable_units, 0)
            assert (await verify(live.database)).findings == ()
            assert (await reconcile(live.database)).findings == ()


@needs_root
async def test_a_postgresql_without_room_says_so_and_loses_nothing(short_dir: Path) -> None:
    """It writes into room that it has for a while; what it acknowledged by then is there."""
    with mounted(short_dir, "tmpfs", POSTGRES_MIB) as disk:
        user = unprivileged()
        os.chown(disk.path, user.pw_uid, user.pw_gid)
        cluster = Cluster(disk.path, {})
        cluster.make()
        cluster.start()
        url = await PostgresStore(cluster).fresh()
        async with live_meter(url) as live:
            await by_hand(live, disk.fill)
            funded, refused = FUNDS_UNITS, None
            for n in range(FUNDS_MAX):
                try:
                    await live.wallet.credit_purchase("ann", RATE, f"more-{n}", "x" * 60)
                except DatabaseUnavailable as error:
                    refused = error.trouble
                    break
                funded += RATE
            assert refused is Trouble.FULL
            assert not live.wallet.writable
            await by_hand(live, disk.free)
            await probe(live.database, "test")
            assert live.wallet.writable
            assert (await live.wallet.balance("ann")).posted == funded
            assert (await verify(live.database)).findings == ()
            assert (await reconcile(live.database)).findings == ()
        cluster.stop()
