"""The free credits: 59,940 units, once per card and address, whatever happens at once."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from billing_meter import order_reversals, schema
from billing_meter.card_checks import CardCheck, CardFound, CheckResult, FakeCardChecker
from billing_meter.free_credits import FREE_UNITS, Claim, FreeCredits, TooManyTries
from billing_meter.ledger import Debit
from billing_meter.order_store import keep_card
from billing_meter.orders import Orders
from billing_meter.providers import (
    Card,
    Declined,
    DeclineReason,
    Disputed,
    DisputeState,
    FakeProvider,
    ProviderUnavailable,
)
from billing_meter.verify import verify

SECRET = "s" * 64


@pytest.fixture
def checker() -> FakeCardChecker:
    return FakeCardChecker()


@pytest.fixture
async def free(house, checker) -> FreeCredits:
    await house.wallet.open_member("bob")
    return FreeCredits(house.wallet, checker, SECRET)


async def grants(house) -> int:
    query = sa.select(sa.func.count()).where(schema.transfers.c.kind == "promo_grant")
    async with house.database.read() as connection:
        return int(await connection.scalar(query))


async def test_a_good_card_gives_the_credits_and_makes_premium(house, free, checker) -> None:
    upgraded: list[str] = []
    house.wallet.on_premium = upgraded.append
    assert await free.offer("ann", "ann@mail.test") == Claim("eligible")
    assert await free.claim("ann", "ann@mail.test", "tok_ok") == Claim("granted")
    assert FREE_UNITS == 59_940
    balance = await house.wallet.balance("ann")
    assert (balance.promo_units, balance.paid_units) == (59_940, 0)
    assert await house.wallet.is_premium("ann")
    assert upgraded == ["ann"]
    assert await free.offer("ann", "ann@mail.test") == Claim("granted")
    assert await free.claim("ann", "ann@mail.test", "tok_ok_2") == Claim("granted")
    assert (await house.wallet.balance("ann")).posted == 59_940
    assert len(checker.checked) == 1


@pytest.mark.threads
async def test_fifty_claims_at_once_are_one_grant(house, free, checker) -> None:
    claims = await asyncio.gather(
        *(free.claim("ann", "ann@mail.test", "tok_ok") for _ in range(50))
    )
    assert claims == [Claim("granted")] * 50
    assert len(checker.checked) == 1
    assert await grants(house) == 1
    assert (await house.wallet.balance("ann")).posted == 59_940


@pytest.mark.threads
@pytest.mark.slow
async def test_fifty_accounts_with_one_card_are_one_grant(house, free) -> None:
    names = [f"member{n}" for n in range(50)]
    for name in names:
        await house.wallet.open_member(name)
    claims = await asyncio.gather(
        *(free.claim(name, f"{name}@mail.test", "tok_ok") for name in names)
    )
    assert sorted(claim.state for claim in claims) == ["granted"] + ["not_eligible"] * 49
    assert await grants(house) == 1


async def test_the_same_card_or_address_is_the_same_person(house, free) -> None:
    await free.claim("ann", "Ann+site@Mail.test", "tok_ok")
    assert await free.claim("bob", "bob@mail.test", "tok_ok") == Claim("not_eligible")
    assert await free.claim("bob", "bob@mail.test", "tok_ok_2") == Claim("not_eligible")
    for name, email in (("cat", "ann@mail.test"), ("dan", "ANN+x@mail.test")):
        await house.wallet.open_member(name)
        assert await free.offer(name, email) == Claim("not_eligible")
        assert await free.claim(name, email, "tok_ok_3") == Claim("not_eligible")
    assert (await house.wallet.balance("bob")).posted == 0
    assert not await house.wallet.is_premium("bob")


async def test_who_bought_before_is_not_new(house, free) -> None:
    await house.fund("ann", 1_000)
    assert await free.claim("ann", "ann@mail.test", "tok_ok") == Claim("not_eligible")
    known = await free.claim("bob", "bob@mail.test", "tok_ok", known=True)
    assert known == Claim("not_eligible")


async def test_a_card_that_somebody_else_bought_with_is_no_newcomers(house, free) -> None:
    await free.claim("bob", None, "tok_ok_2")  # tells what the card's fingerprint is
    [check] = [check for check in free._checker.checked if check.token == "tok_ok_2"]
    found = await free._checker.check_card(check)
    card = Card("tok_ok_2", "customer", found.fingerprint)
    async with house.database.write() as connection:
        await connection.execute(sa.delete(schema.free_marks))
        await keep_card(connection, "bob", "fake", card, 0)
    assert await free.claim("ann", None, "tok_ok_2") == Claim("not_eligible")
    await house.wallet.open_member("cat")
    async with house.database.write() as connection:  # another provider's cards are others
        await connection.execute(sa.update(schema.cards).values(provider="other"))
    assert await free.claim("cat", None, "tok_ok_2") == Claim("granted")


class Cards(FakeCardChecker):
    """The cards that the fake provider charges, by the same fingerprints."""

    async def check_card(self, check: CardCheck) -> CheckResult:
        return CardFound(f"fake:{check.token}")


async def test_a_purchase_stays_one_when_its_money_went_back_and_so_does_its_card(house) -> None:
    free = FreeCredits(house.wallet, Cards(), SECRET)
    orders = Orders(house.database, house.wallet, FakeProvider(), utc_now=house.clock.utc)
    orders.on_card = free.keep_paid_card
    for key, token in (("k1", "tok_ok"), ("k2", "tok_slow"), ("k3", "tok_ok"), ("k4", "tok_slow")):
        order = await orders.create("ann", "credits-9", "card", key)
        await orders.pay("ann", order.order_id, token)
        while await orders.resume_pending():
            pass
    await orders.close()
    for order in await orders.list("ann"):
        async with house.wallet.ledger.transaction() as transaction:
            taken = Disputed(f"d {order.order_id}", order.price_minor, DisputeState.LOST)
            await order_reversals.told(transaction, order, 0, taken)
    assert (await house.wallet.standing("ann")).last_purchase_at_ms is None
    assert await free.claim("ann", None, "another") == Claim("not_eligible")
    for name, token in (("bob", "tok_ok"), ("cat", "tok_slow")):  # her last card, and the other
        await house.wallet.open_member(name)
        assert await free.claim(name, None, token) == Claim("not_eligible")
    await house.wallet.open_member("dan")
    assert await free.claim("dan", None, "another") == Claim("granted")


async def test_credits_from_the_staff_do_not_stand_in_the_way(house, free) -> None:
    await house.wallet.grant_promo("ann", 100, "k", "sorry")
    assert await free.claim("ann", None, "tok_ok") == Claim("granted")


async def test_declined_cards_are_told_why_and_few_a_day(house, free, checker) -> None:
    for n, (token, reason) in enumerate(
        [
            ("tok_declined", "funds"),
            ("tok_expired", "card_expired"),
            ("tok_blocked", "bank_blocked"),
            ("tok_x", "other"),
            ("tok_y", "other"),
        ]
    ):
        assert await free.claim("ann", None, token) == Claim("declined", reason), n
        house.clock.advance(1)
    assert await free.offer("ann", None) == Claim("declined", "other")
    assert await free.claim("ann", None, "tok_ok") == TooManyTries()
    assert len(checker.checked) == 5
    house.clock.advance(86_400)
    assert await free.claim("ann", None, "tok_ok") == Claim("granted")


async def test_a_slow_check_goes_on_where_it_was(house, free, checker) -> None:
    assert await free.claim("ann", "ann@mail.test", "tok_slow") == Claim("pending")
    assert (await house.wallet.balance("ann")).posted == 0
    assert await free.offer("ann", "ann@mail.test") == Claim("pending")
    assert await free.claim("ann", "ann@mail.test", "tok_other_card") == Claim("granted")
    assert [check.token for check in checker.checked] == ["tok_slow"]


async def test_after_a_lost_answer_the_same_check_is_asked_again(house, free, checker) -> None:
    class Deaf(FakeCardChecker):
        async def check_card(self, check):
            await checker.check_card(check)
            raise ProviderUnavailable

    deaf = FreeCredits(house.wallet, Deaf(), SECRET)
    with pytest.raises(ProviderUnavailable):
        await deaf.claim("ann", None, "tok_ok")
    assert await free.claim("ann", None, "tok_ok") == Claim("granted")
    assert len(checker.checked) == 1


@pytest.mark.threads
async def test_a_check_counts_once_however_often_its_end_is_told(house, free, checker) -> None:
    await free.claim("ann", None, "tok_slow")
    [check] = checker.checked
    found = CardFound("fp")
    told = await asyncio.gather(*(free.confirm(check.check_id, found) for _ in range(5)))
    assert told == [Claim("granted")] * 5
    late = await free.confirm(check.check_id, Declined(DeclineReason.OTHER))
    assert late == Claim("granted")
    assert (await free.confirm("never heard of", found)).state == "not_eligible"
    assert await grants(house) == 1


async def test_marks_tell_nobody_and_outlive_the_account(house, free) -> None:
    await free.claim("ann", "ann@mail.test", "tok_ok")
    async with house.database.read() as connection:
        rows = (await connection.execute(sa.select(schema.free_marks))).mappings().all()
    assert sorted(row["kind"] for row in rows) == ["card", "email"]
    for row in rows:
        assert set(row) == {"mark", "kind", "at_ms"}
        assert len(row["mark"]) == 64
    other_salt = FreeCredits(house.wallet, FakeCardChecker(), "t" * 64)
    assert await other_salt.offer("bob", "ann@mail.test") == Claim("eligible")
    async with house.database.write() as connection:  # the account is forgotten
        await connection.execute(sa.delete(schema.free_claims))
    assert await free.offer("bob", "ann@mail.test") == Claim("not_eligible")


async def test_free_credits_are_spent_first_and_come_back_as_what_they_were(house, free) -> None:
    await free.claim("ann", None, "tok_ok")
    await house.fund("ann", 6_000)
    spent = await house.wallet.ledger.execute(Debit("tip", "ann", "eve", 60_000, "tip", "t"))
    assert (spent.draw.promo, spent.draw.paid) == (59_940, 60)
    balance = await house.wallet.balance("ann")
    assert (balance.promo_units, balance.paid_units) == (0, 5_940)
    report = await verify(house.database)
    assert report.ok, report.findings


async def test_without_a_provider_that_checks_cards_nothing_is_offered(house) -> None:
    free = FreeCredits(house.wallet, None, SECRET)
    assert await free.offer("ann", None) == Claim("unavailable")
    assert await free.claim("ann", None, "tok_ok") == Claim("unavailable")
