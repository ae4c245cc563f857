"""Payouts: held, decided, sent once or given back, whatever happens between two writes."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from billing_meter import ledger, payout_rows, payout_rules, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.iban import iban, masked
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.ledger_rows import GuardFailed
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import SessionOrder
from billing_meter.payout_providers import (
    PayoutResult,
    ProviderUnavailable,
    Rejected,
    Sent,
    Transferred,
    Unknown,
)
from billing_meter.payout_rules import STEPS, Destination, Earned, Payout, PayoutState
from billing_meter.payouts import PayoutRefused, Payouts
from billing_meter.refunds import Refund, Refunds
from billing_meter.statements import reconcile, statement, verify
from billing_meter.tariff import Tariff

DAY_MS = 24 * 60 * 60 * 1_000
CREDIT = 6_000
TIP_UNITS = 200 * CREDIT
SHARE_UNITS = TIP_UNITS * 60 // 100
IBAN = "NO93 8601 1117 947"


@dataclass
class Bank:
    """A provider with a memory of its own, which outlives whoever asks it."""

    name: str = "bank"
    answer: Callable[[Payout], PayoutResult] = lambda payout: Transferred(
        "ref", payout.amount_minor
    )
    silent: set[str] = field(default_factory=set)
    """Of `lookup`, `send before` and `send after`: what raises instead of answering."""
    sent: dict[str, PayoutResult] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def send(self, payout: Payout) -> PayoutResult:
        self.asked.append("send")
        if "send before" in self.silent:
            raise ProviderUnavailable
        result = self.sent.setdefault(payout.payout_id, self.answer(payout))
        if "send after" in self.silent:
            raise ProviderUnavailable
        return result

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        self.asked.append("lookup")
        if "lookup" in self.silent:
            raise ProviderUnavailable
        return self.sent.get(payout.payout_id, Unknown())

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
async def payouts(house, bank) -> AsyncIterator[Payouts]:
    """Eve has 120 credits that are final, and a bank account."""
    await house.fund("ann", 1_000 * CREDIT)
    await tip(house, "first")
    house.clock.advance(DAY_MS / 1_000)
    made = Payouts(house.wallet.ledger, bank, clock_ns=house.clock.ns)
    await made.set_destination("eve", " Eve   Adams ", IBAN)
    yield made
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def tip(house, key: str, units: int = TIP_UNITS, expert: str = "eve") -> int:
    outcome = await house.wallet.ledger.execute(Debit(key, "ann", expert, units, "surprise", key))
    assert isinstance(outcome, Posted)
    return outcome.transfer


async def take_back(house, transfer: int, units: int = TIP_UNITS) -> None:
    outcome = await house.wallet.ledger.execute(
        Reverse(f"back-{transfer}-{units}", transfer, units, "staff")
    )
    assert isinstance(outcome, Posted)


async def cleared(house) -> int:
    """What left the platform's account, in all."""
    async with house.database.read() as connection:
        query = sa.select(schema.accounts.c.units)
        where = schema.accounts.c.account == ledger.PAYOUT_CLEARING
        return int(await connection.scalar(query.where(where)) or 0)


async def requested(payouts: Payouts, key: str = "k1", units: int | None = None) -> Payout:
    payout = await payouts.request("eve", key, units)
    assert isinstance(payout, Payout), payout
    return payout


# --- the rules, without a database --------------------------------------------------------


