"""Who owes after a charge-back and has a session: what it gives back pays the debt first."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.ledger import Posted, TakeBack
from billing_meter.meter import SessionOrder
from billing_meter.sweeper import LOOKS_MIN, SUPERVISION_NS, Sweeper
from billing_meter.tariff import Component, Tariff
from billing_meter.verify import reconcile, verify

BOUGHT, RATE = 1_500_000, 9_999


async def charged_back(house) -> None:
    """Everything that was bought is taken back, held credits become a debt."""
    query = sa.select(schema.transfers.c.transfer).where(schema.transfers.c.kind == "purchase")
    async with house.wallet.ledger.transaction() as transaction:
        purchase = await transaction.connection.scalar(query)
        request = TakeBack("cb", purchase, BOUGHT, "charge_back", "test")
        assert isinstance(await transaction.execute(request), Posted)


async def stands(house) -> tuple[int, int, int]:
    """(held, spendable, owed)."""
    balance = await house.wallet.balance("ann")
    return balance.held_units, balance.available, await house.wallet.debt_units("ann")


async def sound(house) -> None:
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


@pytest.mark.parametrize("way", ["close", "switch off", "restart", "sweep"])
async def test_what_a_session_gives_back_pays_the_debt(house, way) -> None:
    await house.fund("ann", BOUGHT)
    wanted = frozenset({Component.CAM2CAM})
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(RATE, RATE, RATE), None, wanted))
    await house.run(3)
    held, available, owed = await stands(house)
    await charged_back(house)
    assert await stands(house) == (held, 0, BOUGHT - available)
    if way == "switch off":
        await house.till.switch("s1", Component.CAM2CAM, False)
        still_held, available, owed = await stands(house)
        assert 0 < still_held < held
        assert available == 0
    if way in ("close", "switch off"):
        await house.till.close("s1", "member_left")
    elif way == "restart":
        assert await house.restart() == 1
    else:
        sweeper = Sweeper(house.wallet.ledger, node="another", clock_ns=house.clock.ns)
        for _ in range(LOOKS_MIN + 2):
            await sweeper.sweep()
            house.clock.now_ns += SUPERVISION_NS
    held, available, owed = await stands(house)
    assert (held, available) == (0, 0)
    async with house.database.read() as connection:
        posted = await connection.scalar(sa.select(schema.holds.c.posted_units))
    assert owed == posted
    await sound(house)


async def test_a_debt_waits_for_what_another_session_took(house) -> None:
    """In one transaction one session gives back, and another one takes some of it to go on."""
    await house.fund("ann", BOUGHT)
    for name in ("s1", "s2"):
        await house.start(SessionOrder(name, "ann", "eve", Tariff(RATE, 0, 0)))
    await charged_back(house)
    await house.run(4)
    _, _, owed = await stands(house)
    closing, goes_on = (house.till._register.get(name) for name in ("s1", "s2"))
    before = goes_on.books
    closing.cut(house.clock.ns())
    house.till._begin_closing(closing, "member_left")
    assert await house.till._writer.commit([closing, goes_on])
    after, available, owes = await stands(house)
    assert list(house.till._register) == [goes_on]
    assert after > before.hold.units - (goes_on.books.posted_units - before.posted_units)
    assert (available, owes) == (0, owed)
    await house.run(3)
    await house.till.close("s2", "member_left")
    held, available, owed = await stands(house)
    assert (held, available) == (0, 0)
    assert owed > 0
    await sound(house)
