"""Races with real concurrency: several processes' connections and threads on one database.

Each must end right whoever wins: nothing is sold twice, nothing is given twice, nobody goes below
zero. (Refunds against payouts, and payouts decided by many: test_payouts.)
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.card_checks import FakeCardChecker
from billing_meter.database import Database
from billing_meter.free_credits import FREE_UNITS, Claim, FreeCredits
from billing_meter.ledger import Debit, Posted
from billing_meter.meter import Exhausted, SessionOrder
from billing_meter.orders import Orders
from billing_meter.packages import DEFAULT_PACKAGE_ID, PACKAGES
from billing_meter.providers import FakeProvider, Settled
from billing_meter.refunds import Refund, RefundRefused, Refunds
from billing_meter.reload import THRESHOLD_UNITS, Reload
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Switched
from billing_meter.wallet import Wallet
from tests.billing_meter.live_meter import LiveMeter, S, utc_now
from tests.billing_meter.stripe_shop import Shop

pytestmark = [pytest.mark.threads, pytest.mark.slow, pytest.mark.timeout(180)]
RATE = 299
PACKAGE_UNITS = PACKAGES[DEFAULT_PACKAGE_ID].credits_units
CREW = 4
CONNECTIONS = 50
TIPS = 60
SWITCHES = {"sqlite": 1_200, "postgresql": 400}
"""Twenty a second for a minute, or a third of one where a switch is a conversation."""
SWITCH_EVERY_S = 0.05
PACKET_MS = 20


@pytest.fixture
async def crew(house) -> AsyncIterator[list[Wallet]]:
    """Other processes: each with connections, and on SQLite threads, of its own."""
    databases = [await Database.open(house.url) for _ in range(CREW)]
    yield [Wallet(database, utc_now=house.clock.utc) for database in databases]
    for database in databases:
        await database.close()
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


def order(session_id: str = "s1") -> SessionOrder:
    return SessionOrder(session_id, "ann", "eve", Tariff(RATE, 100, 50))


# --- the last credit ----------------------------------------------------------------------------


@dataclass
class Evening:
    """What one process came to."""

    passed_s: int = 0
    cost_units: int = 0
    spent_units: int = 0
    posted: int = 0
    ended: bool = False


async def evening(url: str, number: int, together: threading.Barrier) -> Evening:
    """A process of its own: a session in real time, and tips and messages beside it."""
    chance, came, session = random.Random(number), Evening(), f"s{number}"
    database = await Database.open(url)
    wallet = Wallet(database, utc_now=utc_now)
    live = LiveMeter(url, database, wallet, node=f"node-{number}")
    live.till.start()
    stream = await live.talk(session)
    together.wait()
    for n in range(TIPS):
        units = chance.randrange(1, 2 * RATE)
        kind = chance.choice(("surprise", "message"))
        paid = await wallet.counter.debit(Debit(f"{number}-{n}", "ann", "eve", units, kind, "x"))
        if isinstance(paid, Posted):
            came.spent_units, came.posted = came.spent_units + units, came.posted + 1
    came.ended = await live.until(session, Exhausted())
    came.cost_units = (await live.till.close(session, "balance_empty")).cost_units
    came.passed_s = stream.passed_ns // S
    await live.till.stop()
    await database.close()
    return came


async def test_three_sessions_tips_and_messages_race_for_the_last_credit(house, crew) -> None:
    """Three processes, each a thread with an event loop, a till and connections of its own."""
    funds_units = 90 * RATE + 17
    await house.fund("ann", funds_units)
    together = threading.Barrier(3)
    came = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, evening(house.url, n, together)) for n in range(3))
    )
    left = await house.wallet.balance("ann")
    assert left.held_units == 0
    assert 0 <= left.posted < RATE, "nothing is left that would pay a second"
    assert sum(one.cost_units + one.spent_units for one in came) + left.posted == funds_units
    assert 0 < sum(one.posted for one in came) < 3 * TIPS
    for one in came:
        assert one.ended
        assert one.cost_units == one.passed_s * RATE


# --- a surcharge that is never left alone -------------------------------------------------------


async def test_a_surcharge_is_switched_twenty_times_a_second_for_a_minute(house, crew) -> None:
    """Charged are whole seconds of the time in which it was on and flowed, never one more."""
    await house.fund("ann", PACKAGE_UNITS)
    private, cam = await house.start(order()), house.gate(gap_ms=PACKET_MS)
    house.till.attach("s1", Component.CAM2CAM, cam)
    cam.start()
    switches = SWITCHES[house.database.dialect]
    for n in range(switches):
        house.clock.advance(SWITCH_EVERY_S)
        works = [house.till.switch("s1", Component.CAM2CAM, n % 2 == 0)]
        if n % 20 == 10:
            works.append(house.till.tick())
        switched, *_ = await asyncio.gather(*works)
        assert isinstance(switched, Switched)
        if n % 5 == 0:
            house.till.beat()
    summary = await house.till.close("s1", "member_left")
    on_s = switches / 2 * SWITCH_EVERY_S
    lost_s = switches / 2 * PACKET_MS / 1_000
    own, camera, _ = summary.lines
    assert own.seconds == private.sum_held_s == round(switches * SWITCH_EVERY_S)
    assert int(on_s - lost_s) - 1 <= camera.seconds <= on_s
    assert summary.cost_units == own.seconds * RATE + camera.seconds * 100
    assert (await house.wallet.balance("ann")).posted == PACKAGE_UNITS - summary.cost_units


# --- buying -------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", ["own", "other"])
async def test_a_top_up_in_the_final_second(house, crew, process) -> None:
    """At six instants of it. From its own process it always comes in time."""
    payer = house.wallet if process == "own" else crew[0]
    spent = funded = 0
    for n, left_s in enumerate((0.9, 0.75, 0.5, 0.25, 0.1, 0.01)):
        house.events.clear()
        await house.fund("ann", 60 * RATE)
        gate = await house.start(order(f"s{n}"))
        available = (await house.wallet.balance("ann")).available
        drain = Debit(f"drain{n}", "ann", "eve", available, "surprise", "x")
        assert isinstance(await house.wallet.counter.debit(drain), Posted)
        house.clock.advance((gate.until_ns - house.clock.now_ns) / S - left_s)
        house.till.beat()
        await asyncio.gather(
            house.till.tick(), payer.credit_purchase("ann", 100 * RATE, f"top-up{n}", "test")
        )
        if house.till._wake.is_set():  # what the timer waits for
            await house.till.tick()
        await house.run(3)
        if process == "own":
            assert not house.of(Exhausted)
        cost = (await house.till.close(f"s{n}", "member_left")).cost_units
        assert cost // RATE in (gate.sum_held_s, gate.sum_held_s + 1)
        spent, funded = spent + cost + available, funded + 160 * RATE
        assert (await house.wallet.balance("ann")).posted == funded - spent
        rest = Debit(f"rest{n}", "ann", "eve", funded - spent, "surprise", "x")
        assert isinstance(await crew[1].counter.debit(rest), Posted)
        spent = funded


async def test_a_reload_is_settled_by_everybody_at_once(house, crew) -> None:
    """Answers, look-ups and webhooks of one attempt, in three processes: credited once."""
    provider = FakeProvider()
    desks = [
        Orders(wallet.database, wallet, provider, utc_now=house.clock.utc)
        for wallet in (house.wallet, *crew[:2])
    ]
    reloads = [
        Reload(orders._database, orders._wallet, orders, utc_now=house.clock.utc)
        for orders in desks
    ]
    await reloads[0].set_settings("ann", enabled=True, token="tok_slow")
    await house.fund("ann", THRESHOLD_UNITS)
    await reloads[0].idle()
    [charge] = provider.charges
    await asyncio.gather(
        *(orders.confirm(charge.attempt_id, Settled("webhook")) for orders in desks * 4),
        *(orders.resume_pending() for orders in desks),
    )
    for reload in reloads:
        await reload.idle()
    assert (await house.wallet.balance("ann")).posted == THRESHOLD_UNITS + PACKAGE_UNITS
    assert (await reloads[0].settings("ann")).state == "armed"
    assert len(provider.charges) == 1
    for orders in desks:
        await orders.close()


async def test_free_credits_are_claimed_from_fifty_connections(house, crew) -> None:
    databases = [await Database.open(house.url) for _ in range(CONNECTIONS)]
    checker = FakeCardChecker()
    doors = [
        FreeCredits(Wallet(database, utc_now=house.clock.utc), checker, "s" * 64)
        for database in databases
    ]
    claims = await asyncio.gather(*(door.claim("ann", "ann@mail.test", "tok_ok") for door in doors))
    assert set(claims) <= {Claim("granted"), Claim("pending")}
    assert Claim("granted") in claims
    query = sa.select(sa.func.count()).where(schema.transfers.c.kind == "promo_grant")
    async with house.database.read() as connection:
        assert await connection.scalar(query) == 1
    assert (await house.wallet.balance("ann")).promo_units == FREE_UNITS
    for database in databases:
        await database.close()


# --- money that goes back -----------------------------------------------------------------------


async def test_staff_decides_a_refund_in_eight_places_at_once(house, crew) -> None:
    await house.fund("ann", PACKAGE_UNITS)
    await house.start(order())
    await house.run(60.5)
    cost = (await house.till.close("s1", "member_left")).cost_units
    desks = [Refunds(wallet.ledger) for wallet in crew]
    asked = await asyncio.gather(*(desk.request("s1", "ann", "No sound.") for desk in desks))
    assert sum(isinstance(one, Refund) for one in asked) == 1
    assert asked.count(RefundRefused("already_requested")) == CREW - 1
    decided = await asyncio.gather(
        *(desk.approve("s1", cost // (n + 1), f"staff{n}") for n, desk in enumerate(desks)),
        *(desk.deny("s1", "other") for desk in desks),
    )
    [won] = [one for one in decided if isinstance(one, Refund)]
    assert decided.count(RefundRefused("already_decided")) == 2 * CREW - 1
    assert (await house.wallet.balance("ann")).posted == PACKAGE_UNITS - cost + won.granted_units


def other_shop(house, wallet: Wallet, stripe) -> Shop:
    """What sells in another process."""
    return Shop(SimpleNamespace(database=wallet.database, wallet=wallet, clock=house.clock), stripe)


async def test_a_webhook_is_delivered_to_three_processes_at_once(house, crew, shop, stripe) -> None:
    others = [other_shop(house, wallet, stripe) for wallet in crew[:2]]
    await shop.checkout()
    stripe.pay(stripe.session["id"])
    event = stripe.event("checkout.session.completed", stripe.session["id"])
    taken = await asyncio.gather(*(one.webhooks.take(*event) for one in (shop, *others) * 4))
    assert sorted(taken) == ["applied"] + ["duplicate"] * 11
    assert await shop.posted() == PACKAGE_UNITS
    for one in others:
        await one.close()


async def test_a_charge_back_races_a_running_session(house, crew, shop, stripe) -> None:
    """What was spent by then is owed, what was not is gone, and the session ends."""
    there = other_shop(house, crew[0], stripe)
    await shop.bought()
    gate = await house.start(order())
    await house.run(5)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    event = stripe.event("charge.dispute.created", dispute["id"])
    house.clock.advance(1)
    house.till.beat()
    tips = [Debit(f"tip{n}", "ann", "eve", 1_000, "surprise", "x") for n in range(20)]
    taken, _, _, *paid = await asyncio.gather(
        there.webhooks.take(*event),
        house.till.tick(),
        house.till.switch("s1", Component.CAM2CAM, True),
        *(wallet.counter.debit(tip) for wallet, tip in zip(crew * 5, tips, strict=True)),
    )
    assert taken == "applied"
    await house.run(60)
    assert house.of(Exhausted), "nothing more could be held"
    cost = (await house.till.close("s1", "balance_empty")).cost_units
    assert cost // RATE in (gate.sum_held_s, gate.sum_held_s + 1)
    tipped = 1_000 * sum(isinstance(one, Posted) for one in paid)
    left = await house.wallet.balance("ann")
    assert left.held_units == 0
    assert left.posted - await house.wallet.debt_units("ann") == -(cost + tipped)
    await there.close()
