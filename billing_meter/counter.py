"""The counter: debits of many people who wait, in one durable transaction for all who ask at once.

A surprise or a message is paid at once and somebody waits for the answer. A transaction of its own
for each costs a disk's flush each; here whoever asks while one is under way shares the next one.
Nobody waits for company: a debit that comes alone leaves alone.

Each debit has its own outcome (`sales.py`). Within a transaction they are decided in the order in
which they came, so that two who want a member's last credits get what they would get one after the
other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from billing_meter import features, ledger
from billing_meter.database import DatabaseUnavailable
from billing_meter.features import Buy
from billing_meter.ledger import Debit, Outcome, Posted, Refused
from billing_meter.ledger_store import LedgerStore
from billing_meter.sales import Also, Sale, Sold, sell_all

DEBITS_PER_COMMIT_MAX: Final = 128
"""About ten milliseconds of work: who comes next waits so long, and the meter's tick too."""

_Waiting = tuple[Sale, asyncio.Future[Sold]]


class Counter:
    """Hands debits to the ledger, many at a time."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def debit(self, request: Debit) -> Outcome:
        """As `LedgerStore.execute`, with its outcomes and exceptions.

        Who is cancelled while waiting does not know whether it took effect; the key tells.
        """
        ledger.checked(request)
        sold = await self._ask(Sale(request))
        if isinstance(sold, Refused):
            return sold
        return Posted(sold.transfer, sold.units, sold.draw, replayed=sold.replayed)

    async def buy(self, buy: Buy, also: Also | None = None) -> Sold:
        """Debit the price and, in the same transaction, write what it bought and `also`.

        Outcomes and exceptions are those of `debit`, and what `also` raises.
        """
        return await self._ask(Sale(features.checked(buy).debit, buy, also))

    async def _ask(self, sale: Sale) -> Sold:
        answer: asyncio.Future[Sold] = asyncio.get_running_loop().create_future()
        self._waiting.append((sale, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="counter")
        return await answer

    async def _serve(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                count = min(len(self._waiting), DEBITS_PER_COMMIT_MAX)
                batch = [self._waiting.popleft() for _ in range(count)]
                await self._settle(batch)
                # Who was just answered may want the next thing: one turn, and they share it.
                await asyncio.sleep(0)
        finally:
            self._task = None
            for _, answer in (*batch, *self._waiting):
                answer.cancel()  # only when this task was: else all have their answers
            self._waiting.clear()

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._together([sale for sale, _ in batch])
        except Exception as error:  # noqa: BLE001 it is for those who asked
            # What one of them broke it breaks for itself; a store that fails fails for all.
            alone = len(batch) == 1 or isinstance(error, DatabaseUnavailable)
            if not alone:
                await self._one_by_one(batch)
                return
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)

    async def _together(self, sales: Sequence[Sale]) -> list[Sold]:
        """When the connection is lost, they are asked once more: keys tell what took effect."""
        try:
            return await self._sell(sales)
        except DatabaseUnavailable as error:
            if not error.lost:
                raise
        return await self._sell(sales)

    async def _sell(self, sales: Sequence[Sale]) -> list[Sold]:
        async with self._store.transaction() as transaction:
            return await sell_all(transaction, sales)

    async def _one_by_one(self, batch: Sequence[_Waiting]) -> None:
        """Each in a transaction of its own; keys tell what took effect after all."""
        for sale, answer in batch:
            if answer.done():
                continue  # cancelled: nobody waits, and nothing is taken for nobody
            await self._settle([(sale, answer)])
