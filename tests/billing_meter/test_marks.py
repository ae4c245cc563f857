"""Pages of marks: what they hold, what a torn one costs, sessions between two rows, leases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import marks, marks_rows, schema
from billing_meter.ledger import Debit, Posted
from billing_meter.marks import PAGE_SESSIONS, Figures
from billing_meter.meter import GRANT_MAX_S, GRANT_S, LedgerLost, Paused, SessionOrder, Ticked
from billing_meter.meter_types import LEASE_S
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.sweeper import LOOKS_MIN, SUPERVISION_NS, Sweeper
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened

RATE = 299
RICH = 10_000 * RATE
S = 1_000_000_000
EARLY = Figures(1_000, 500, 3, 3_200, 1, 1_999, 0, 0)


def order(name: str = "s1", member: str = "ann") -> SessionOrder:
    return SessionOrder(name, member, "eve", Tariff(RATE, 100, 50))


def read(record: bytes) -> dict[str, Figures | None]:
    """Every session's figures; none for what cannot be true."""
    return {name: marks.figures_in(mark) for name, mark in (marks.unpack(record) or {}).items()}


def test_a_record_gives_back_what_was_packed_and_any_other_bytes_give_nothing() -> None:
    page = {f"{'s' * 32}{n}": EARLY._replace(held_ms=2**40 + n) for n in range(PAGE_SESSIONS)}
    page["never started"] = EARLY._replace(started_at_ms=None)
    record = marks.pack(page.items())
    assert read(record) == page
    assert len(record) < 4_096
    for length in range(0, len(record), 7):
        assert marks.unpack(record[:length]) is None, "torn"
    for place in range(0, len(record), 3):
        flipped = record[:place] + bytes((record[place] ^ 4,)) + record[place + 1 :]
        assert marks.unpack(flipped) is None
    assert read(marks.pack([("s", EARLY._replace(held_ms=2_999))])) == {"s": None}, "3 s of 2.999"
    assert read(marks.pack([("", EARLY), ("x" * 65, EARLY)])) == {"": None, "x" * 65: None}
    assert read(marks.pack([("s", EARLY._replace(private_s=-1)), ("t", EARLY)])) == {
        "s": None,
        "t": EARLY,
    }


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"private_s": 4, "held_ms": 4_000}, True),
        ({"held_ms": 3_100}, False),
        ({"private_s": 9, "held_ms": 9_000, "cam2cam_s": 0}, False),
        (None, False),
    ],
)
def test_a_page_counts_only_if_it_is_later_in_everything(change, counts) -> None:
    page = None if change is None else EARLY._replace(marked_at_ms=2_000, **change)
    assert marks.later(EARLY, page) == (page if counts else EARLY)


async def raw(house, session_id: str = "s1") -> sa.RowMapping:
    """A session's own row, without its page."""
    async with house.database.read() as connection:
        query = sa.select(schema.sessions).where(schema.sessions.c.session_id == session_id)
        return (await connection.execute(query)).mappings().one()


async def cost(house, session_id: str = "s1") -> int:
    record = await session_record(house.database, session_id)
    assert record is not None
    return record.summary.cost_units


async def proved(house) -> None:
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def until_between_two_rows(house) -> int:
    """Go on until the row of `s1` is some seconds behind; returns what it says."""
    while True:
        await house.run(1)
        behind = (await raw(house))["charged_units"]
        if await cost(house) >= behind + 5 * RATE:
            return int(behind)


async def test_after_a_crash_sessions_are_settled_to_their_pages_not_to_their_rows(house) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    behind = await until_between_two_rows(house)
    told = house.of(Ticked)[-1].snapshot
    assert told.cost_units == await cost(house) > behind
    assert (await house.wallet.balance("ann")).posted == RICH - told.cost_units
    await proved(house)
    assert await house.restart() == 1
    assert (await raw(house))["charged_units"] == told.cost_units
    assert (await house.wallet.balance("ann")).available == RICH - told.cost_units
    async with house.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(schema.marks)) == 0
    await proved(house)


async def test_a_torn_page_is_found_and_costs_the_house_the_seconds_since_the_row(house) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    behind = await until_between_two_rows(house)
    async with house.database.write() as connection:
        record = await connection.scalar(sa.select(schema.marks.c.record))
        await connection.execute(sa.update(schema.marks).values(record=record[:-3]))
    assert [finding.code for finding in (await reconcile(house.database)).findings] == [
        "marks_torn"
    ]
    assert await house.restart() == 1
    assert await cost(house) == behind
    assert (await house.wallet.balance("ann")).available == RICH - behind
    await proved(house)


