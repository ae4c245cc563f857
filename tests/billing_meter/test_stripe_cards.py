"""The free credits by a card check at Stripe: nothing charged, once per card and person."""

from __future__ import annotations

import asyncio

import pytest

from billing_meter.free_credits import FREE_UNITS, Claim
from billing_meter.providers import ProviderUnavailable
from billing_meter.stripe_line import CHECKOUT_ASK_S, CHECKOUT_LIFE_S
from tests.billing_meter.stripe_shop import Shop


@pytest.fixture
async def shop(house, stripe):
    made = Shop(house, stripe)
    for who in ("bob", "eva", "mia"):
        await house.wallet.open_member(who)
    yield made
    assert stripe.intents == {}, "nothing is ever charged"
    await made.sound()
    await made.close()


async def claim(shop, who: str = "bob") -> Claim:
    made = await shop.free.claim(who, f"{who}@mail.test", "")
    assert isinstance(made, Claim)
    return made


async def granted(shop, who: str = "bob") -> int:
    return (await shop.house.wallet.balance(who)).posted


async def test_a_card_that_is_validated_on_stripes_page_gives_the_credits(shop, stripe) -> None:
    begun = await claim(shop)
    assert begun == Claim("pending", redirect_url=stripe.session["url"])
    assert await claim(shop) == begun  # the same page, not another one
    assert await shop.free.offer("bob", None) == begun
    assert stripe.session["success_url"] == "https://site.test/wallet?free=1"
    stripe.validate(stripe.session["id"])
    assert await claim(shop) == Claim("granted")
    assert await claim(shop) == Claim("granted")
    assert len(stripe.sessions) == 1
    standing = await shop.house.wallet.standing("bob")
    assert standing.premium
    assert await shop.free.offer("bob", None) == Claim("granted")


@pytest.mark.threads
async def test_the_webhook_grants_once_however_often_it_comes(shop, stripe) -> None:
    await claim(shop)
    stripe.validate(stripe.session["id"])
    event = stripe.event("checkout.session.completed", stripe.session["id"])
    outcomes = await asyncio.gather(*(shop.webhooks.take(*event) for _ in range(5)))
    assert set(outcomes) <= {"applied", "duplicate"}
    assert await shop.webhooks.take(*event) == "duplicate"
    assert await granted(shop) == FREE_UNITS


async def test_a_foreign_or_unknown_check_is_ignored(shop, stripe) -> None:
    await claim(shop)
    session = stripe.session
    stripe.validate(session["id"])
    for change in ({"attempt": "unknown"}, {"site": "another shop"}):
        session["metadata"] |= change
        event = stripe.event("checkout.session.completed", session["id"])
        assert await shop.webhooks.take(*event) == "ignored"
    assert await granted(shop) == 0


async def test_the_same_card_and_the_same_address_are_the_same_person(shop, stripe) -> None:
    for who in ("bob", "eva"):
        await claim(shop, who)
        stripe.validate(stripe.session["id"], "pm_shared")
        ended = await claim(shop, who)
        assert ended.state == ("granted" if who == "bob" else "not_eligible")
    again = await shop.free.claim("mia", "bob+more@mail.test", "")
    assert again == Claim("not_eligible")
    assert [await granted(shop, who) for who in ("bob", "eva", "mia")] == [FREE_UNITS, 0, 0]


async def test_a_declined_card_leaves_the_page_open_until_it_expires(shop, stripe) -> None:
    await claim(shop)
    stripe.validate(stripe.session["id"], "pm_blocked")
    assert (await claim(shop)).state == "pending"
    stripe.expire(stripe.session["id"])
    assert await claim(shop) == Claim("declined", "bank_blocked")
    begun = await claim(shop)
    assert begun.redirect_url == stripe.session["url"]
    stripe.expire(stripe.session["id"])
    assert await claim(shop) == Claim("declined", "not_paid")
    assert len(stripe.sessions) == 2


@pytest.mark.parametrize("fault", ["lost", "500"])
async def test_an_unknown_outcome_is_the_same_page(shop, stripe, fault) -> None:
    stripe.faults.append(fault)
    with pytest.raises(ProviderUnavailable):
        await claim(shop)
    stripe._keys = {k: v for k, v in stripe._keys.items() if v[1] == 200}  # a 500 is repeated
    begun = await claim(shop)
    assert begun.redirect_url == stripe.session["url"]
    stripe.validate(stripe.session["id"])
    assert await claim(shop) == Claim("granted")
    assert len(stripe.sessions) == 1


async def test_an_answer_that_never_came_is_given_up(shop, stripe) -> None:
    stripe.faults.append("500")
    with pytest.raises(ProviderUnavailable):
        await claim(shop)
    shop.house.clock.advance(CHECKOUT_ASK_S + 1)
    assert await claim(shop) == Claim("declined", "not_paid")


async def test_a_page_past_its_time_is_not_shown(shop, stripe) -> None:
    await claim(shop)
    shop.house.clock.advance(CHECKOUT_LIFE_S + 1)
    assert await shop.free.offer("bob", None) == Claim("pending")


async def test_a_card_without_a_fingerprint_gives_nothing(shop, stripe) -> None:
    await claim(shop)
    stripe.validate(stripe.session["id"])
    stripe.session["setup_intent"]["payment_method"]["card"]["fingerprint"] = None
    assert await claim(shop) == Claim("declined", "other")


async def test_a_bank_that_is_still_thinking(shop, stripe) -> None:
    await claim(shop)
    stripe.validate(stripe.session["id"], status="processing")
    assert await claim(shop) == Claim("pending")
    stripe.session["setup_intent"]["status"] = "succeeded"
    assert await claim(shop) == Claim("granted")