def test_every_way_through_the_steps_balances_and_ends_once() -> None:
    start = Payout(
        "p", "eve", PayoutState.REQUESTED, 660, 11, "EUR", "E", "NO", *(None,) * 3, 0, *(None,) * 6
    )
    ways = [[PayoutState.REQUESTED]]
    seen = 0
    while ways:
        way = ways.pop()
        ways += [[*way, state] for state in STEPS[way[-1]]]
        entries = [
            entry
            for state in way
            if (entry := payout_rules.step_entry(_in_state(start, state))) is not None
        ]
        keys = [entry.key for entry in entries]
        assert len(keys) == len(set(keys))
        totals = ledger.account_deltas(entries)
        assert sum(totals.values()) == 0
        held, paid = totals[ledger.payout_account("eve")], totals.get(ledger.PAYOUT_CLEARING, 0)
        assert held == (660 if way[-1] in payout_rules.OPEN else 0)
        assert paid == (660 if way[-1] is PayoutState.PAID else 0)
        assert totals[ledger.payable_account("eve")] == -held - paid
        seen += 1
    assert seen == 7, "requested, approved, paid, returned, failed, denied, cancelled"


def _in_state(payout: Payout, state: PayoutState) -> Payout:
    return Payout(**{name: getattr(payout, name) for name in Payout.__slots__} | {"state": state})


@pytest.mark.parametrize(
    ("earned", "available", "owed"),
    [
        (Earned(100, 0, 0), 100, 0),
        (Earned(100, 100, 50), 0, 0),
        (Earned(100, 130, 0), 0, 30),
        (Earned(-50, 0, 0), 0, 50),
        (Earned(-50, 70, 0), 0, 120),
    ],
)
def test_what_may_be_asked_back_is_nobodys_to_pay_out(earned, available, owed) -> None:
    assert (earned.available_units, earned.owed_units) == (available, owed)


@pytest.mark.parametrize(
    ("typed", "good"),
    [
        ("NO93 8601 1117 947", "NO9386011117947"),
        ("de89370400440532013000", "DE89370400440532013000"),
        ("GB82 WEST 1234 5698 7654 32", "GB82WEST12345698765432"),
        ("NO93 8601 1117 948", None),
        ("NO39 8601 1117 947", None),
        ("9386011117947", None),
        ("NO93-8601-1117-947", None),
        ("NO9386", None),
        ("NO93" + "0" * 31, None),
        ("ＮＯ9386011117947", None),
        ("NO93 8601 1117 947" + " " * 60, None),
        ("", None),
    ],
)
def test_an_iban_is_one_or_it_is_not(typed, good) -> None:
    if good is None:
        with pytest.raises(ValueError, match="IBAN"):
            iban(typed)
    else:
        assert iban(typed) == good
        assert masked(good) == f"{good[:2]}…{good[-4:]}"


# --- pending and available ----------------------------------------------------------------


async def test_an_earning_is_final_a_day_after_its_session_ended(house) -> None:
    payouts = Payouts(house.wallet.ledger, minimum_units=60)
    await house.fund("ann", 1_000 * CREDIT)
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    await house.run(3.5)
    running = await payouts.earned("eve")
    assert running.available_units == 0
    await house.till.close("s1", "member_left")
    earned = 3 * 9_999 * 60 // 100
    assert await payouts.earned("eve") == Earned(earned, earned, 0)
    async with house.database.read() as connection:
        ended_ms = await connection.scalar(sa.select(schema.sessions.c.ended_at_ms))
    house.clock.advance((ended_ms + DAY_MS - 1 - house.wallet.ledger.now_ms()) / 1_000)
    assert (await payouts.earned("eve")).available_units == 0
    refunds = Refunds(house.wallet.ledger)
    assert isinstance(await refunds.request("s1", "ann", "No sound."), Refund)
    house.clock.advance(7 * DAY_MS / 1_000)
    assert await payouts.earned("eve") == Earned(earned, earned, 0), "nobody has decided yet"
    await refunds.approve("s1", 9_999, "staff")
    left = 2 * 9_999 * 60 // 100
    assert await payouts.earned("eve") == Earned(left, 0, 0)
    assert (await reconcile(house.database)).findings == ()


