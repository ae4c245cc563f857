"""Debits that share a transaction: the outcomes are those of one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter.counter import DEBITS_PER_COMMIT_MAX, Counter
from billing_meter.database import DatabaseUnavailable
from billing_meter.ledger import Debit, Outcome, Posted, Refused
from billing_meter.ledger_store import GuardFailed
from billing_meter.statements import reconcile, verify
from tests.turns import turn

pytestmark = pytest.mark.threads


@pytest.fixture
async def counter(house) -> AsyncIterator[Counter]:
    yield house.wallet.counter
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


def rose(key: str, member_id: str, units: int = 100, expert_id: str = "eve") -> Debit:
    return Debit(key, member_id, expert_id, units, "surprise", "rose")


async def ask(counter: Counter, debits: Sequence[Debit]) -> list[Outcome | BaseException]:
    return await asyncio.gather(*map(counter.debit, debits), return_exceptions=True)


@pytest.fixture
def writes(house, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every write transaction that begins from now on."""
    begun: list[int] = []
    write = house.database.write

    def counted() -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        begun.append(1)
        return write()

    monkeypatch.setattr(house.database, "write", counted)
    return begun


async def test_who_asks_meanwhile_shares_the_next_transaction(house, counter, writes) -> None:
    await house.fund("ann", 100_000)
    before = len(writes)
    outcomes = await ask(counter, [rose(f"d{n}", "ann") for n in range(300)])
    assert all(isinstance(outcome, Posted) for outcome in outcomes)
    assert len({outcome.transfer for outcome in outcomes}) == 300
    assert len(writes) - before == -(-300 // DEBITS_PER_COMMIT_MAX)
    assert (await house.wallet.balance("ann")).available == 100_000 - 300 * 100


async def test_the_last_credits_go_to_who_came_first(house, counter) -> None:
    await house.fund("ann", 250)
    outcomes = await ask(counter, [rose(key, "ann") for key in ("d1", "d2", "d3")])
    refused = Refused("insufficient_credits")
    assert [type(outcome) for outcome in outcomes] == [Posted, Posted, Refused]
    assert outcomes[2] == refused
    await house.fund("ann", 1_000)
    assert await counter.debit(rose("d3", "ann")) == Refused(refused.code, replayed=True)
    assert (await house.wallet.balance("ann")).available == 1_050


async def test_a_key_counts_once_within_a_transaction_too(house, counter) -> None:
    await house.fund("ann", 1_000)
    first, again, other = await ask(
        counter, [rose("d1", "ann"), rose("d1", "ann"), rose("d1", "ann", 101)]
    )
    assert isinstance(first, Posted)
    assert again == Posted(first.transfer, 100, first.draw, replayed=True)
    assert other == Refused("key_reused")
    assert (await house.wallet.balance("ann")).available == 900


async def test_what_one_debit_breaks_it_breaks_for_itself(house, counter) -> None:
    await house.fund("ann", 1_000)
    good, bad, late = await ask(
        counter, [rose("d1", "ann"), rose("d2", "ann", 100, "nobody"), rose("d3", "ann")]
    )
    assert isinstance(good, Posted)
    assert isinstance(bad, GuardFailed)
    assert isinstance(late, Posted)
    assert (await house.wallet.balance("ann")).available == 800
    with pytest.raises(ValueError, match="cannot be transferred"):
        await counter.debit(rose("d4", "ann", 0))


@pytest.mark.parametrize(("fault", "taken"), [("before", 0), ("during", 0), ("after", 200)])
async def test_without_an_answer_everybody_hears_it_and_the_key_tells(
    house, counter, fault: str, taken: int
) -> None:
    await house.fund("ann", 1_000)
    debits = [rose("d1", "ann"), rose("d2", "ann")]
    house.database.fault = fault
    assert all(isinstance(o, DatabaseUnavailable) for o in await ask(counter, debits))
    house.database.fault = None
    assert (await house.wallet.balance("ann")).available == 1_000 - taken
    outcomes = await ask(counter, debits)
    assert [(type(o), o.replayed) for o in outcomes] == [(Posted, taken > 0)] * 2
    assert (await house.wallet.balance("ann")).available == 800


async def test_who_stops_waiting_harms_nobody(house, counter) -> None:
    await house.fund("ann", 1_000)
    tasks = [asyncio.create_task(counter.debit(rose(f"d{n}", "ann"))) for n in range(3)]
    await turn()
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert isinstance(outcomes[0], Posted)
    assert isinstance(outcomes[2], Posted)
    again = await counter.debit(rose("d1", "ann"))
    assert isinstance(again, Posted)
    assert (await house.wallet.balance("ann")).available == 700


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
async def test_together_is_as_one_after_the_other(house, counter, seed: int) -> None:
    """Two sets of members who ask for the same: one set at once, the other in turn."""
    chance, names = random.Random(seed), ("x", "y", "z")
    for name in names:
        units = chance.randrange(500, 1_500)
        for side in ("a", "b"):
            await house.fund(f"{side}-{name}", units)
            await house.wallet.grant_promo(f"{side}-{name}", 300, f"gift-{side}-{name}", "welcome")
    asked = [
        (f"k{chance.randrange(30)}", chance.choice(names), chance.randrange(1, 200))
        for _ in range(60)
    ]
    one_by_one = [
        await house.wallet.ledger.execute(rose(f"a-{key}", f"a-{name}", units))
        for key, name, units in asked
    ]
    together = await ask(counter, [rose(f"b-{k}", f"b-{name}", units) for k, name, units in asked])
    assert [told(outcome) for outcome in together] == [told(outcome) for outcome in one_by_one]
    for name in names:
        assert await house.wallet.balance(f"b-{name}") == await house.wallet.balance(f"a-{name}")


def told(outcome: Outcome | BaseException) -> object:
    """An outcome without its number."""
    assert isinstance(outcome, Posted | Refused), outcome
    if isinstance(outcome, Refused):
        return outcome
    return outcome.units, outcome.draw, outcome.replayed
