"""The counter: debits of many people who wait, in one durable transaction for all who ask at once.

A surprise or a message is paid at once and somebody waits for the answer. A transaction of its own
for each costs a disk's flush each; here whoever asks while one is under way shares the next one.
Nobody waits for company: a debit that comes alone leaves alone.

Each debit has its own outcome. Within a transaction they are decided in the order in which they
came, so that two who want a member's last credits get what they would get one after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import IntegrityError

from billing_meter import ledger
from billing_meter.database import DatabaseUnavailable
from billing_meter.ledger import Debit, Entry, Outcome, Posted, Refused
from billing_meter.ledger_entries import debit_entry
from billing_meter.ledger_store import Funds, GuardFailed, LedgerStore, LedgerTransaction

DEBITS_PER_COMMIT_MAX: Final = 128
"""About ten milliseconds of work: who comes next waits so long, and the meter's tick too."""

_Waiting = tuple[Debit, asyncio.Future[Outcome]]


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
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
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
        finally:
            self._task = None
            for _, answer in (*batch, *self._waiting):
                answer.cancel()  # only when this task was: else all have their answers
            self._waiting.clear()

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        requests = [request for request, _ in batch]
        try:
            try:
                outcomes = await self._together(requests)
            except DatabaseUnavailable as error:
                if not error.lost:
                    raise
                outcomes = await self._together(requests)  # the keys tell what took effect
        except (GuardFailed, IntegrityError):
            await self._one_by_one(batch)
        except Exception as error:  # noqa: BLE001 it is for those who asked
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)

    async def _together(self, requests: Sequence[Debit]) -> list[Outcome]:
        async with self._store.transaction() as transaction:
            return await debit_all(transaction, requests)

    async def _one_by_one(self, batch: Sequence[_Waiting]) -> None:
        """What one debit breaks it breaks for itself; keys tell what took effect after all."""
        for request, answer in batch:
            if answer.done():
                continue  # cancelled: nobody waits, and nothing is taken for nobody
            try:
                outcome = await self._store.execute(request)
            except Exception as error:  # noqa: BLE001 it is its caller's
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(outcome)


async def debit_all(transaction: LedgerTransaction, requests: Sequence[Debit]) -> list[Outcome]:
    """Decide debits in their order and write them in as few statements as one would need."""
    known = await transaction.known(requests)
    fresh = {request.key: request for request in reversed(requests) if request.key not in known}
    funds = await transaction.funds(sorted({request.member_id for request in fresh.values()}))
    shares = await transaction.shares(request.expert_id for request in fresh.values())
    entries: list[Entry] = []
    outcomes: list[Outcome | int] = []  # an index into `entries` while its number is not known
    places: dict[str, int] = {}
    for request in requests:
        if request.key in known:
            outcomes.append(known[request.key])
        elif request.key in places:
            same = entries[places[request.key]].request_hash == ledger.hash_of(request)
            outcomes.append(places[request.key] if same else Refused("key_reused"))
        else:
            places[request.key] = len(entries)
            outcomes.append(len(entries))
            entries.append(_decide(request, funds, shares))
    first = await transaction.write(entries) if entries else 0
    told: list[Outcome] = []
    heard: set[int] = set()
    for outcome in outcomes:
        if isinstance(outcome, int):
            told.append(_told(entries[outcome], first + outcome, replayed=outcome in heard))
            heard.add(outcome)
        else:
            told.append(outcome)
    return told


def _decide(request: Debit, funds: dict[str, Funds], shares: dict[str, int]) -> Entry:
    """One debit after those before it, whose units are gone from `funds`."""
    mine = funds[request.member_id]
    drawn = ledger.draw(request.units, mine.available)
    refusal = mine.refusal(request.units)
    if drawn is None or refusal is not None:
        code = refusal or "insufficient_credits"
        return ledger.refusal_entry(request, code, request.member_id)
    funds[request.member_id] = mine.left(mine.available - drawn)
    return debit_entry(request, drawn, shares[request.expert_id])


def _told(entry: Entry, transfer: int, *, replayed: bool) -> Outcome:
    if entry.refusal is not None:
        return Refused(entry.refusal, replayed=replayed)
    return Posted(transfer, entry.units, entry.draw, replayed=replayed)