async def test_what_was_given_back_already_is_not_pending_any_more(house) -> None:
    payouts = Payouts(house.wallet.ledger)
    await house.fund("ann", 1_000 * CREDIT)
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    await house.run(3.5)
    await house.till.close("s1", "member_left")
    refunds = Refunds(house.wallet.ledger)
    await refunds.request("s1", "ann", "No sound.")
    await refunds.approve("s1", 9_999, "staff")
    left = 2 * 9_999 * 60 // 100
    assert await payouts.earned("eve") == Earned(left, left, 0)


async def test_a_session_that_nobody_complains_of_is_final_at_the_instant(house) -> None:
    payouts = Payouts(house.wallet.ledger)
    await house.fund("ann", 1_000 * CREDIT)
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    await house.run(3.5)
    await house.till.close("s1", "member_left")
    async with house.database.read() as connection:
        ended_ms = await connection.scalar(sa.select(schema.sessions.c.ended_at_ms))
    for past_ms, available in ((-1, 0), (0, 3 * 9_999 * 60 // 100)):
        house.clock.advance((ended_ms + DAY_MS + past_ms - house.wallet.ledger.now_ms()) / 1_000)
        assert (await payouts.earned("eve")).available_units == available


async def test_tips_are_final_after_a_day_and_count_net_of_what_was_taken_back(
    house, payouts
) -> None:
    later = await tip(house, "second", 1_000)
    assert await payouts.earned("eve") == Earned(SHARE_UNITS + 600, 600, 0)
    await take_back(house, later, 400)
    assert await payouts.earned("eve") == Earned(SHARE_UNITS + 360, 360, 0)
    house.clock.advance(DAY_MS / 1_000 - 0.001)
    assert (await payouts.earned("eve")).pending_units == 360
    house.clock.advance(0.001)
    assert await payouts.earned("eve") == Earned(SHARE_UNITS + 360, 0, 0)
    await take_back(house, later, 600)
    assert await payouts.earned("eve") == Earned(SHARE_UNITS, 0, 0)


# --- the steps ----------------------------------------------------------------------------


async def test_a_payout_is_held_sent_and_paid_once(house, payouts, bank, caplog) -> None:
    payout = await requested(payouts)
    assert (payout.units, payout.amount_minor, payout.currency) == (SHARE_UNITS, 12_000, "EUR")
    assert (payout.holder, payout.iban) == ("Eve Adams", "NO9386011117947")
    assert await payouts.earned("eve") == Earned(0, 0, SHARE_UNITS)
    assert await requested(payouts) == payout, "the same key"
    assert await payouts.request("eve", "k1", 60) == PayoutRefused("key_reused")
    assert await payouts.send(payout.payout_id) == payout, "nobody has approved it"
    approved = await payouts.approve(payout.payout_id, "staff")
    assert isinstance(approved, Payout)
    assert (approved.channel, approved.decided_by) == ("bank", "staff")
    paid = await payouts.send(payout.payout_id)
    assert paid is not None
    assert (paid.state, paid.reference) == (PayoutState.PAID, "ref")
    assert await payouts.confirm(payout.payout_id, Rejected("late")) == paid, (
        "the first word counts"
    )
    assert f"{payout.payout_id} is paid here, and the provider says failed" in caplog.text
    assert await payouts.send(payout.payout_id) == paid
    assert list(bank.sent) == [payout.payout_id]
    assert await payouts.earned("eve") == Earned()
    assert await cleared(house) == SHARE_UNITS
    listed = await statement(house.database, "eve", 0, 2**53, owner="expert")
    assert [(line.kind, line.units) for line in listed.lines] == [
        ("surprise", SHARE_UNITS),
        ("payout", -SHARE_UNITS),
    ]
    assert not listed.findings
    returned = await payouts.returned(payout.payout_id, "account closed", "staff")
    assert isinstance(returned, Payout)
    assert returned.state is PayoutState.RETURNED
    assert await payouts.earned("eve") == Earned(SHARE_UNITS, 0, 0)
    assert await cleared(house) == 0


async def test_what_is_asked_for_must_be_there_and_enough(house, payouts) -> None:
    available = (await payouts.earned("eve")).available_units
    for units, code in (
        (available + 1, "exceeds_available"),
        (50 * CREDIT - 1, "below_minimum"),
        (0, "below_minimum"),
        (-5, "below_minimum"),
    ):
        assert await payouts.request("eve", f"n{units}", units) == PayoutRefused(code)
    assert await payouts.request("eve", "", None) == PayoutRefused("key_invalid")
    await house.wallet.open_expert("ida")
    await tip(house, "ida", expert="ida")
    house.clock.advance(DAY_MS / 1_000)
    assert await payouts.request("ida", "k1") == PayoutRefused("no_destination")
    assert await payouts.request("nobody", "k1") == PayoutRefused("no_destination")
    payout = await requested(payouts, units=50 * CREDIT + 59)
    assert payout.units == 50 * CREDIT, "whole cents; the rest stays"
    assert await payouts.request("eve", "k2") == PayoutRefused("payout_in_flight")
    assert await payouts.cancel("ida", payout.payout_id) == PayoutRefused("no_payout")
    assert await payouts.cancel("eve", "none") == PayoutRefused("no_payout")
    cancelled = await payouts.cancel("eve", payout.payout_id)
    assert isinstance(cancelled, Payout)
    assert (await payouts.earned("eve")).available_units == available
    assert await payouts.cancel("eve", payout.payout_id) == PayoutRefused("wrong_state")
    await requested(payouts, "k2")


async def test_staff_pays_by_hand_or_gives_back(house, payouts) -> None:
    first = (await requested(payouts)).payout_id
    assert await payouts.paid(first, "B-1", "pia") == PayoutRefused("wrong_state")
    await payouts.approve(first, "olga", manual=True)
    assert await payouts.deny(first, "olga") == PayoutRefused("wrong_state")
    assert (await payouts.send(first)).state is PayoutState.APPROVED
    assert await payouts.resume() == 0
    paid = await payouts.paid(first, "B-1", "pia")
    assert isinstance(paid, Payout)
    assert (paid.decided_by, paid.closed_by, paid.reference) == ("olga", "pia", "B-1")
    assert await payouts.paid(first, "B-1", "pia") == paid, "told twice"
    assert await payouts.paid(first, "B-2", "pia") == PayoutRefused("wrong_state")
    await payouts.returned(first, "no such account", "pia")
    second = (await requested(payouts, "k2")).payout_id
    await payouts.approve(second, "olga", manual=True)
    failed = await payouts.failed(second, "no such account", "pia")
    assert isinstance(failed, Payout)
    assert failed.failure == "no such account"
    third = (await requested(payouts, "k3")).payout_id
    denied = await payouts.deny(third, "olga", "call us")
    assert isinstance(denied, Payout)
    assert (await payouts.earned("eve")).available_units == SHARE_UNITS
    fourth = (await requested(payouts, "k4")).payout_id
    await payouts.approve(fourth, "olga")
    assert await payouts.paid(fourth, "B-4", "pia") == PayoutRefused("with_provider")
    assert await payouts.paid("none", "B-4", "pia") == PayoutRefused("no_payout")
    for text in ("", "x" * 121):
        with pytest.raises(ValueError, match="characters"):
            await payouts.paid(fourth, text, "pia")
        with pytest.raises(ValueError, match="characters"):
            await payouts.failed(fourth, text, "pia")
    states = [one.state for one in await payouts.of_expert("eve")]
    assert sorted(states) == ["approved", "denied", "failed", "returned"]
    assert [p.payout_id for p in await payouts.of_states(PayoutState.APPROVED)] == [fourth]
    # The provider is not configured any more: what it was asked for is ended by hand.
    without = Payouts(house.wallet.ledger)
    assert await without.resume() == 0
    assert isinstance(await without.paid(fourth, "B-4", "pia"), Payout)


# --- claw-backs ---------------------------------------------------------------------------


async def test_what_is_taken_back_after_a_payout_is_owed_and_paid_first(house, payouts) -> None:
    async with house.database.read() as connection:
        query = sa.select(schema.transfers.c.transfer).where(schema.transfers.c.key == "first")
        transfer = await connection.scalar(query)
    payout = (await requested(payouts)).payout_id
    await payouts.approve(payout, "staff")
    await payouts.send(payout)
    await take_back(house, transfer)
    owing = await payouts.earned("eve")
    assert (owing.available_units, owing.owed_units) == (0, SHARE_UNITS)
    assert await payouts.request("eve", "k2") == PayoutRefused("below_minimum")
    for key in ("a", "b"):
        await tip(house, key)
    house.clock.advance(DAY_MS / 1_000)
    assert await payouts.earned("eve") == Earned(SHARE_UNITS, 0, 0), "one pays the debt"
    assert (await requested(payouts, "k3")).units == SHARE_UNITS


async def test_a_payout_that_is_not_covered_any_more_is_not_approved(house, payouts) -> None:
    later = await tip(house, "second")
    house.clock.advance(DAY_MS / 1_000)
    payout = (await requested(payouts)).payout_id
    await take_back(house, later)
    assert await payouts.approve(payout, "staff") == PayoutRefused("not_covered")
    await payouts.deny(payout, "staff")
    assert await payouts.earned("eve") == Earned(SHARE_UNITS, 0, 0)
    second = await requested(payouts, "k2")
    assert isinstance(await payouts.approve(second.payout_id, "staff"), Payout)


# --- races --------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere(house, bank) -> AsyncIterator[Payouts]:
    """Another process on the same database: connections of its own, a lock of its own."""
    database = await Database.open(house.url)
    yield Payouts(LedgerStore(database, utc_now=house.clock.utc), bank)
    await database.close()


@pytest.mark.threads
async def test_of_many_who_ask_at_once_one_gets_a_payout(payouts, elsewhere) -> None:
    asked = await asyncio.gather(
        *(
            desk.request("eve", f"k{n}", 50 * CREDIT)
            for n, desk in zip(range(10), itertools.cycle((payouts, elsewhere)), strict=False)
        )
    )
    assert sum(isinstance(one, Payout) for one in asked) == 1
    assert asked.count(PayoutRefused("payout_in_flight")) == 9
    same = await asyncio.gather(
        payouts.request("eve", "k0", 50 * CREDIT), elsewhere.request("eve", "k0", 50 * CREDIT)
    )
    assert same[0] == same[1]


async def test_a_plan_that_is_stale_holds_nothing(house, payouts) -> None:
    """What was read before the write must still be there: the write asks again."""
    payout = await requested(payouts)
    await payouts.cancel("eve", payout.payout_id)
    stale = dataclasses.replace(payout, payout_id="p2")
    for pending_units in (1, 10**9):
        with pytest.raises(GuardFailed):
            async with house.wallet.ledger.transaction() as transaction:
                await payout_rows.insert(transaction, stale, "eve:k2", "hash", pending_units)
    assert await payouts.find("p2") is None


@pytest.mark.threads
async def test_a_payout_is_decided_once(payouts, elsewhere, bank) -> None:
    payout = (await requested(payouts)).payout_id
    decided = await asyncio.gather(
        payouts.approve(payout, "a"),
        elsewhere.deny(payout, "b"),
        payouts.cancel("eve", payout),
        elsewhere.approve(payout, "c"),
        payouts.deny(payout, "d"),
    )
    assert sum(isinstance(one, Payout) for one in decided) == 1
    await asyncio.gather(
        *(desk.send(payout) for desk in (payouts, elsewhere, payouts, elsewhere)),
        payouts.resume(),
        elsewhere.resume(),
    )
    found = await payouts.find(payout)
    assert found is not None
    assert (found.state is PayoutState.PAID) == (payout in bank.sent)


@pytest.mark.threads
@pytest.mark.parametrize("first", ["payout", "refund"])
async def test_a_refund_races_a_payout(house, payouts, elsewhere, first) -> None:
    """Taken back and asked for, or approved, at the same moment from two processes."""
    later = await tip(house, "second")
    house.clock.advance(DAY_MS / 1_000)
    steps: list[Awaitable[object]] = [elsewhere.request("eve", "k1"), take_back(house, later)]
    await asyncio.gather(*(steps if first == "payout" else reversed(steps)))
    payout = await requested(elsewhere, "k1")
    earned = await payouts.earned("eve")
    if payout.units == 2 * SHARE_UNITS:  # it was quicker: then it is not covered any more
        assert earned == Earned(-SHARE_UNITS, 0, 2 * SHARE_UNITS)
        assert await payouts.approve(payout.payout_id, "staff") == PayoutRefused("not_covered")
        return
    assert earned == Earned(0, 0, SHARE_UNITS)
    async with house.database.read() as connection:
        query = sa.select(schema.transfers.c.transfer).where(schema.transfers.c.key == "first")
        transfer = await connection.scalar(query)
    more: list[Awaitable[object]] = [
        elsewhere.approve(payout.payout_id, "staff"),
        take_back(house, transfer),
    ]
    await asyncio.gather(*(more if first == "payout" else reversed(more)))
    ended = await payouts.send(payout.payout_id)
    assert ended is not None
    assert ended.state in (PayoutState.PAID, PayoutState.REQUESTED)
    assert await cleared(house) == (SHARE_UNITS if ended.state is PayoutState.PAID else 0)
    assert (await payouts.earned("eve")).owed_units == SHARE_UNITS


# --- crashes and silence ------------------------------------------------------------------


async def whole_life(payouts: Payouts) -> None:
    """Each step as often as it takes; every one may be called again after a crash."""
    payout = await requested(payouts)
    if payout.state is PayoutState.REQUESTED:
        await payouts.approve(payout.payout_id, "staff")
    await payouts.send(payout.payout_id)
    await payouts.resume()


@pytest.mark.parametrize("fault", ["before", "during", "after"])
@pytest.mark.parametrize("write", range(3))
async def test_a_crash_at_any_write_pays_once(house, payouts, bank, fault, write) -> None:
    """The request, the approval, the provider's answer: lost before, in, or after its commit."""
    real, count = house.database.write, itertools.count()

    def counting():
        house.database.fault = fault if next(count) == write else None
        return real()

    house.database.write = counting
    with pytest.raises(DatabaseUnavailable):
        await whole_life(payouts)
    house.database.write = real
    house.database.fault = None
    await house.restart()
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()
    await whole_life(Payouts(house.wallet.ledger, bank))
    assert len(bank.sent) == 1
    assert await cleared(house) == SHARE_UNITS


@pytest.mark.parametrize("silence", ["lookup", "send before", "send after"])
async def test_an_unknown_outcome_is_asked_for_again(house, payouts, bank, silence) -> None:
    payout = (await requested(payouts)).payout_id
    await payouts.approve(payout, "staff")
    bank.silent = {silence}
    found = await payouts.send(payout)
    assert found is not None
    assert found.state is PayoutState.APPROVED
    assert await payouts.earned("eve") == Earned(0, 0, SHARE_UNITS), "nobody knows yet"
    bank.silent = {"lookup"}
    assert await payouts.resume() == 1
    bank.silent = set()
    assert await payouts.resume() == 1, "not before its time"
    house.clock.advance(30)
    assert await payouts.resume() == 0
    assert len(bank.sent) == 1
    assert await cleared(house) == SHARE_UNITS


@pytest.mark.parametrize(
    ("end", "state"),
    [(Transferred("ref"), PayoutState.PAID), (Rejected("account_closed"), PayoutState.FAILED)],
)
async def test_what_is_on_its_way_ends_as_the_provider_says(
    house, payouts, bank, end, state
) -> None:
    bank.answer = lambda payout: Sent("S-1")
    payout = (await requested(payouts)).payout_id
    await payouts.approve(payout, "staff")
    on_its_way = await payouts.send(payout)
    assert on_its_way is not None
    assert on_its_way.state is PayoutState.APPROVED
    assert (await payouts.find(payout)).reference == "S-1"
    assert await payouts.resume() == 1
    asked = len(bank.asked)
    for wait_s, asks in ((29, 0), (1, 1), (59, 0), (1, 1)):
        house.clock.advance(wait_s)
        assert await payouts.resume() == 1
        asked += asks
        assert len(bank.asked) == asked, "less and less often"
    bank.sent[payout] = end
    house.clock.advance(3_600)
    assert await payouts.resume() == 0
    assert (await payouts.find(payout)).state is state
    owed = Earned(SHARE_UNITS if state is PayoutState.FAILED else 0, 0, 0)
    assert await payouts.earned("eve") == owed


async def test_another_amount_than_was_approved_closes_nothing(payouts, bank, caplog) -> None:
    bank.answer = lambda payout: Transferred("ref", payout.amount_minor - 1)
    payout = (await requested(payouts)).payout_id
    await payouts.approve(payout, "staff")
    found = await payouts.send(payout)
    assert found is not None
    assert found.state is PayoutState.APPROVED
    assert "was not closed: 11999 instead of 12000" in caplog.text


async def test_the_account_is_the_one_of_the_request(payouts) -> None:
    payout = await requested(payouts)
    await payouts.set_destination("eve", "Eve Adams", "DE89370400440532013000")
    assert await payouts.destination("eve") == Destination("Eve Adams", "DE89370400440532013000")
    assert (await payouts.find(payout.payout_id)).iban == payout.iban
    for holder in ("", " ", "x" * 71, "Eve\x00", "E\u202eve"):
        with pytest.raises(ValueError, match="holder"):
            await payouts.set_destination("eve", holder, IBAN)


# --- proofs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"units": 60, "amount_minor": 1}, {"payout_wrong", "payout_account"}),
        ({"amount_minor": 1}, {"payout_wrong"}),
        ({"expert_id": "ida"}, {"payout_wrong", "payout_account"}),
        (
            {"state": "paid", "channel": "bank", "closed_at_ms": 1},
            {"payout_wrong", "payout_account"},
        ),
        ({"state": "denied", "closed_at_ms": 1}, {"payout_wrong", "payout_account"}),
    ],
)
async def test_reconcile_sees_a_payout_that_does_not_add_up(house, payouts, change, codes) -> None:
    payout = await requested(payouts)
    assert await _codes_after(house, schema.payouts, change) == codes
    back = {name: getattr(payout, name) for name in (*change, "channel", "closed_at_ms")}
    assert await _codes_after(house, schema.payouts, back) == set()


async def test_reconcile_sees_a_payout_of_what_was_not_final(house, payouts) -> None:
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    await house.run(3.5)
    await house.till.close("s1", "member_left")
    house.clock.advance(DAY_MS / 1_000)
    await requested(payouts)
    ended = schema.sessions.c.ended_at_ms
    move = {"ended_at_ms": ended + DAY_MS}
    assert await _codes_after(house, schema.sessions, move) == {"payout_not_final"}
    assert await _codes_after(house, schema.sessions, {"ended_at_ms": ended - DAY_MS}) == set()


async def _codes_after(house, table: sa.Table, change: dict[str, object]) -> set[str]:
    async with house.database.write() as connection:
        await connection.execute(sa.update(table).values(**change))
    return {finding.code for finding in (await reconcile(house.database)).findings}
