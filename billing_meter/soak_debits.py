"""Surprises paid at once: many members at the counter, beside one transaction for each debit.

`python -m bench.meter --debits` runs it and prints a table.

The same clients, each of whom asks again as soon as it is answered, first over
`billing_meter.counter` and then, as the peer of the same run, with a transaction of its own for
every debit. Both write to one real ledger; its books are judged afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from billing_meter import soak_people
from billing_meter.database import Database
from billing_meter.ledger import Debit, Outcome, Posted
from billing_meter.verify import reconcile, verify
from billing_meter.wallet import Wallet

MEMBERS, EXPERTS = 1_000, 20
CREDITS_UNITS = 1_000_000_000
ROSE_UNITS = 9_000
WARM_UP_S = 1.0

Way = Callable[[Debit], Awaitable[Outcome]]


async def _load(name: str, way: Way, clients: int, seconds: float) -> dict[str, Any]:
    """So many clients for so long: what they got and how long each waited."""
    waits_s: list[float] = []
    end_s = time.perf_counter() + WARM_UP_S + seconds
    begin_s = end_s - seconds

    async def client(number: int) -> None:
        count = 0
        while (asked_s := time.perf_counter()) < end_s:
            member, expert = (number + clients * count) % MEMBERS, count % EXPERTS
            key = f"{name}-{number}-{count}"
            debit = Debit(key, f"member-{member}", f"expert-{expert}", ROSE_UNITS, "rose", "bench")
            outcome = await way(debit)
            if not isinstance(outcome, Posted):
                raise RuntimeError(f"a debit was refused: {outcome.code}")
            if asked_s >= begin_s:
                waits_s.append(time.perf_counter() - asked_s)
            count += 1

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    await asyncio.sleep(WARM_UP_S)
    cpu_s = time.process_time()
    await asyncio.gather(*tasks)
    cpu_s = time.process_time() - cpu_s
    cuts = statistics.quantiles(waits_s, n=100, method="inclusive")
    return {
        "way": name,
        "debits_per_s": round(len(waits_s) / seconds),
        "wait_ms_p50": round(cuts[49] * 1_000, 2),
        "wait_ms_p99": round(cuts[98] * 1_000, 2),
        "cpu_share": round(cpu_s / seconds, 3),
        "cpu_us_each": round(cpu_s * 1_000_000 / len(waits_s), 1),
    }


async def measure(
    clients: int, seconds: float, directory: Path | None, url: str | None
) -> list[dict[str, Any]]:
    """Both ways on one fresh ledger; RuntimeError when its books do not add up afterwards."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        database = await Database.open(url or f"sqlite+aiosqlite:///{folder}/debits.db")
        try:
            wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
            await soak_people.fill(wallet, MEMBERS, EXPERTS, CREDITS_UNITS)
            results = [
                await _load("counter", wallet.counter.debit, clients, seconds),
                await _load("a transaction each", wallet.ledger.execute, clients, seconds),
            ]
            if not ((await verify(database)).ok and (await reconcile(database)).ok):
                raise RuntimeError("the books do not add up")
        finally:
            await database.close()
    return results


def main() -> None:
    """Command line; one JSON list."""
    parser = argparse.ArgumentParser(description="Debits that somebody waits for.")
    parser.add_argument("--clients", type=int, default=32, help="who wait at a time")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--dir", type=Path, help="where the database file goes")
    parser.add_argument("--url", help="another database than SQLite; empty")
    options = parser.parse_args()
    measured = measure(options.clients, options.seconds, options.dir, options.url)
    print(json.dumps(uvloop.run(measured)))


if __name__ == "__main__":
    main()
