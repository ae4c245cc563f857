"""Groups on both stores: pledges held, captured or given back once, whoever dies or races."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.features import Buy, Feature
from billing_meter.group_rules import GroupState, GroupTerms, StartPolicy
from billing_meter.group_watch import GROUP_SUPERVISION_NS, GroupWatch
from billing_meter.groups import Contributed, Groups, Moved, NotMoved
from billing_meter.ledger import Debit, Posted, Refused, TakeBack, VoidHold
from billing_meter.ledger_store import GuardFailed
from billing_meter.limits import Span
from billing_meter.limits_store import SpendLimits
from billing_meter.purchases import Purchases
from billing_meter.sales import Bought
from billing_meter.statements import reconcile, statement, transactions, verify
from billing_meter.wallet import Wallet

CREDIT, MINUTE = 6_000, 60_000
TERMS = GroupTerms(20 * CREDIT, 5 * CREDIT, 5 * MINUTE, 2 * MINUTE)
S = GroupState
FUNDS = 100 * CREDIT


@pytest.fixture
async def groups(house) -> AsyncIterator[Groups]:
    for member in ("ann", "bob", "cid"):
        await house.fund(member, FUNDS)
    yield Groups(house.wallet.ledger, node="here")
    await sound(house.database)


async def sound(database: Database) -> None:
    assert (await verify(database)).findings == ()
    assert (await reconcile(database)).findings == ()


async def opened(groups: Groups, terms: GroupTerms = TERMS, name: str = "g") -> str:
    made = await groups.schedule(name, "eve", terms)
    assert isinstance(made, Moved), made
    moved = await groups.open(name)
    assert isinstance(moved, Moved), moved
    assert moved.group.state is S.PRE_SESSION
    return name


async def gave(groups: Groups, member: str, credits: int, key: str = "k", name: str = "g"):
    answer = await groups.contribute(name, member, credits * CREDIT, f"{member}-{key}")
    assert isinstance(answer, Contributed), answer
    return answer


async def credits_of(house, *members: str) -> list[tuple[float, float]]:
    """(spendable, held) in credits."""
    found = [await house.wallet.balance(member) for member in members]
    return [(one.available / CREDIT, one.held_units / CREDIT) for one in found]


async def earned(house) -> float:
    async with house.database.read() as connection:
        table = schema.accounts.c
        query = sa.select(table.units).where(table.account == ledger.payable_account("eve"))
        return int(await connection.scalar(query) or 0) / CREDIT


async def test_the_pledge_that_reaches_the_goal_starts_the_group(house, groups) -> None:
    """Who gave the minimum in two parts takes part; who gave less has it back."""
    await opened(groups)
    one = await gave(groups, "ann", 12)
    assert (one.goal_reached, one.started, one.group.pledged_units) == (False, False, 12 * CREDIT)
    await gave(groups, "bob", 3)
    await gave(groups, "cid", 4)
    assert await credits_of(house, "ann", "bob", "cid") == [(88, 12), (97, 3), (96, 4)]
    last = await gave(groups, "bob", 2, "k2")
    assert (last.goal_reached, last.started, last.group.state) == (True, True, S.LIVE)
    assert last.group.captured_units == 17 * CREDIT
    assert await groups.audience("g") == {"ann", "bob"}
    assert await credits_of(house, "ann", "bob", "cid") == [(88, 0), (95, 0), (100, 0)]
    assert await earned(house) == pytest.approx(17 * 0.6)
    again = await gave(groups, "bob", 2, "k2")
    assert again == replace(last, replayed=True)
    lines = await transactions(house.database, "bob", limit=2)
    assert [(line.kind, line.units) for line in lines] == [
        ("group_session", -2 * CREDIT),
        ("group_session", -3 * CREDIT),
    ]
    moved = await groups.start("g")
    assert moved == Moved(last.group, changed=False)
    ended = await groups.finish("g", 5 * MINUTE)
    assert isinstance(ended, Moved)
    assert (ended.group.state, ended.group.refunded_units) == (S.ENDED, 0)
    assert await groups.audience("g") == frozenset()
    assert (await statement(house.database, "bob", 0, 2**53)).findings == ()


async def test_the_expert_starts_before_the_goal(house, groups) -> None:
    await opened(groups)
    assert await groups.start("g") == NotMoved("nobody_takes_part")
    await gave(groups, "ann", 4)
    assert await groups.start("g") == NotMoved("nobody_takes_part")
    await gave(groups, "bob", 5)
    moved = await groups.start("g")
    assert isinstance(moved, Moved)
    assert (moved.changed, moved.group.start_pledge) == (True, None)
    assert await groups.audience("g") == {"bob"}
    assert await credits_of(house, "ann", "bob") == [(100, 0), (95, 0)]
    late = await groups.contribute("g", "cid", 50 * CREDIT, "late")
    assert late == Refused("group_live")
    assert await groups.cancel("g") == NotMoved("group_live")


async def test_the_goal_alone_starts_nothing_while_nobody_gave_the_minimum(house, groups) -> None:
    await opened(groups, GroupTerms(10 * CREDIT, 8 * CREDIT, 5 * MINUTE, MINUTE))
    await gave(groups, "ann", 5)
    reached = await gave(groups, "bob", 5)
    assert (reached.goal_reached, reached.started) == (True, False)
    later = await gave(groups, "cid", 8)
    assert (later.goal_reached, later.started) == (False, True)
    assert await credits_of(house, "ann", "bob", "cid") == [(100, 0), (100, 0), (92, 0)]


async def test_a_goal_that_also_waits_for_the_time(house, groups) -> None:
    terms = replace(TERMS, start_policy=StartPolicy.ON_GOAL_AND_TIME)
    await opened(groups, terms)
    reached = await gave(groups, "ann", 20)
    assert (reached.goal_reached, reached.group.state) == (True, S.PRE_SESSION)
    more = await gave(groups, "bob", 5)
    assert (more.goal_reached, more.group.state) == (False, S.PRE_SESSION)
    moved = await groups.time_up("g")
    assert isinstance(moved, Moved)
    assert (moved.group.state, moved.group.captured_units) == (S.LIVE, 25 * CREDIT)
    assert await groups.time_up("g") == replace(moved, changed=False)


@pytest.mark.parametrize(("how", "state"), [("cancel", S.CANCELLED), ("time_up", S.EXPIRED)])
async def test_what_never_starts_gives_everything_back_once(house, groups, how, state) -> None:
    await opened(groups)
    await gave(groups, "ann", 9)
    await gave(groups, "bob", 3)
    first = await getattr(groups, how)("g")
    assert (first.changed, first.group.state) == (True, state)
    again = await getattr(groups, how)("g")
    assert again == Moved(first.group, changed=False)
    assert await credits_of(house, "ann", "bob") == [(100, 0), (100, 0)]
    assert await earned(house) == 0
    assert await groups.contribute("g", "ann", CREDIT, "x") == Refused("group_over")
    for step in (groups.start, groups.open):
        assert await step("g") == NotMoved("group_over")
    assert await groups.finish("g", 0) == NotMoved("group_over")
    other = groups.time_up if how == "cancel" else groups.cancel
    assert await other("g") == NotMoved("group_over")


async def test_what_was_not_shown_goes_back_to_its_buckets(house, groups) -> None:
    await house.wallet.grant_promo("ann", 4 * CREDIT, "gift", "gift")
    await opened(groups)
    await gave(groups, "ann", 10)
    await gave(groups, "bob", 10)
    await groups.beat({"g": 2 * MINUTE})
    await groups.beat({"g": MINUTE})
    dropped = await groups.finish("g", MINUTE, "expert_lost")
    assert isinstance(dropped, Moved)
    # Two of five minutes are marked as shown, so three fifths of each contribution go back.
    assert (dropped.group.played_ms, dropped.group.refunded_units) == (2 * MINUTE, 12 * CREDIT)
    ann = await house.wallet.balance("ann")
    assert (ann.paid_units, ann.promo_units) == (100 * CREDIT, 0)
    assert await credits_of(house, "bob") == [(96, 0)]
    assert await earned(house) == pytest.approx(8 * 0.6)
    assert await groups.finish("g", 0) == replace(dropped, changed=False)
    [line, *_] = await transactions(house.database, "bob", limit=1)
    assert (line.kind, line.units) == ("group_session_refund", 6 * CREDIT)


async def test_nobody_pays_for_a_group_that_was_shown_whole(house, groups) -> None:
    """Its clock has run out, and its end is not written yet."""
    await opened(groups, replace(TERMS, allow_late=True))
    await gave(groups, "ann", 12)
    assert isinstance(await groups.start("g"), Moved)
    await groups.beat({"g": TERMS.length_ms - 1})
    assert isinstance(await groups.contribute("g", "bob", 5 * CREDIT, "last"), Contributed)
    await groups.beat({"g": TERMS.length_ms})
    late = await groups.contribute("g", "cid", 5 * CREDIT, "later")
    assert late == Refused("group_over")


async def test_who_joins_late_pays_for_what_is_left(house, groups) -> None:
    await opened(groups, replace(TERMS, allow_late=True))
    await gave(groups, "cid", 4)
    await gave(groups, "ann", 20)
    await groups.beat({"g": 3 * MINUTE})
    assert await groups.contribute("g", "bob", 5 * CREDIT - 1, "few") == Refused("below_minimum")
    late = await gave(groups, "bob", 5)
    assert (late.pledge.state, late.pledge.joined_ms) == ("captured", 3 * MINUTE)
    assert await gave(groups, "bob", 5) == replace(late, replayed=True)
    await gave(groups, "cid", 6, "again")
    assert await groups.audience("g") == {"ann", "bob", "cid"}
    ended = await groups.finish("g", 4 * MINUTE, "expert_ended")
    assert isinstance(ended, Moved)
    assert await credits_of(house, "ann", "bob", "cid") == [(84, 0), (97.5, 0), (97, 0)]


async def test_refusals_stay_and_hold_nothing(house, groups) -> None:
    await groups.schedule("g", "eve", TERMS)
    assert await groups.contribute("g", "ann", CREDIT, "early") == Refused("group_not_open")
    await groups.open("g")
    kept = await groups.contribute("g", "ann", CREDIT, "early")
    assert kept == Refused("group_not_open", replayed=True)
    await gave(groups, "ann", 3, "once")
    for group, member, units, says in (
        ("g", "ann", 4 * CREDIT, "key_reused"),
        ("h", "ann", 3 * CREDIT, "key_reused"),
        ("h", "bob", 3 * CREDIT, "unknown_group"),
        ("g", "bob", 999 * CREDIT, "insufficient_credits"),
        ("g", "cid", 999 * CREDIT + 1, "units_out_of_range"),
    ):
        key = "ann-once" if member == "ann" else "k"
        assert await groups.contribute(group, member, units, key) == Refused(says)
    limits = SpendLimits(house.database, house.wallet.ledger)
    await limits.set_limit("bob", Span.DAY, CREDIT)
    assert await groups.contribute("g", "bob", 2 * CREDIT, "l") == Refused("limit_day")
    assert await credits_of(house, "ann", "bob", "cid") == [(97, 3), (100, 0), (100, 0)]
    with pytest.raises(ValueError, match="a member's key"):
        await groups.contribute("g", "ann", CREDIT, "")
    with pytest.raises(ValueError, match="cannot be transferred"):
        await groups.contribute("g", "ann", 0, "k")


async def test_an_expert_has_one_open_group(house, groups) -> None:
    assert await groups.schedule("g", "eve", replace(TERMS, goal_units=1)) == NotMoved("bad_goal")
    with pytest.raises(ValueError, match="a group's id"):
        await groups.schedule("g" * 51, "eve", TERMS)
    await opened(groups)
    assert isinstance(await groups.schedule("h", "eve", TERMS), Moved)
    assert await groups.open("h") == NotMoved("expert_busy")
    same = await groups.schedule("g", "eve", TERMS)
    assert isinstance(same, Moved)
    assert (same.changed, same.group.state) == (False, S.PRE_SESSION)
    other = replace(TERMS, minimum_units=2 * CREDIT)
    assert await groups.schedule("g", "eve", other) == NotMoved("group_exists")
    for step in (groups.open, groups.start, groups.cancel, groups.time_up):
        assert await step("nowhere") == NotMoved("unknown_group")
    assert await groups.finish("h", 0) == NotMoved("group_not_open")
    assert await groups.start("h") == NotMoved("group_not_open")
    await groups.cancel("g")
    assert isinstance(await groups.open("h"), Moved)
    assert [one.group_id for one in await groups.of_expert("eve")] == ["g", "h"]


@pytest.mark.parametrize("shown", [False, True])
async def test_what_comes_back_pays_what_its_member_owes(house, groups, shown) -> None:
    """A bank takes the money of the credits back while some of them are pledged, or captured."""
    await house.wallet.open_member("dee")
    bought = await house.wallet.credit_purchase("dee", FUNDS, "dee", "import")
    assert isinstance(bought, Posted)
    await opened(groups)
    await gave(groups, "dee", 19 + shown)
    taken = TakeBack("back", bought.transfer, FUNDS, "charge_back", "import")
    assert isinstance(await house.wallet.ledger.execute(taken), Posted)
    assert await house.wallet.debt_units("dee") == (19 + shown) * CREDIT
    await (groups.finish("g", 0) if shown else groups.cancel("g"))
    assert await house.wallet.debt_units("dee") == 0
    assert await credits_of(house, "dee") == [(0, 0)]


async def test_a_hold_that_somebody_else_ended_stops_the_group_and_is_named(house, groups) -> None:
    await opened(groups)
    pledge = (await gave(groups, "ann", 12)).pledge
    other = await house.wallet.ledger.execute(VoidHold("other", pledge.pledge_id, "by hand"))
    assert isinstance(other, Posted)
    for step in (groups.start, groups.cancel):
        with pytest.raises(GuardFailed):
            await step("g")
    group = await groups.group("g")
    assert group is not None
    assert group.state is S.PRE_SESSION
    found = (await reconcile(house.database)).findings
    assert [one.code for one in found] == ["pledge_wrong"]
    async with house.database.write() as connection:  # leave sound books behind
        for table in (schema.pledges, schema.groups):
            await connection.execute(sa.delete(table))
        mine = schema.transfers.c.key == "pledge:ann:ann-k"
        await connection.execute(sa.update(schema.transfers).where(mine).values(key="by-hand"))


# --- owners that die ----------------------------------------------------------------------------


async def test_a_process_that_starts_again_settles_what_it_left(house, groups) -> None:
    await house.wallet.open_expert("gus")
    await groups.schedule("later", "gus", TERMS)
    await opened(groups, name="live")
    await gave(groups, "ann", 20, name="live")
    await groups.beat({"live": MINUTE})
    await groups.schedule("pre", "gus", TERMS)
    await groups.open("pre")
    await gave(groups, "bob", 7, name="pre")
    await house.restart()
    again = Groups(house.wallet.ledger, node="here")
    assert await Groups(house.wallet.ledger, node="other").recover() == 0
    assert await again.recover() == 2
    assert await again.recover() == 0
    states = {name: await again.group(name) for name in ("live", "pre", "later")}
    assert {name: (one.state, one.reason) for name, one in states.items() if one} == {
        "live": (S.ENDED, "server_stopped"),
        "pre": (S.CANCELLED, "server_stopped"),
        "later": (S.SCHEDULED, None),
    }
    # One of five minutes is known to have been shown.
    assert await credits_of(house, "ann", "bob") == [(96, 0), (100, 0)]


async def test_a_silent_owners_group_is_settled_by_another(house, groups, clock) -> None:
    await opened(groups)
    await gave(groups, "ann", 20)
    there = Groups(house.wallet.ledger, node="there")
    watch = GroupWatch(house.wallet.ledger, there, node="there", clock_ns=clock.ns)
    own = GroupWatch(house.wallet.ledger, groups, node="here", clock_ns=clock.ns)
    step_s = GROUP_SUPERVISION_NS / 1e9 / 3
    for n in range(9):  # it lives
        clock.advance(step_s)
        assert await groups.beat({"g": n * 1_000}) == frozenset()
        assert await watch.look() == 0
        assert await own.look() == 0
    clock.advance(10 * step_s)  # we stood still ourselves
    for settled in (0, 0, 1):
        assert await own.look() == 0
        assert await watch.look() == settled
        clock.advance(step_s)
    assert await watch.look() == 0
    group = await groups.group("g")
    assert group is not None
    assert (group.state, group.reason, group.played_ms) == (S.ENDED, "server_stopped", 8_000)
    # The owner was only stopped: it hears that it must end, and changes nothing any more.
    assert await groups.beat({"g": 4 * MINUTE}) == {"g"}
    late = await groups.finish("g", 5 * MINUTE)
    assert late == Moved(group, changed=False)
    assert await groups.settle("g", group.beat) is False


async def test_a_sign_of_life_in_the_last_moment_keeps_the_group(house, groups) -> None:
    await opened(groups)
    group = await groups.group("g")
    assert group is not None
    await groups.beat({"g": 0})
    assert await groups.settle("g", group.beat) is False
    assert await groups.beat({"g": 0, "nowhere": 0}) == {"nowhere"}


@pytest.mark.parametrize("fault", ["before", "during", "after"])
@pytest.mark.parametrize("step", ["contribute", "start", "cancel", "finish"])
async def test_without_an_answer_asking_again_tells(house, groups, step, fault) -> None:
    await opened(groups)
    await gave(groups, "ann", 12)
    if step == "finish":
        await groups.start("g")

    async def ask():
        match step:
            case "contribute":
                return await groups.contribute("g", "bob", 8 * CREDIT, "k")
            case "start":
                return await groups.start("g")
            case "cancel":
                return await groups.cancel("g")
            case _:
                return await groups.finish("g", MINUTE)

    house.database.fault = fault
    with pytest.raises(DatabaseUnavailable):
        await ask()
    house.database.fault = None
    told = await ask()
    done = fault == "after"
    assert (told.replayed if step == "contribute" else not told.changed) is done
    if step == "contribute":
        assert (told.started, told.group.state) == (True, S.LIVE)
    wanted = {"contribute": 88, "start": 88, "cancel": 100, "finish": 97.6}
    assert await credits_of(house, "ann") == [(wanted[step], 0)]


# --- races --------------------------------------------------------------------------------------


@pytest.fixture
async def crew(house) -> AsyncIterator[list[Groups]]:
    """Other processes with connections, and on SQLite threads, of their own."""
    databases = [await Database.open(house.url) for _ in range(4)]
    yield [Groups(Wallet(one, utc_now=house.clock.utc).ledger, node="here") for one in databases]
    for database in databases:
        await database.close()


@pytest.mark.threads
@pytest.mark.parametrize("count", range(3))
async def test_pledges_race_over_the_goal_and_one_starts_it(house, groups, crew, count) -> None:
    await opened(groups)
    asked = [(crew[n % 4], ("ann", "bob", "cid")[n % 3], n) for n in range(8)]
    answers = await asyncio.gather(
        *(one.contribute("g", member, 5 * CREDIT, f"k{n}") for one, member, n in asked)
    )
    taken = [one for one in answers if isinstance(one, Contributed)]
    assert [one.code for one in answers if isinstance(one, Refused)] == ["group_live"] * 4
    assert (len(taken), sum(one.started for one in taken)) == (4, 1)
    assert sum(one.goal_reached for one in taken) == 1
    group = await groups.group("g")
    assert group is not None
    assert group.pledged_units == group.captured_units == 20 * CREDIT
    assert sum(have for have, _ in await credits_of(house, "ann", "bob", "cid")) == 280


@pytest.mark.threads
@pytest.mark.parametrize("count", range(3))
async def test_start_races_cancel_and_a_pledge(house, groups, crew, count) -> None:
    await opened(groups)
    await gave(groups, "ann", 10)
    start, cancel, again, pledge = await asyncio.gather(
        crew[0].start("g"),
        crew[1].cancel("g"),
        crew[2].start("g"),
        crew[3].contribute("g", "bob", 6 * CREDIT, "k"),
    )
    group = await groups.group("g")
    assert group is not None
    if group.state is S.LIVE:
        assert sorted([start.changed, again.changed]) == [False, True]
        assert cancel == NotMoved("group_live")
        took = isinstance(pledge, Contributed)
        assert took or pledge == Refused("group_live")
        wanted = [(90, 0), (94 if took else 100, 0)]
    else:
        assert group.state is S.CANCELLED
        assert (start, again) == (NotMoved("group_over"), NotMoved("group_over"))
        assert isinstance(pledge, Contributed) or pledge == Refused("group_over")
        wanted = [(100, 0), (100, 0)]
    assert await credits_of(house, "ann", "bob") == wanted


@pytest.mark.threads
async def test_start_and_finish_and_settle_race_and_capture_once(house, groups, crew) -> None:
    await opened(groups)
    await gave(groups, "ann", 10)
    group = await groups.group("g")
    assert group is not None
    started = await asyncio.gather(*(one.start("g") for one in crew))
    assert sorted(one.changed for one in started) == [False, False, False, True]
    ended = await asyncio.gather(
        crew[0].finish("g", MINUTE),
        crew[1].finish("g", MINUTE),
        crew[2].settle("g", group.beat),
    )
    told = [ended[0].changed, ended[1].changed, ended[2]]
    assert sorted(told) == [False, False, True]
    shown = 0 if ended[2] else MINUTE
    assert await credits_of(house, "ann") == [(100 - 10 * shown / (5 * MINUTE), 0)]


@pytest.mark.threads
async def test_the_last_credit_is_pledged_tipped_and_spent_once(house, groups, crew) -> None:
    await opened(groups)
    await house.fund("dee", 5 * CREDIT)
    shops = [Purchases(Wallet(one._store.database, utc_now=house.clock.utc)) for one in crew]
    album = Buy("k", "dee", "eve", Feature.CONTENT, "album", 5 * CREDIT, 5 * CREDIT)
    answers = await asyncio.gather(
        crew[0].contribute("g", "dee", 5 * CREDIT, "k"),
        crew[1].contribute("g", "dee", 5 * CREDIT, "other"),
        shops[2].buy(album),
        shops[3]._wallet.counter.debit(Debit("tip", "dee", "eve", 5 * CREDIT, "tip", "t")),
    )
    kinds = [type(one) for one in answers]
    assert kinds.count(Refused) == 3
    assert sum(kinds.count(kind) for kind in (Contributed, Bought, Posted)) == 1
    [(have, held)] = await credits_of(house, "dee")
    assert (have, held) in ((0, 0), (0, 5))


# --- rows that lie ------------------------------------------------------------------------------

_G, _P = schema.groups.c, schema.pledges.c
LIES = {
    "group_wrong": [
        sa.update(schema.groups).values(pledged_units=_G.pledged_units + 1),
        sa.update(schema.groups).values(refunded_units=0),
        sa.update(schema.groups).values(goal_pledge=None),
        sa.update(schema.groups).values(minimum_units=1),
    ],
    "pledge_wrong": [
        sa.update(schema.groups).values(played_ms=0),
        sa.update(schema.pledges).values(units=_P.units + 1),
        sa.update(schema.pledges).where(_P.state == "captured").values(joined_ms=MINUTE),
        sa.update(schema.pledges)
        .where(_P.state == "captured")
        .values(state="released", refunded_units=0),
        sa.update(schema.pledges).where(_P.state == "released").values(state="captured"),
        sa.update(schema.pledges).where(_P.state == "released").values(state="held", transfer=None),
    ],
    "pledge_missing": [sa.delete(schema.pledges).where(_P.state == "released")],
}


@pytest.mark.parametrize(
    ("code", "change"), [(code, change) for code, some in LIES.items() for change in some]
)
async def test_rows_that_lie_are_named(house, code, change) -> None:
    for member in ("ann", "bob"):
        await house.fund(member, FUNDS)
    groups = Groups(house.wallet.ledger, node="here")
    await opened(groups)
    await gave(groups, "bob", 2)
    await gave(groups, "ann", 20)
    await groups.finish("g", MINUTE)
    await sound(house.database)
    async with house.database.write() as connection:
        await connection.execute(change)
    assert code in {finding.code for finding in (await reconcile(house.database)).findings}