async def test_a_silent_owners_pages_count_and_its_later_ones_do_not(house) -> None:
    """The node is taken over from outside; the old process goes on writing, and writes nothing."""
    await house.fund("ann", RICH)
    await house.start(order())
    await until_between_two_rows(house)
    told = house.of(Ticked)[-1].snapshot.cost_units
    sweeper = Sweeper(house.wallet.ledger, node="other", clock_ns=house.clock.ns)
    house.till.beat()
    settled = 0
    for _ in range(LOOKS_MIN + 2):
        house.clock.advance(SUPERVISION_NS / S)
        settled += await sweeper.sweep()
    assert settled == 1
    await house.till.tick()
    assert house.of(LedgerLost) == [LedgerLost()]
    assert await cost(house) == told
    assert isinstance(await house.till.open(order("s2")), Opened)
    await house.till.tick()
    await house.till.close("s2", "member_left")
    await proved(house)


async def test_a_page_of_an_earlier_life_says_nothing_about_a_later_one(house) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    await house.run(5)
    async with house.database.write() as connection:
        old = (await connection.execute(sa.select(schema.marks))).mappings().one()
    await house.restart()
    await house.start(order("s2"))
    async with house.database.write() as connection:
        await connection.execute(sa.insert(schema.marks), [dict(old)])
        rows = await marks_rows.durable_rows(connection, ["s1", "s2"])
        assert [rows[name]["charged_units"] for name in ("s1", "s2")] == [5 * RATE, 0]
        assert not await marks_rows.write(connection, "node", old["epoch"] - 1, [(0, b"stale")])
        assert await marks_rows.write(connection, "node", old["epoch"] + 1, [(0, marks.pack([]))])
    await house.till.close("s2", "member_left")


async def test_sessions_fill_pages_and_leave_them_again(house) -> None:
    await house.fund("ann", RICH)
    count = PAGE_SESSIONS + 3
    for n in range(count):
        await house.start(order(f"s{n}"))
    await house.run(2)
    async with house.database.read() as connection:
        pages = (await connection.execute(sa.select(schema.marks))).mappings().all()
        rows = await marks_rows.durable_rows(connection)
    assert sorted(len(marks.unpack(bytes(page["record"])) or ()) for page in pages) == [3, 32]
    assert {row["charged_units"] for row in rows.values()} == {2 * RATE}
    await house.till.close("s0", "member_left")
    await house.start(order("late"))
    assert (await raw(house, "late"))["page"] == 0
    await house.restart()
    await proved(house)


async def test_grants_grow_while_there_is_plenty_and_go_back_when_there_is_not(house) -> None:
    await house.fund("ann", 3_000 * RATE)
    await house.start(order())
    seen = set()
    for _ in range(80):
        await house.run(1)
        seen.add((await house.wallet.balance("ann")).held_units // RATE)
    assert max(seen) == GRANT_MAX_S
    left = (await house.wallet.balance("ann")).available
    spent = await house.wallet.ledger.execute(
        Debit("d", "ann", "eve", left - 10 * RATE, "gift", "castle")
    )
    assert isinstance(spent, Posted)
    await house.run(1)
    assert (await house.wallet.balance("ann")).held_units <= GRANT_S * RATE
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == 81 * RATE
    await proved(house)


async def test_a_long_grant_gives_no_media_without_marks(house) -> None:
    await house.fund("ann", RICH)
    gate = await house.start(order())
    while (await house.wallet.balance("ann")).held_units < (GRANT_MAX_S - 4) * RATE:
        await house.run(1)
    marked_ns = house.clock.now_ns
    durable = await cost(house)
    house.database.fault = "before"
    await house.run(LEASE_S + 3)
    assert marked_ns + (LEASE_S - 1) * S < gate.passed[-1] < marked_ns + LEASE_S * S
    assert house.of(LedgerLost) == [LedgerLost()]
    assert house.of(Paused) == []
    house.database.fault = None
    await house.restart()
    assert await cost(house) == durable, "what was not durable is the house's loss"
    await proved(house)


@pytest.mark.parametrize("stalled_s", [7.75, 8.75, 29.75])
async def test_a_process_that_was_stopped_for_a_while_keeps_its_sessions(house, stalled_s) -> None:
    """No packet passes while it is stopped; those that come after it wait for the next mark."""
    await house.fund("ann", RICH)
    gate = await house.start(order())
    await house.run(50)
    gate.silence()
    house.clock.advance(stalled_s)
    gate.start()
    gate.run()
    house.clock.advance(0.25)
    house.till.beat()
    await house.till.tick()
    await house.run(10)
    assert house.of(LedgerLost) == []
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == RATE * gate.sum_held_s
    await proved(house)


async def test_a_surcharge_lives_on_its_page_too(house) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    cam = house.gate()
    house.till.attach("s1", Component.CAM2CAM, cam)
    cam.start()
    await house.run(3)
    await house.till.switch("s1", Component.CAM2CAM, True)
    await house.run(3)
    told = await cost(house)
    assert told == 6 * RATE + 2 * 100 > (await raw(house))["charged_units"]
    await house.restart()
    assert await cost(house) == told
