"""What people are told of a session against what it costs: its start, its end, and its bill."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from billing_meter import till as till_module
from billing_meter.meter import Started, Ticked
from billing_meter.sessions import stored_summary
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component
from billing_meter.till import Opened, Switched
from tests.billing_meter.test_till import PACKAGE, order


@pytest.fixture(autouse=True)
async def books_stay_clean(house):
    yield
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def connecting(house):
    """An open session whose media has not begun."""
    await house.fund("ann", PACKAGE)
    assert isinstance(await house.till.open(order()), Opened)
    gate = house.gate()
    house.till.attach("s1", Component.PRIVATE, gate)
    return gate


@contextlib.contextmanager
def media_begins_in_commits(house, monkeypatch, gate, seconds):
    """Each commit meanwhile takes so long, and media flows from the first one on."""
    write = house.database.write

    @contextlib.asynccontextmanager
    async def slow():
        async with write() as connection:
            yield connection
            gate.start()
            house.clock.advance(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(house.database, "write", slow)
        yield


async def untold(house, monkeypatch, seconds: float = 3.0):
    """A session whose media passed while commits were slow, and no beat came."""
    gate = await connecting(house)
    with media_begins_in_commits(house, monkeypatch, gate, seconds):
        assert isinstance(await house.till.switch("s1", Component.CAM2CAM, True), Switched)
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, False), Switched)
    assert house.of(Started) == []
    return gate


async def test_media_that_begins_during_a_commit_is_told_of(house, monkeypatch) -> None:
    """Its first packets are counted when the commit ends, and not by the beat that tells of it."""
    gate = await connecting(house)
    house.clock.advance(0.95)
    with media_begins_in_commits(house, monkeypatch, gate, 0.05):
        await house.till.tick()
    house.clock.advance(0.25)
    house.till.beat()
    assert len(house.of(Started)) == 1
    await house.run(3)
    assert len(house.of(Started)) == 1
    await house.till.close("s1", "member_left")


async def test_what_ends_before_people_are_told_costs_nothing(house, monkeypatch) -> None:
    """Three seconds passed, commits counted them, and a member cancelled while connecting."""
    gate = await untold(house, monkeypatch)
    assert gate.sum_held_s >= 2
    summary = await house.till.close("s1", "cancelled")
    assert (summary.cost_units, summary.started_at, house.of(Started)) == (0, None, [])
    stored = await stored_summary(house.database, "s1")
    assert (stored.cost_units, stored.started_at, stored.reason) == (0, None, "cancelled")
    assert (await house.wallet.balance("ann")).available == PACKAGE


async def test_whoever_looks_tells_of_it_and_all_of_it_counts(house, monkeypatch) -> None:
    gate = await untold(house, monkeypatch)
    house.till.look("s1")
    house.till.look("s1")
    house.till.look("nobody")
    assert len(house.of(Started)) == 1
    await house.till.tick()
    [told] = [event.snapshot for event in house.of(Ticked)]
    assert told.cost_units == gate.sum_held_s * 299
    assert not told.paused
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == gate.sum_held_s * 299
    assert summary.started_at is not None


async def test_a_cut_is_the_end_of_the_count_and_of_all_news(house) -> None:
    """Its reason stands; whoever closes posts it, and else the next tick does."""
    await house.fund("ann", PACKAGE)
    gates = [await house.start(order(name)) for name in ("s1", "s2")]
    await house.run(5.5)
    news = len(house.events)
    for name in ("s1", "s2", "nobody"):
        house.till.cut(name, "connect_failed")
    assert [gate.until_ns for gate in gates] == [0, 0]
    house.clock.advance(2)
    house.till.beat()
    house.till.look("s1")
    house.till.cut("s1", "member_left")
    summary = await house.till.close("s1", "member_left")
    assert (summary.reason, summary.cost_units) == ("connect_failed", 5 * 299)
    await house.till.tick()
    assert house.till.open_sessions == 0
    assert (await stored_summary(house.database, "s2")).cost_units == 5 * 299
    assert (await house.till.close("s2", "member_left")).reason == "connect_failed"
    assert len(house.events) == news


@pytest.mark.threads
async def test_more_sessions_end_at_once_than_summaries_are_kept(house, monkeypatch) -> None:
    monkeypatch.setattr(till_module, "SUMMARIES_KEPT", 2)
    await house.fund("ann", PACKAGE)
    names = [f"s{number}" for number in range(6)]
    for name in names:
        await house.start(order(name))
    await house.run(1.5)
    found = await asyncio.gather(*(house.till.close(name, "server_stopped") for name in names))
    assert [one.session_id for one in found] == names
    assert [one.cost_units for one in found] == [299] * 6
    assert (await house.till.close("s0", "member_left")).reason == "server_stopped"


async def test_the_bill_of_a_session_that_another_settled_is_the_one_that_was_paid(house) -> None:
    """This process stood still, was taken for dead, and hears of it when it closes."""
    await house.fund("ann", PACKAGE)
    await house.start(order())
    await house.run(3.25)
    other = house.new_till()
    assert await other.recover() == 1
    house.clock.advance(1)
    for _ in range(2):
        summary = await house.till.close("s1", "member_left")
        assert summary == await stored_summary(house.database, "s1")
    assert (await house.wallet.balance("ann")).available == PACKAGE - summary.cost_units
