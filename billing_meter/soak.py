"""Load on the real till: many private sessions ticking at once, with synthetic held media.

`python -m billing_meter.soak --sessions 1000 --seconds 20 --json` prints one JSON object: how long
the ticks' transactions take, how late the event loop is meanwhile, and how much CPU it costs. The
database is a real file; give `--dir` a directory on the disk that is to be measured, or `--url` an
empty database on a PostgreSQL server (whose files are below `--dir`, if that is given too).

Sessions come many in a transaction, at the pace of a busy evening, except for the last ones, which
tell how long an opening takes; then grants get the time to grow to their length. How much of a
tick's transaction is the commit itself, and how long the disk takes for a small flush of its own
meanwhile, tell a slow disk from slow code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from billing_meter import marks, schema, soak_people
from billing_meter.database import Database
from billing_meter.meter import LedgerLost, MeterEvent, SessionOrder
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Till
from billing_meter.till_tick import slices
from billing_meter.verify import reconcile, verify
from billing_meter.wallet import Wallet

CREDITS_UNITS = 60_000_000
LAG_PROBE_S = 0.005
SETTLE_S = 45.0
"""Before measuring: until grants have grown to their length, as those of sessions that last."""
OPEN_TOGETHER, OPEN_EVERY_S = marks.PAGE_SESSIONS, 0.13
"""Sessions of one transaction while the load is built up, a page each, and the pause after each."""
OPEN_ALONE = 50
"""The last sessions are opened one by one, beside all the others."""
FLUSH_EVERY_S = 0.1
FLUSH_BYTES = 4_096


class SyntheticGate:
    """Media without a gap while the gate is open."""

    def __init__(self, now_ns: int) -> None:
        self._reported_ns = now_ns
        self._until_ns = 0

    @property
    def last_forwarded_ns(self) -> int | None:
        """The instant of asking, while it is open."""
        return min(time.monotonic_ns(), self._until_ns)

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        """Everything since the last call."""
        end = min(now_ns, self._until_ns)
        if end <= self._reported_ns:
            return ()
        begin, self._reported_ns = self._reported_ns, end
        return ((begin, end),)

    def open_until(self, until_ns: int) -> None:
        """Media passes until then."""
        self._until_ns = until_ns


class Lag:
    """How late a short sleep comes back: what every packet would have waited."""

    def __init__(self) -> None:
        self.late_ns: list[int] = []

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            began_ns = time.perf_counter_ns()
            await asyncio.sleep(LAG_PROBE_S)
            late_ns = time.perf_counter_ns() - began_ns - round(LAG_PROBE_S * 1e9)
            self.late_ns.append(max(0, late_ns))


class DiskProbe:
    """How long the disk takes for a small flush, in a thread of its own, all the while."""

    def __init__(self, folder: Path) -> None:
        self.took_ns: list[int] = []
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            self._flush(file.fileno())  # the file's length is news only once
            self.took_ns.clear()
            while not self._ended.wait(FLUSH_EVERY_S):
                self._flush(file.fileno())

    def _flush(self, descriptor: int) -> None:
        os.pwrite(descriptor, os.urandom(FLUSH_BYTES), 0)
        began_ns = time.perf_counter_ns()
        os.fdatasync(descriptor)
        self.took_ns.append(time.perf_counter_ns() - began_ns)


def _order(n: int) -> SessionOrder:
    return SessionOrder(f"session-{n}", f"member-{n}", f"expert-{n}", Tariff(299, 100, 50))


async def _open(till: Till, wallet: Wallet, sessions: int) -> list[int]:
    """Open the sessions; returns how long each of the last ones took, in nanoseconds."""
    orders = [_order(n) for n in range(sessions)]
    alone = min(OPEN_ALONE, sessions // 2)
    for part in slices(orders[: sessions - alone], OPEN_TOGETHER):
        async with wallet.ledger.transaction() as transaction:
            for order in part:
                await till._writer.open_in(transaction, order)
        for order in part:
            till.attach(order.session_id, Component.PRIVATE, SyntheticGate(time.monotonic_ns()))
        await asyncio.sleep(OPEN_EVERY_S)
    took = []
    for order in orders[sessions - alone :]:
        began_ns = time.perf_counter_ns()
        opened = await till.open(order)
        took.append(time.perf_counter_ns() - began_ns)
        if not isinstance(opened, Opened):
            raise RuntimeError(f"a session was refused: {opened.code}")
        till.attach(order.session_id, Component.PRIVATE, SyntheticGate(time.monotonic_ns()))
    if till.open_sessions != sessions:
        raise RuntimeError("a session was refused")
    return took


def _ms(values_ns: Sequence[int], percentile: int) -> float:
    if len(values_ns) < 2:
        return round(sum(values_ns) / 1e6, 3)
    cuts = statistics.quantiles(values_ns, n=100, method="inclusive")
    return round(cuts[percentile - 1] / 1e6, 3)


def _cpu_s(server_pid: int) -> float:
    """What a database server and its workers have computed so far, in seconds."""
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()
    ticks = 0
    for pid in (str(server_pid), *children):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def soak(
    url: str, sessions: int, seconds: float, folder: Path | None, server_pid: int | None
) -> dict[str, object]:
    """Run the load and give the figures; `folder` is on the database's disk."""
    database = await Database.open(url)
    wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
    lost: list[str] = []

    def on_event(session_id: str, event: MeterEvent) -> None:
        if isinstance(event, LedgerLost):
            lost.append(session_id)

    till = Till(database, wallet, on_event=on_event)
    await soak_people.fill(wallet, sessions, sessions, CREDITS_UNITS)
    await till.recover()
    till.start()
    opened_ns = await _open(till, wallet, sessions)
    await asyncio.sleep(SETTLE_S)
    # As a server does after its start: what lives for ever is not collected again and again.
    gc.collect()
    gc.freeze()
    server_s = _cpu_s(server_pid) if server_pid else 0.0
    figures = await _measured(database, till, seconds, folder)
    if server_pid:
        share = (_cpu_s(server_pid) - server_s) / seconds
        figures["server_cpu_share"] = round(share, 4)
    await till.stop()
    clean = (await verify(database)).ok and (await reconcile(database)).ok
    async with database.read() as connection:
        transfers = await connection.scalar(sa.select(schema.head.c.last_transfer))
    await database.close()
    return {
        "sessions": sessions,
        "store": database.dialect,
        **figures,
        "open_ms_p50": _ms(opened_ns, 50),
        "open_ms_p99": _ms(opened_ns, 99),
        "transfers": transfers,
        "sessions_lost": len(lost),
        "books_clean": clean,
        "machine": _machine(),
    }


