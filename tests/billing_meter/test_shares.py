"""A share for each feature: the arithmetic, what a change counts for, and the proofs of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from billing_meter import earnings, ledger, schema, share_rows, shares
from billing_meter.features import Buy, Feature
from billing_meter.group_rules import GroupTerms
from billing_meter.groups import Contributed, Groups, Moved
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.meter import SessionOrder
from billing_meter.payouts import Payouts
from billing_meter.purchases import Purchases
from billing_meter.refunds import Refund, Refunds
from billing_meter.sales import Bought
from billing_meter.sessions import session_record
from billing_meter.shares import SessionShares, Shares, Source
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Switched

ODD = Shares(
    private=57, cam2cam=83, two_way_audio=31, surprise=7, story=99, content=1, message=43, group=67
)
CREDIT = 6_000
MINUTE = 60_000


@pytest.mark.parametrize(
    ("units", "percents", "earned", "by"),
    [
        ((0, 0, 0), (60, 60, 60), 0, (0, 0, 0)),
        ((299, 0, 0), (60, 60, 60), 179, (179, 0, 0)),
        ((1, 1, 1), (60, 60, 60), 1, (0, 1, 0)),
        ((1, 1, 1), (50, 50, 50), 1, (0, 1, 0)),
        ((3, 1, 1), (33, 34, 33), 1, (1, 0, 0)),
        ((99, 0, 99), (100, 0, 1), 99, (99, 0, 0)),
        ((100, 100, 100), (57, 83, 31), 171, (57, 83, 31)),
        ((101, 103, 107), (57, 83, 31), 176, (58, 85, 33)),
        ((9_999 * 86_400,) * 3, (99, 98, 97), 2_539_905_984, None),
    ],
)
def test_what_is_earned_and_its_parts(units, percents, earned, by) -> None:
    of_session = SessionShares(*percents)
    assert of_session.earned(units) == earned
    assert sum(of_session.earned_by(units)) == earned
    if by is not None:
        assert of_session.earned_by(units) == by


UNITS = st.tuples(*[st.integers(0, 10**9)] * 3)
PERCENTS = st.tuples(*[st.integers(0, 100)] * 3)


@given(UNITS, PERCENTS, st.tuples(*[st.integers(0, 10**6)] * 3), st.integers(0, 1_000))
def test_the_parts_are_the_whole_which_only_grows(units, percents, more, thousandths) -> None:
    of_session = SessionShares(*percents)
    earned, by = of_session.earned(units), of_session.earned_by(units)
    exact = [Fraction(n * percent, 100) for n, percent in zip(units, percents, strict=True)]
    assert sum(by) == earned == int(sum(exact))
    assert all(0 <= part <= n for part, n in zip(by, units, strict=True))
    assert all(abs(part - own) < 1 for part, own in zip(by, exact, strict=True))
    later = [n + grown for n, grown in zip(units, more, strict=True)]
    assert earned <= of_session.earned(later) <= earned + sum(more)
    whole = sum(units)
    rest = whole * thousandths // 1_000
    kept = of_session.kept(units, rest)
    assert 0 <= kept <= min(earned, rest)
    assert of_session.kept(units, whole) == (earned if whole else 0)
    assert kept <= of_session.kept(units, min(whole, rest + 1))
    back = shares.split(earned - kept, by)
    assert sum(back) == earned - kept
    assert all(0 <= part <= own for part, own in zip(back, by, strict=True))


@given(UNITS, st.integers(0, 100), st.integers(0, 3 * 10**9))
def test_one_percentage_for_all_is_what_it_was_before(units, percent, rest) -> None:
    """So that the books of earlier versions are right as they are."""
    alike, whole = Shares.alike(percent).of_session, sum(units)
    rest = min(rest, whole)
    assert alike.earned(units) == ledger.share(whole, percent)
    assert alike.kept(units, rest) == ledger.share(rest, percent)


@pytest.mark.parametrize("wrong", [-1, 101])
def test_a_share_is_a_percentage(wrong) -> None:
    for source in Source:
        with pytest.raises(ValueError, match=f"share of {source} is 0 to 100"):
            Shares(**{source.value: wrong})
    assert {ODD.of_kind(kind) for kind in ("message", "message_reply")} == {43}
    assert (ODD.of_kind("group_session"), ODD.of_kind("song")) == (67, 57)


# --- in the store -----------------------------------------------------------------------------


@pytest.fixture
async def odd(house):
    """A house in which eve has another share of everything; its books are right at the end."""
    await give(house, ODD)
    for member in ("ann", "bob"):
        await house.fund(member, 1_000 * CREDIT)
    yield house
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def give(house, wanted: Shares) -> None:
    async with house.database.write() as connection:
        for source in Source:
            args = (connection, "eve", [source], wanted.of(source), 5, "sam")
            assert await share_rows.change(*args) is not None


async def payable(house) -> int:
    async with house.database.read() as connection:
        query = sa.select(schema.accounts.c.units).where(
            schema.accounts.c.account == ledger.payable_account("eve")
        )
        return int(await connection.scalar(query) or 0)


async def a_session(house, name: str = "s1", *, close: bool = True) -> None:
    """Seven seconds, of which cam2cam five and two-way audio three."""
    await house.start(SessionOrder(name, "ann", "eve", Tariff(299, 101, 53)))
    for component, seconds in ((Component.CAM2CAM, 2), (Component.TWO_WAY_AUDIO, 2)):
        await house.run(seconds)
        gate = house.gate()
        gate.start()
        house.till.attach(name, component, gate)
        assert isinstance(await house.till.switch(name, component, True), Switched)
    await house.run(3.5)
    if close:
        await house.till.close(name, "member_left")


async def by_feature(house) -> dict[str, tuple[int, int, int]]:
    """Charged, earned and taken back of each feature, alike in periods, lines and the account."""
    now_ms = house.wallet.ledger.now_ms()
    everything = (house.database, "eve", 0, 2**53)
    found: dict[str, tuple[int, int, int]] = {}
    for span in await earnings.spans(*everything, "month", now_ms):
        for part in span.parts:
            old = found.get(part.feature, (0, 0, 0))
            new = (part.charged_units, part.earned_units, part.taken_back_units)
            found[part.feature] = tuple(a + b for a, b in zip(old, new, strict=True))
    listed: dict[str, tuple[int, int, int]] = {}
    pending = 0
    for line in await earnings.lines(*everything, now_ms, limit=1_000):
        old = listed.get(line.feature, (0, 0, 0))
        new = (line.charged_units, line.earned_units, line.taken_back_units)
        listed[line.feature] = tuple(a + b for a, b in zip(old, new, strict=True))
        if line.state != "final":
            pending += line.earned_units - line.taken_back_units
    assert listed == found
    assert sum(earned - back for _, earned, back in found.values()) == await payable(house)
    spans = await earnings.spans(*everything, "day", now_ms)
    assert sum(part.pending_units for span in spans for part in span.parts) == pending
    assert (await Payouts(house.wallet.ledger).earned("eve")).pending_units == pending
    return found


async def test_a_session_keeps_the_shares_of_its_opening(odd) -> None:
    await a_session(odd, close=False)
    await give(odd, Shares.alike(100))
    await odd.run(64)
    summary = await odd.till.close("s1", "member_left")
    units = tuple(line.units for line in summary.lines)
    assert units == (299 * 71, 101 * 69, 53 * 67)
    whole = (units[0] * 57 + units[1] * 83 + units[2] * 31) // 100
    assert summary.earned_units == whole == await payable(odd)
    by = await by_feature(odd)
    assert [by[c.value][:2] for c in Component] == list(
        zip(units, ODD.of_session.earned_by(units), strict=True)
    )
    await a_session(odd, "s2")
    record = await session_record(odd.database, "s2")
    assert record.summary.earned_units == record.summary.cost_units


async def test_a_recovered_session_earned_what_its_seconds_earn(odd) -> None:
    """The seconds of its last mark are on a page, and its row is older."""
    await a_session(odd, close=False)
    await odd.run(3)
    row_units = (await by_feature(odd))["private"][0]
    assert await odd.restart() == 1
    record = await session_record(odd.database, "s1")
    units = tuple(line.units for line in record.summary.lines)
    assert units == (299 * 10, 101 * 7, 53 * 5)
    assert row_units < units[0]
    assert record.summary.earned_units == ODD.of_session.earned(units) == await payable(odd)
    await by_feature(odd)


@pytest.mark.parametrize("granted", [1, 777, 2_756])
async def test_what_goes_back_is_taken_of_each_feature(odd, granted) -> None:
    await a_session(odd)
    units = (299 * 7, 101 * 5, 53 * 3)
    assert sum(units) == 2_757
    before = await by_feature(odd)
    refunds = Refunds(odd.wallet.ledger)
    await refunds.request("s1", "ann", "No sound.")
    assert isinstance(await refunds.approve("s1", granted, "sam"), Refund)
    kept = ODD.of_session.kept(units, 2_757 - granted)
    assert await payable(odd) == kept
    after = await by_feature(odd)
    backs = [after[c.value][2] for c in Component]
    assert sum(backs) == sum(before[c.value][1] for c in Component) - kept
    wanted = [Fraction(before[c.value][1] * granted, 2_757) for c in Component]
    assert all(abs(back - exact) < 2 for back, exact in zip(backs, wanted, strict=True))


def buy(feature: Feature, thing: str, units: int) -> Buy:
    return Buy(f"{feature}-{thing}", "ann", "eve", feature, thing, units, units)


BUYS = (
    buy(Feature.SURPRISE, "rose", 12_001),
    buy(Feature.STORY, "eve", 3_001),
    buy(Feature.CONTENT, "album", 7_777),
    buy(Feature.MESSAGE, "letter", 9_001),
)


async def test_a_purchase_has_the_share_of_its_debit_and_a_group_that_of_its_start(odd) -> None:
    shop, groups = Purchases(odd.wallet), Groups(odd.wallet.ledger, node="a")
    sold = [await shop.buy(one) for one in BUYS]
    assert all(isinstance(one, Bought) for one in sold)
    bare = await odd.wallet.ledger.execute(Debit("d", "ann", "eve", 501, "surprise", "d"))
    assert isinstance(bare, Posted)
    terms = GroupTerms(6 * CREDIT, 2 * CREDIT, 3 * MINUTE, MINUTE, allow_late=True)
    assert isinstance(await groups.schedule("g", "eve", terms), Moved)
    assert isinstance(await groups.open("g"), Moved)
    assert isinstance(await groups.contribute("g", "ann", 2 * CREDIT + 1, "k1"), Contributed)
    await give(odd, Shares(group=13))
    reached = await groups.contribute("g", "bob", 4 * CREDIT, "k2")
    assert reached.started
    await give(odd, Shares.alike(100))
    late = await groups.contribute("g", "bob", 2 * CREDIT + 7, "k3")
    assert late.pledge.state == "captured"
    await shop.replied(sold[3].transfer)
    assert await by_feature(odd) == {
        "surprise": (12_001 + 501, 12_001 * 7 // 100 + 501 * 7 // 100, 0),
        "story": (3_001, 3_001 * 99 // 100, 0),
        "content": (7_777, 77, 0),
        "message": (9_001, 9_001 * 43 // 100, 0),
        "group": (
            8 * CREDIT + 8,
            (2 * CREDIT + 1) * 13 // 100 + 4 * CREDIT * 13 // 100 + (2 * CREDIT + 7) * 13 // 100,
            0,
        ),
    }
    now_ms = odd.wallet.ledger.now_ms()
    lines = await earnings.lines(odd.database, "eve", 0, 2**53, now_ms, limit=20)
    told = {(line.feature, line.share_percent) for line in lines}
    assert told == {
        *(("surprise", 7), ("surprise", None), ("story", 99), ("content", 1)),
        *(("message", 43), ("message", None), ("group", 13)),
    }
    await groups.finish("g", MINUTE)
    for one in sold[:2]:
        await shop.refund(one.transfer, "sam")
    after = await by_feature(odd)
    assert after["story"][1:] == (2_970, 2_970)
    assert after["surprise"][2] == 12_001 * 7 // 100
    assert after["group"][2] > 0
    odd.clock.advance(25 * 3_600)
    late = await odd.wallet.ledger.execute(Reverse("late", bare.transfer, 400, "staff"))
    assert isinstance(late, Posted)
    assert (await by_feature(odd))["surprise"][2] == 12_001 * 7 // 100 + 35 * 400 // 501


async def test_every_change_is_kept_and_follows_the_one_before(odd) -> None:
    async with odd.database.write() as connection:
        same = await share_rows.change(connection, "eve", tuple(Source), 57, 6, "kim")
        assert same == Shares.alike(57)
        assert await share_rows.change(connection, "nobody", [Source.STORY], 1, 6, "kim") is None
        with pytest.raises(ValueError, match="0 to 100"):
            await share_rows.change(connection, "eve", [Source.STORY], 101, 6, "kim")
        told = await share_rows.changes_of(connection, "eve")
    assert [one.change for one in told] == list(range(1, len(told) + 1))
    assert [(one.source, one.was_percent, one.percent) for one in told[:2]] == [
        (Source.PRIVATE, 60, 57),
        (Source.CAM2CAM, 60, 83),
    ]
    assert [one.source for one in told[8:]] == [s for s in Source if s is not Source.PRIVATE]
    assert {one.changed_by for one in told[8:]} == {"kim"}


FIGURES = [
    (schema.sessions, "share_percent", "session_wrong"),
    (schema.sessions, "cam2cam_share_percent", "session_wrong"),
    (schema.sessions, "two_way_audio_share_percent", "session_wrong"),
    (schema.sessions, "expert_units", "session_wrong"),
    (schema.purchases, "share_percent", "purchase_wrong"),
    (schema.groups, "share_percent", "pledge_wrong"),
    (schema.shares, "story_percent", "share_wrong"),
    (schema.share_changes, "percent", "share_wrong"),
    (schema.share_changes, "was_percent", "share_wrong"),
]
SHIFTED = {
    "session_charge": "session_wrong",
    "session_refund": "refund_wrong",
    "content": "purchase_wrong",
    "message_reply": "purchase_wrong",
    "group_session": "pledge_wrong",
}


async def test_a_share_that_was_changed_in_the_books_is_found(odd) -> None:
    """Each figure of a share by one; and a unit of each kind of earning that the platform has, in
    books that are whole otherwise."""
    await a_session(odd)
    refunds = Refunds(odd.wallet.ledger)
    await refunds.request("s1", "ann", "No sound.")
    await refunds.approve("s1", 777, "sam")
    shop, groups = Purchases(odd.wallet), Groups(odd.wallet.ledger, node="a")
    await shop.buy(BUYS[2])
    letter = await shop.buy(BUYS[3])
    await shop.replied(letter.transfer)
    await groups.schedule("g", "eve", GroupTerms(6 * CREDIT, 2 * CREDIT, 3 * MINUTE, MINUTE))
    await groups.open("g")
    assert (await groups.contribute("g", "bob", 6 * CREDIT, "k")).started
    await give(odd, Shares.alike(60))

    async def write(*changes: sa.Update) -> None:
        async with odd.database.write() as connection:
            for change in changes:
                assert (await connection.execute(change)).rowcount

    async def codes() -> set[str]:
        return {finding.code for finding in (await reconcile(odd.database)).findings}

    assert await codes() == set()
    for table, name, code in FIGURES:
        column = table.c[name]
        await write(sa.update(table).values({name: column + 1}))
        assert code in await codes(), (table.name, name)
        await write(sa.update(table).values({name: column - 1}))
    posting, account = schema.postings, schema.accounts
    for kind, code in SHIFTED.items():
        for units in (1, -1):
            changes = []
            for name, moved in ((ledger.payable_account("eve"), units), (ledger.REVENUE, -units)):
                of_kind = sa.select(schema.transfers.c.transfer).where(
                    schema.transfers.c.kind == kind
                )
                first = sa.select(sa.func.max(of_kind.subquery().c.transfer)).scalar_subquery()
                mine = sa.and_(posting.c.account == name, posting.c.transfer == first)
                changes.append(sa.update(posting).where(mine).values(units=posting.c.units + moved))
                mine = account.c.account == name
                changes.append(sa.update(account).where(mine).values(units=account.c.units + moved))
            await write(*changes)
            assert (await verify(odd.database)).findings == ()
            assert await codes() == ({code} if units == 1 else set()), kind
