"""Processes that pay experts out on a real database, each killed (-9) at one point of its work.

Started with a database's address, the file of a bank, and the points: `… URL BANK 0 1 2`. For each
point a child is forked that pays one expert and kills itself when it gets there, then one that
finds what is left, proves the books and goes on. The bank is a file that outlives them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter.database import Database
from billing_meter.ledger import Debit
from billing_meter.ledger_store import LedgerStore
from billing_meter.payout_providers import PayoutResult, Sent, Transferred, Unknown
from billing_meter.payout_rules import Payout, PayoutState
from billing_meter.payouts import Payouts
from billing_meter.statements import reconcile, verify
from billing_meter.wallet import Wallet, prepare_ledger

CREDIT = 6_000
PRICE_UNITS = 100 * CREDIT
DAYS = 3
"""How long ago everything was earned."""


class Fate:
    """Counts the points that a life passes, and ends it at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self._die_at = die_at
        self.passed = 0

    def point(self) -> None:
        if self.passed == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


class MortalDatabase(Database):
    """Each write has three points: before it begins, before its commit, after its commit."""

    fate: Fate

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        self.fate.point()
        async with super()._write() as connection:
            yield connection
            self.fate.point()
        self.fate.point()


class FileBank:
    """Sends a payout by a line in a file, durable before it answers; tells later that it came."""

    name = "bank"

    def __init__(self, file: str, fate: Fate) -> None:
        self._file = file
        self._fate = fate

    async def send(self, payout: Payout) -> PayoutResult:
        self._fate.point()
        with open(self._file, "a", encoding="utf-8") as book:
            book.write(f"{payout.payout_id} {payout.amount_minor}\n")
            book.flush()
            os.fsync(book.fileno())
        self._fate.point()
        return Sent("on its way")

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        self._fate.point()
        with contextlib.suppress(FileNotFoundError), open(self._file, encoding="utf-8") as book:
            if any(line.split()[0] == payout.payout_id for line in book):
                return Transferred("there", payout.amount_minor)
        return Unknown()

    async def close(self) -> None:
        """Nothing is open."""


async def life(url: str, bank: str, expert: str, die_at: int | None) -> None:
    """Pay one expert, from wherever an earlier life got to."""
    database = await MortalDatabase.open(url)
    fate = MortalDatabase.fate = Fate(None)
    try:
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
        fate = database.fate = Fate(die_at)
        store = LedgerStore(database, utc_now=lambda: datetime.now(UTC))
        payouts = Payouts(store, FileBank(bank, fate))
        await payouts.set_destination(expert, expert, "NO9386011117947")
        payout = await payouts.request(expert, "k")
        assert isinstance(payout, Payout), payout
        if payout.state is PayoutState.REQUESTED:
            await payouts.approve(payout.payout_id, "staff")
        await payouts.send(payout.payout_id)
        await payouts.send(payout.payout_id)
        found = await payouts.find(payout.payout_id)
        assert found is not None
        assert found.state is PayoutState.PAID
    finally:
        await database.close()
    print("points", fate.passed, flush=True)


async def earn(url: str, experts: list[str]) -> None:
    """Each expert earned 60 credits days ago."""
    then = datetime.now(UTC) - timedelta(days=DAYS)
    database = await Database.open(url)
    await prepare_ledger(database)
    wallet = Wallet(database, utc_now=lambda: then)
    await wallet.open_member("ann")
    await wallet.credit_purchase("ann", PRICE_UNITS * len(experts), "buy", "test")
    for expert in experts:
        await wallet.open_expert(expert)
        await wallet.ledger.execute(Debit(expert, "ann", expert, PRICE_UNITS, "surprise", expert))
    await database.close()


def child(url: str, bank: str, expert: str, die_at: int | None) -> int:
    """A life in a process of its own; how it ended, as the system tells it."""
    pid = os.fork()
    if pid == 0:
        asyncio.run(life(url, bank, expert, die_at))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(url: str, bank: str, *points: str) -> None:
    """Kill at each point, then live on."""
    experts = {point: f"expert-{point}" for point in points}
    asyncio.run(earn(url, list(experts.values())))
    for point, expert in experts.items():
        print("died", point, child(url, bank, expert, int(point)), flush=True)
        print("lived", point, child(url, bank, expert, None), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