async def _measured(
    database: Database, till: Till, seconds: float, folder: Path | None
) -> dict[str, object]:
    """Look on for a while, once all is as it will stay."""
    till.tick_commits_ns.clear()
    database.flushes_ns.clear()
    lag, disk = Lag(), DiskProbe(folder) if folder else None
    probe = asyncio.create_task(lag.run())
    if disk is not None:
        disk.start()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    probe.cancel()
    commits_ns, flushes_ns = list(till.tick_commits_ns), list(database.flushes_ns)
    flushed_ns: list[int] = []
    if disk is not None:
        await asyncio.to_thread(disk.stop)
        flushed_ns = disk.took_ns
    return {
        "seconds": round(wall_s, 2),
        "ticks": len(commits_ns),
        "tick_commit_ms_p50": _ms(commits_ns, 50),
        "tick_commit_ms_p99": _ms(commits_ns, 99),
        "flush_ms_p50": _ms(flushes_ns, 50),
        "flush_ms_p99": _ms(flushes_ns, 99),
        "flush_share": round(sum(flushes_ns) / max(1, sum(commits_ns)), 3),
        "disk_flush_ms_p50": _ms(flushed_ns, 50),
        "disk_flush_ms_p99": _ms(flushed_ns, 99),
        "loop_lag_ms_p50": _ms(lag.late_ns, 50),
        "loop_lag_ms_p99": _ms(lag.late_ns, 99),
        "loop_lag_ms_max": round(max(lag.late_ns) / 1e6, 3),
        "cpu_share": round(cpu_s / wall_s, 4),
    }


def _machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = f"{len(names)} × {names[0].split(':')[1].strip()}" if names else model
    return {
        "cpu": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "sqlalchemy": sa.__version__,
        "loop": type(asyncio.get_running_loop()).__module__,
    }


def main() -> None:
    """Command line; exit 1 when the books are not clean afterwards."""
    parser = argparse.ArgumentParser(description="Many private sessions on the real till.")
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dir", type=Path, help="where the database file goes")
    parser.add_argument("--url", help="an empty PostgreSQL database instead of a file")
    parser.add_argument("--server-pid", type=int, help="of a PostgreSQL server on this machine")
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop, not uvloop")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    factory = None
    if not options.asyncio:
        import uvloop

        factory = uvloop.new_event_loop
    with (
        tempfile.TemporaryDirectory(dir=options.dir) as directory,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        url = options.url or f"sqlite+aiosqlite:///{directory}/soak.db"
        folder = Path(directory) if options.dir or not options.url else None
        load = soak(url, options.sessions, options.seconds, folder, options.server_pid)
        result = runner.run(load)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value}")
    sys.exit(0 if result["books_clean"] else 1)


if __name__ == "__main__":
    main()
