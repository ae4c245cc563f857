"""Purchases of features: debit, access and the seller's row in one transaction, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.earned_rows import read_earned
from billing_meter.earnings import lines, spans
from billing_meter.features import CONTENT_MS, DAY_MS, STORY_MS, Buy, Feature
from billing_meter.ledger import Debit, Draw, Posted, Refused
from billing_meter.ledger_rows import Balance
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.limits import Span
from billing_meter.limits_store import SpendLimits
from billing_meter.payout_rules import Payout
from billing_meter.payouts import Payouts
from billing_meter.purchases import Purchase, Purchases
from billing_meter.sales import Bought
from billing_meter.shares import Shares
from billing_meter.statements import reconcile, statement, transactions, verify
from billing_meter.wallet import Wallet

CREDIT = 6_000
DAY_S = 24 * 3_600


def rose(key: str = "k", units: int = CREDIT, **others) -> Buy:
    return Buy(
        key, "ann", "eve", Feature.SURPRISE, "rose", units, **({"price_units": units} | others)
    )


def story(key: str = "k", units: int = 5 * CREDIT) -> Buy:
    return Buy(key, "ann", "eve", Feature.STORY, "eve", units, units)


def album(key: str = "k", units: int = 10 * CREDIT, name: str = "album") -> Buy:
    return Buy(key, "ann", "eve", Feature.CONTENT, name, units, units)


def letter(key: str = "k", units: int = 9_000, name: str = "m1") -> Buy:
    return Buy(key, "ann", "eve", Feature.MESSAGE, name, units, units)


@pytest.fixture
async def shop(house) -> AsyncIterator[Purchases]:
    yield Purchases(house.wallet)
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def bought(shop: Purchases, buy: Buy, also=None) -> Bought:
    answer = await shop.buy(buy, also)
    assert isinstance(answer, Bought), answer
    return answer


async def balance(house) -> int:
    return (await house.wallet.balance("ann")).available


async def rows(house) -> int:
    async with house.database.read() as connection:
        return int(
            await connection.scalar(sa.select(sa.func.count()).select_from(schema.purchases)) or 0
        )


async def test_a_surprise_is_a_debit_with_its_kind(house, shop) -> None:
    await house.fund("ann", 20_000)
    one = await bought(shop, rose())
    assert one.access is None
    again = await bought(shop, rose())
    assert again == replace(one, replayed=True)
    assert await shop.buy(rose(units=CREDIT + 1)) == Refused("key_reused")
    [line] = await transactions(house.database, "ann", limit=1)
    assert (line.kind, line.units, line.subject) == ("surprise", -CREDIT, "surprise:rose")
    assert await balance(house) == 20_000 - CREDIT
    made = await shop.one(one.transfer)
    assert made is not None
    assert (made.member_id, made.units, made.refund_transfer) == ("ann", CREDIT, None)
    assert await shop.of_member("ann") == [made]
    assert await shop.of_member("ann", before=made.transfer) == []


@pytest.mark.threads
async def test_what_is_refused_stays_refused_and_writes_nothing(house, shop) -> None:
    """No premium, another price, a price below the least, no credits: no row, no debit."""
    told: list[str] = []

    async def also(transaction: LedgerTransaction, answer: Bought) -> None:
        told.append("written")

    refusals = {
        rose("a"): "premium_required",
        letter("b"): "premium_required",
        story("c"): "insufficient_credits",
        letter("d", 8_999): "price_out_of_range",
        rose("e", price_units=CREDIT + 1): "price_changed",
    }
    for buy, code in refusals.items():
        assert await shop.buy(buy, also) == Refused(code)
    await house.fund("ann", 60_000)
    for buy, code in refusals.items():
        assert await shop.buy(buy, also) == Refused(code, replayed=True)
    assert told == []
    assert await rows(house) == 0
    assert await balance(house) == 60_000
    twice = await asyncio.gather(*(shop.buy(rose("f"), also) for _ in range(3)))
    assert [isinstance(one, Bought) and one.replayed for one in twice] == [False, True, True]
    assert told == ["written"]


async def test_a_lost_answer_is_found_again_though_the_price_has_changed(house, shop) -> None:
    await house.fund("ann", 60_000)
    one = await bought(shop, rose())
    again = await shop.buy(rose(price_units=2 * CREDIT))
    assert again == replace(one, replayed=True)


async def test_a_story_pass_is_seven_days_and_a_second_one_follows_it(house, shop) -> None:
    await house.fund("ann", 200_000)
    now_ms = house.wallet.ledger.now_ms()
    one = await bought(shop, story("1"))
    assert one.access is not None
    assert (one.access.from_ms, one.access.until_ms) == (now_ms, now_ms + STORY_MS)
    for at_ms, open_then in (
        (now_ms - 1, False),
        (now_ms, True),
        (now_ms + STORY_MS - 1, True),
        (now_ms + STORY_MS, False),
    ):
        assert await shop.may_see("ann", Feature.STORY, "eve", at_ms) is open_then
    assert not await shop.may_see("ann", Feature.STORY, "gus", now_ms)
    assert not await shop.may_see("bob", Feature.STORY, "eve", now_ms)
    assert not await shop.may_see("ann", Feature.CONTENT, "eve", now_ms)
    house.clock.advance(DAY_S)
    await bought(shop, story("2"))
    assert dict(await shop.until("ann", Feature.STORY, ["eve", "gus"])) == {
        "eve": now_ms + 2 * STORY_MS
    }
    house.clock.advance(13 * DAY_S - 0.001)
    assert await shop.may_see("ann", Feature.STORY, "eve")
    house.clock.advance(0.001)
    assert not await shop.may_see("ann", Feature.STORY, "eve")
    three = await bought(shop, story("3"))
    assert three.access is not None
    assert three.access.from_ms == now_ms + 2 * STORY_MS


@pytest.mark.threads
async def test_content_is_ninety_days_and_never_paid_twice(house, shop) -> None:
    await house.fund("ann", 300_000)
    now_ms = house.wallet.ledger.now_ms()
    await bought(shop, album("1"))
    assert await shop.buy(album("2")) == Refused("already_entitled")
    both = await asyncio.gather(*(shop.buy(album(key, name="video")) for key in ("3", "4", "5")))
    assert sorted(type(one).__name__ for one in both) == ["Bought", "Refused", "Refused"]
    assert await balance(house) == 300_000 - 2 * 10 * CREDIT
    house.clock.advance(90 * DAY_S - 0.001)
    assert await shop.buy(album("6")) == Refused("already_entitled")
    house.clock.advance(0.001)
    again = await bought(shop, album("7"))
    assert again.access is not None
    assert again.access.from_ms == now_ms + CONTENT_MS


@pytest.mark.threads
async def test_the_sellers_row_is_written_with_the_debit_or_not_at_all(house, shop) -> None:
    await house.fund("ann", 9_000 + 8_999)
    key = schema.outbox  # any table will do for a seller's row

    def row(name: str) -> dict[str, object]:
        return {
            "event_id": name,
            "kind": "message",
            "member_id": "ann",
            "facts": "{}",
            "at_ms": 0,
            "state": "waiting",
            "tries": 0,
            "next_at_ms": 0,
        }

    def writes(name: str, fails: bool = False):
        async def also(transaction: LedgerTransaction, answer: Bought) -> None:
            assert not answer.replayed
            await transaction.connection.execute(sa.insert(key), [row(name)])
            if fails:
                raise LookupError(name)

        return also

    with pytest.raises(LookupError, match="m0"):
        await shop.buy(letter("0", name="m0"), writes("m0", fails=True))
    bad, good, poor = await asyncio.gather(
        shop.buy(letter("1"), writes("m1", fails=True)),
        shop.buy(letter("2", name="m2"), writes("m2")),
        shop.buy(letter("3", name="m3"), writes("m3")),
        return_exceptions=True,
    )
    assert isinstance(bad, LookupError)
    assert isinstance(good, Bought)
    assert poor == Refused("insufficient_credits")
    assert (await bought(shop, letter("2", name="m2"), writes("m2"))).replayed
    async with house.database.read() as connection:
        assert list(await connection.scalars(sa.select(key.c.event_id))) == ["m2"]
    assert await balance(house) == 8_999


@pytest.mark.parametrize(("fault", "taken"), [("before", 0), ("during", 0), ("after", 1)])
async def test_without_an_answer_the_key_tells(house, shop, fault, taken) -> None:
    await house.fund("ann", 60_000)
    house.database.fault = fault
    with pytest.raises(DatabaseUnavailable):
        await shop.buy(album())
    house.database.fault = None
    assert await rows(house) == taken
    told = await bought(shop, album())
    assert told.replayed is bool(taken)
    assert told.access is not None
    assert told.access.transfer == told.transfer
    assert await balance(house) == 0


async def test_a_refund_goes_back_to_its_buckets_and_ends_the_access(house, shop) -> None:
    await house.fund("ann", 50_000)
    await house.wallet.grant_promo("ann", 20_000, "gift", "gift")
    before = await house.wallet.balance("ann")
    one = await bought(shop, album())
    assert one.draw == Draw(20_000, 40_000)
    house.clock.advance(DAY_S)
    back = await shop.refund(one.transfer, "staff")
    assert isinstance(back, Purchase)
    assert back.refunded_by == "staff"
    assert await shop.refund(one.transfer, "staff") == Refused("already_refunded", replayed=True)
    assert await shop.refund(4_711, "staff") == Refused("unknown_purchase")
    assert await house.wallet.balance("ann") == before == Balance(50_000, 20_000, 0)
    assert not await shop.may_see("ann", Feature.CONTENT, "album")
    assert await shop.may_see("ann", Feature.CONTENT, "album", house.wallet.ledger.now_ms() - 1)
    async with house.database.read() as connection:
        table = schema.accounts.c
        query = sa.select(table.units).where(table.account == ledger.payable_account("eve"))
        assert await connection.scalar(query) == 0
    shown = await transactions(house.database, "ann", limit=2)
    assert [(line.kind, line.units) for line in shown] == [
        ("content_refund", 60_000),
        ("content", -60_000),
    ]
    made = await statement(house.database, "ann", 0, 2**53)
    assert made.findings == ()
    assert (await bought(shop, album("again"))).access is not None


@pytest.mark.threads
async def test_a_refund_in_the_middle_moves_what_follows(house, shop) -> None:
    await house.fund("ann", 100_000)
    now_ms = house.wallet.ledger.now_ms()
    first = await bought(shop, story("1"))
    await bought(shop, story("2"))
    house.clock.advance(3 * DAY_S)
    await asyncio.gather(*(shop.refund(first.transfer, "staff") for _ in range(3)))
    assert await balance(house) == 100_000 - 5 * CREDIT
    assert dict(await shop.until("ann", Feature.STORY, ["eve"])) == {"eve": now_ms + 10 * DAY_MS}
    windows = await shop.windows("ann", Feature.STORY, "eve")
    assert [(w.from_ms - now_ms, w.until_ms - now_ms) for w in windows] == [
        (0, 3 * DAY_MS),
        (3 * DAY_MS, 10 * DAY_MS),
    ]


async def test_a_part_goes_back_and_leaves_the_access(house, shop) -> None:
    """Once, told by one mail, bought credits first; the rest still counts as sent."""
    await house.fund("ann", 50_000)
    await house.wallet.grant_promo("ann", 20_000, "gift", "gift")
    now_ms = house.wallet.ledger.now_ms()
    one, two = await bought(shop, album()), await bought(shop, rose("2", 7_000))
    until = await shop.until("ann", Feature.CONTENT, ["album"])
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="gives something back"):
            await shop.refund(one.transfer, "staff", wrong)
    with pytest.raises(ValueError, match="a reason has"):
        await shop.refund(one.transfer, "staff", 1, "x" * 121)
    assert await shop.refund(one.transfer, "staff", 60_001) == Refused("exceeds_price")
    for number in (0, -1, 2**63, 10**30):
        assert await shop.refund(number, "staff") == Refused("unknown_purchase")
    back = await shop.refund(one.transfer, "staff", 40_001, "one picture is missing")
    assert isinstance(back, Purchase)
    assert (back.refunded_units, back.standing_units) == (40_001, 19_999)
    assert back.refund_reason == "one picture is missing"
    assert await shop.refund(one.transfer, "staff", 1) == Refused("already_refunded", replayed=True)
    assert await house.wallet.balance("ann") == Balance(43_000, 1, 0)
    assert await earned(house) == 36_000 - 24_000 + 4_200
    assert await shop.until("ann", Feature.CONTENT, ["album"]) == until
    assert await shop.buy(album("again")) == Refused("already_entitled")
    await shop.refund(two.transfer, "staff", 3_000)
    assert dict(await shop.sent("eve", Feature.SURPRISE, now_ms)) == {"ann": 4_000}
    given = await shop.refunded_since(now_ms)
    assert sorted(one.transfer for one in given) == [one.transfer, two.transfer]
    assert await shop.refunded_since(house.wallet.ledger.now_ms() + 1) == []
    async with house.database.read() as connection:
        table = schema.outbox.c
        query = sa.select(table.kind).where(table.kind == "purchase_refunded")
        assert len(list(await connection.scalars(query))) == 2


@pytest.mark.parametrize("offset_ms", [-1, 0, 1])
async def test_a_refund_at_the_end_of_the_access(house, shop, offset_ms) -> None:
    """The window is half-open; at its end nothing is left of it to be ended."""
    await house.fund("ann", 200_000)
    now_ms = house.wallet.ledger.now_ms()
    one = await bought(shop, story("1"))
    two = await bought(shop, story("2"))
    house.clock.advance((STORY_MS + offset_ms) / 1_000)
    assert isinstance(await shop.refund(one.transfer, "staff"), Purchase)
    windows = await shop.windows("ann", Feature.STORY, "eve")
    end_ms = now_ms + STORY_MS + min(offset_ms, 0)
    assert [(w.transfer, w.from_ms, w.until_ms) for w in windows] == [
        (one.transfer, now_ms, end_ms),
        (two.transfer, end_ms, end_ms + STORY_MS),
    ]


async def test_spend_limits_and_breaks_hold_for_purchases(house, shop) -> None:
    await house.fund("ann", 200_000)
    limits = SpendLimits(house.database, house.wallet.ledger)
    await limits.set_limit("ann", Span.DAY, 60_000)
    await bought(shop, album("1", 59_999))
    assert await shop.buy(rose("2", 2)) == Refused("limit_day")
    await bought(shop, rose("3", 1))
    await limits.take_break("ann", 1)
    assert await shop.buy(rose("4", 1)) == Refused("on_break")


async def test_what_was_sent_counts_until_it_is_given_back(house, shop) -> None:
    await house.fund("ann", 60_000)
    now_ms = house.wallet.ledger.now_ms()
    one = await bought(shop, rose("1", 5_000))
    house.clock.advance(60)
    await bought(shop, rose("2", 7_000))
    assert dict(await shop.sent("eve", Feature.SURPRISE, now_ms)) == {"ann": 12_000}
    assert dict(await shop.sent("eve", Feature.SURPRISE, now_ms + 1)) == {"ann": 7_000}
    await shop.refund(one.transfer, "staff")
    assert dict(await shop.sent("eve", Feature.SURPRISE, now_ms)) == {"ann": 7_000}
    assert dict(await shop.sent("eve", Feature.MESSAGE, now_ms)) == {}


@pytest.fixture
async def crew(house) -> AsyncIterator[list[Purchases]]:
    """Other processes with connections, and on SQLite threads, of their own."""
    databases = [await Database.open(house.url) for _ in range(4)]
    yield [Purchases(Wallet(one, utc_now=house.clock.utc)) for one in databases]
    for database in databases:
        await database.close()


@pytest.mark.threads
async def test_four_processes_sell_one_thing_once(house, shop, crew) -> None:
    """With four keys, with one key, and given back by four."""
    await house.fund("ann", 200_000)
    own = await asyncio.gather(*(one.buy(album(str(n))) for n, one in enumerate(crew)))
    refused = [one for one in own if isinstance(one, Refused)]
    assert refused == [Refused("already_entitled")] * 3
    same = await asyncio.gather(*(one.buy(album("k", name="film")) for one in crew))
    assert len({one.transfer for one in same if isinstance(one, Bought)}) == 1
    assert sorted(one.replayed for one in same) == [False, True, True, True]
    passes = await asyncio.gather(*(one.buy(story(f"s{n}")) for n, one in enumerate(crew[:2])))
    ends = sorted(one.access.until_ms for one in passes if isinstance(one, Bought) and one.access)
    assert ends[1] - ends[0] == STORY_MS
    assert await balance(house) == 200_000 - 2 * 60_000 - 2 * 30_000
    backs = await asyncio.gather(*(one.refund(same[0].transfer, "staff") for one in crew))
    assert sum(isinstance(one, Purchase) for one in backs) == 1
    assert await balance(house) == 200_000 - 60_000 - 2 * 30_000


@pytest.mark.threads
async def test_debits_and_purchases_share_a_transaction(house, shop) -> None:
    """A debit takes what the album would have cost: who came first has it."""
    await house.fund("ann", 60_000)
    tip = Debit("tip", "ann", "eve", 1, "tip", "t")
    first, second, third = await asyncio.gather(
        house.wallet.counter.debit(tip), shop.buy(album()), shop.buy(rose("r"))
    )
    assert isinstance(first, Posted)
    assert second == Refused("insufficient_credits")
    assert isinstance(third, Bought)


async def earned(house) -> int:
    async with house.database.read() as connection:
        table = schema.accounts.c
        query = sa.select(table.units).where(table.account == ledger.payable_account("eve"))
        return int(await connection.scalar(query) or 0)


@pytest.mark.threads
async def test_an_expert_earns_by_a_message_when_they_answer_it_once(house, shop) -> None:
    await house.fund("ann", 60_000)
    told: list[str] = []

    async def also(transaction: LedgerTransaction) -> None:
        told.append("reply")

    first, second = await bought(shop, letter("1")), await bought(shop, letter("2", 9_001))
    tip = await bought(shop, rose("3"))
    assert await earned(house) == 3_600
    house.clock.advance(DAY_S)
    answers = await asyncio.gather(*(shop.replied(first.transfer, also) for _ in range(3)))
    assert sum(isinstance(one, Purchase) for one in answers) == 1
    assert told == ["reply"]
    assert await shop.replied(first.transfer, also) == Refused("already_replied", replayed=True)
    assert await earned(house) == 3_600 + 5_400
    await shop.replied(second.transfer)
    assert await earned(house) == 3_600 + 5_400 + 5_400  # 60 % of 9,001, rounded down
    for wrong in (tip.transfer, 4_711):
        assert await shop.replied(wrong, also) == Refused("unknown_purchase")
    now_ms = house.wallet.ledger.now_ms()
    [span] = await spans(house.database, "eve", 0, now_ms + 1, "month", now_ms)
    assert {part.feature: (part.charged_units, part.earned_units) for part in span.parts} == {
        "message": (18_001, 10_800),
        "surprise": (6_000, 3_600),
    }
    found = await lines(house.database, "eve", 0, now_ms + 1, now_ms, limit=9)
    assert [(one.feature, one.earned_units, one.state) for one in found] == [
        ("message", 5_400, "pending"),
        ("message", 5_400, "pending"),
        ("surprise", 3_600, "final"),
        ("message", 0, "final"),
        ("message", 0, "final"),
    ]
    async with house.database.read() as connection:
        assert (await read_earned(connection, "eve", now_ms)).pending_units == 10_800
    assert told == ["reply"]


async def test_a_message_that_is_given_back_takes_its_reply_along(house, shop) -> None:
    await house.fund("ann", 60_000)
    answered, silent = await bought(shop, letter("1")), await bought(shop, letter("2"))
    await shop.replied(answered.transfer)
    for one in (answered, silent):
        assert isinstance(await shop.refund(one.transfer, "staff"), Purchase)
    assert (await balance(house), await earned(house)) == (60_000, 0)
    assert await shop.replied(silent.transfer) == Refused("already_refunded")
    assert await shop.replied(answered.transfer) == Refused("already_replied", replayed=True)
    now_ms = house.wallet.ledger.now_ms()
    [span] = await spans(house.database, "eve", 0, now_ms + 1, "day", now_ms)
    [part] = span.parts
    assert (part.charged_units, part.earned_units, part.taken_back_units) == (18_000, 5_400, 5_400)
    await house.wallet.open_expert("gus", Shares.alike(0))
    free = await bought(shop, replace(letter("3"), expert_id="gus"))
    assert isinstance(await shop.replied(free.transfer), Purchase)
    assert await shop.replied(free.transfer) == Refused("already_replied", replayed=True)


@pytest.mark.parametrize("replied_first", [True, False])
async def test_a_part_of_a_message_goes_back(house, shop, replied_first) -> None:
    """The expert has their share of what was not given back, whichever came first."""
    await house.fund("ann", 60_000)
    one = await bought(shop, letter("1"))
    if replied_first:
        await shop.replied(one.transfer)
    await shop.refund(one.transfer, "staff", 4_000)
    if not replied_first:
        assert await earned(house) == 0
        await shop.replied(one.transfer)
    assert await balance(house) == 60_000 - 5_000
    assert await earned(house) == 3_000
    await shop.refund((await bought(shop, letter("2"))).transfer, "staff", 8_999)
    assert await earned(house) == 3_000


@pytest.mark.threads
async def test_refunds_race_replies_other_refunds_and_purchases(house, shop, crew) -> None:
    """In whatever order, the expert keeps the share of what stands, and nobody loses paid days."""
    await house.fund("ann", 200_000)
    stands = 0
    for n in range(3):
        one = await bought(shop, letter(str(n)))
        _, *backs = await asyncio.gather(
            crew[0].replied(one.transfer),
            crew[1].refund(one.transfer, "stan", 3_000),
            crew[2].refund(one.transfer, "sam"),
            crew[3].refund(one.transfer, "sue", 9_001),
        )
        [won] = [back for back in backs if isinstance(back, Purchase)]
        assert backs[2] in (Refused("exceeds_price"), Refused("already_refunded", replayed=True))
        stands += won.standing_units
    assert await balance(house) == 200_000 - stands
    assert await earned(house) == stands * 60 // 100
    now_ms = house.wallet.ledger.now_ms()
    first = await bought(shop, story("s1"))
    await asyncio.gather(
        crew[0].refund(first.transfer, "stan"), crew[1].buy(story("s2")), crew[2].buy(story("s3"))
    )
    assert dict(await shop.until("ann", Feature.STORY, ["eve"])) == {"eve": now_ms + 2 * STORY_MS}


@pytest.mark.threads
async def test_a_refund_races_the_payout_of_what_it_takes(house, shop, crew) -> None:
    """Eve has 36,000 units that are final; three of staff give a purchase back, others pay her out.

    Whoever is first: either the payout finds too little, or the refund makes her owe.
    """
    await house.fund("ann", 200_000)
    one = await bought(shop, album("1"))
    house.clock.advance(2 * DAY_S)
    services = [Payouts(one._wallet.ledger, minimum_units=6_000) for one in crew]
    await services[0].set_destination("eve", "Eve Hart", "DE89370400440532013000")
    asked, *backs = await asyncio.gather(
        services[0].request("eve", "p1", 36_000),
        *(shop.refund(one.transfer, "staff") for shop in crew[1:]),
    )
    told = [back for back in backs if isinstance(back, Purchase)]
    assert len(told) == 1
    assert await balance(house) == 200_000
    left = {True: -36_000, False: 0}[isinstance(asked, Payout)]
    assert await earned(house) == left
    if isinstance(asked, Payout):
        decided = await services[1].approve(asked.payout_id, "staff", manual=True)
        assert getattr(decided, "code", None) == "not_covered"


TAMPERED = {
    "purchase_wrong": [
        sa.update(schema.purchases).values(units=1),
        sa.update(schema.purchases).values(object_id="other"),
        sa.update(schema.purchases).values(feature="story"),
        sa.update(schema.access).values(until_ms=schema.access.c.until_ms + 1),
        sa.update(schema.access).values(until_ms=schema.access.c.until_ms - 1),
        sa.update(schema.access).values(object_id="album"),
        sa.delete(schema.access),
        sa.update(schema.purchases)
        .where(schema.purchases.c.feature == "story")
        .values(reply_transfer=1),
        sa.update(schema.purchases).values(
            refund_transfer=schema.purchases.c.transfer,
            refunded_units=1,
            refunded_at_ms=1,
            refunded_by="x",
        ),
        sa.update(schema.purchases).values(refunded_units=1),
    ],
    "purchase_missing": [sa.update(schema.purchases).values(reply_transfer=None)],
    "access_wrong": [
        sa.update(schema.access)
        .where(schema.access.c.feature == "story", schema.access.c.from_ms > 1_767_300_000_000)
        .values(from_ms=schema.access.c.from_ms - 1, until_ms=schema.access.c.until_ms - 1)
    ],
}


@pytest.mark.parametrize(
    ("code", "change"), [(code, change) for code, some in TAMPERED.items() for change in some]
)
async def test_rows_that_lie_are_named(house, code, change) -> None:
    shop = Purchases(house.wallet)
    await house.fund("ann", 200_000)
    await bought(shop, album("1"))
    await bought(shop, album("2", name="video"))
    await bought(shop, story("3"))
    await bought(shop, story("4"))
    sent = await bought(shop, letter("5"))
    await shop.replied(sent.transfer)
    async with house.database.write() as connection:
        await connection.execute(change)
    assert code in {finding.code for finding in (await reconcile(house.database)).findings}


async def test_a_purchase_without_its_row_is_named(house) -> None:
    await house.fund("ann", 200_000)
    await bought(Purchases(house.wallet), rose())
    async with house.database.write() as connection:
        await connection.execute(sa.delete(schema.purchases))
    [finding] = (await reconcile(house.database)).findings
    assert finding.code == "purchase_missing"
