"""Surprises bought at once by many members, beside one transaction for each debit.

`python -m bench.meter --debits` runs it and prints a table.

The same clients, each of whom asks again as soon as it is answered, first over
`billing_meter.purchases` and then, as the peer of the same run, with a transaction of its own for
every debit, which is less than a purchase: no row says what was bought. Between the two, strangers
come by chance, so many a second on average, however long others wait. All write to one real ledger;
its books are judged afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from billing_meter import soak_people
from billing_meter.database import Database
from billing_meter.features import Buy, Feature
from billing_meter.ledger import Debit, Outcome, Refused
from billing_meter.purchases import Purchases
from billing_meter.sales import Sold
from billing_meter.verify import reconcile, verify
from billing_meter.wallet import Wallet

MEMBERS, EXPERTS = 1_000, 20
CREDITS_UNITS = 1_000_000_000
ROSE_UNITS = 9_000
WARM_UP_S = 1.0

Way = Callable[[Buy], Awaitable[Outcome | Sold]]


class Load:
    """Debits over one way: what was asked since the warm-up ended, and how long each waited."""

    def __init__(self, name: str, way: Way, seconds: float) -> None:
        self._name = name
        self._way = way
        self._seconds = seconds
        self._waits_s: list[float] = []
        self._count = 0
        self.end_s = time.perf_counter() + WARM_UP_S + seconds
        self._begin_s = self.end_s - seconds

    async def debit(self) -> None:
        """One more."""
        self._count += 1
        member, expert = f"member-{self._count % MEMBERS}", f"expert-{self._count % EXPERTS}"
        key = f"{self._name}-{self._count}"
        asked_s = time.perf_counter()
        rose = Buy(key, member, expert, Feature.SURPRISE, "rose", ROSE_UNITS, ROSE_UNITS)
        outcome = await self._way(rose)
        if isinstance(outcome, Refused):
            raise RuntimeError(f"a surprise was refused: {outcome.code}")
        if asked_s >= self._begin_s:
            self._waits_s.append(time.perf_counter() - asked_s)

    async def run(self, load: Coroutine[Any, Any, None]) -> dict[str, Any]:
        """The figures of it."""
        task = asyncio.create_task(load)
        await asyncio.sleep(WARM_UP_S)
        cpu_s = time.process_time()
        await task
        cpu_s = time.process_time() - cpu_s
        cuts = statistics.quantiles(self._waits_s, n=100, method="inclusive")
        return {
            "way": self._name,
            "debits_per_s": round(len(self._waits_s) / self._seconds),
            "wait_ms_p50": round(cuts[49] * 1_000, 2),
            "wait_ms_p99": round(cuts[98] * 1_000, 2),
            "wait_ms_max": round(max(self._waits_s) * 1_000, 2),
            "cpu_share": round(cpu_s / self._seconds, 3),
            "cpu_us_each": round(cpu_s * 1_000_000 / len(self._waits_s), 1),
        }


async def clients(name: str, way: Way, count: int, seconds: float) -> dict[str, Any]:
    """So many for so long, each of whom asks again when it is answered."""
    load = Load(name, way, seconds)

    async def client() -> None:
        while time.perf_counter() < load.end_s:
            await load.debit()

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(count)))

    return await load.run(all_of_them())


async def strangers(name: str, way: Way, rate: int, seconds: float) -> dict[str, Any]:
    """So many a second on average, each of whom asks once (a Poisson process)."""
    load, chance = Load(name, way, seconds), random.Random(rate)

    async def arrivals() -> None:
        comes_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while comes_s < load.end_s:
                comes_s += chance.expovariate(rate)
                early_s = comes_s - time.perf_counter()
                if early_s > 0:
                    await asyncio.sleep(early_s)
                group.create_task(load.debit())

    return await load.run(arrivals())


async def measure(
    waiting: int, rate: int, seconds: float, directory: Path | None, url: str | None
) -> list[dict[str, Any]]:
    """Both ways on one fresh ledger, whose members are premium.

    RuntimeError when its books do not add up afterwards.
    """
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        database = await Database.open(url or f"sqlite+aiosqlite:///{folder}/debits.db")
        try:
            wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
            buy = Purchases(wallet).buy

            async def debit_alone(rose: Buy) -> Outcome:
                paid = Debit(rose.key, rose.member_id, rose.expert_id, rose.units, "rose", "bench")
                return await wallet.ledger.execute(paid)

            await soak_people.fill(wallet, MEMBERS, EXPERTS, CREDITS_UNITS)
            results = [
                await clients("surprises", buy, waiting, seconds),
                await strangers(f"surprises, {rate}/s", buy, rate, seconds),
                await clients("a transaction each", debit_alone, waiting, seconds),
            ]
            for judged in (await verify(database), await reconcile(database)):
                if not judged.ok:
                    raise RuntimeError(f"the books do not add up: {judged.findings[:3]}")
        finally:
            await database.close()
    return results


def main() -> None:
    """Command line; one JSON list."""
    parser = argparse.ArgumentParser(description="Debits that somebody waits for.")
    parser.add_argument("--clients", type=int, default=32, help="who wait at a time")
    parser.add_argument("--rate", type=int, default=2_000, help="strangers a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--dir", type=Path, help="where the database file goes")
    parser.add_argument("--url", help="another database than SQLite; empty")
    options = parser.parse_args()
    measured = measure(options.clients, options.rate, options.seconds, options.dir, options.url)
    print(json.dumps(uvloop.run(measured)))


if __name__ == "__main__":
    main()
