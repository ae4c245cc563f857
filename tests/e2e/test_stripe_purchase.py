"""Buying through a redirect: to the provider's page and back, whether its webhook comes or not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.billing_meter.fake_stripe import KEY, SECRET, FakeStripe
from tests.e2e.axe import check
from tests.e2e.harness import Person, Server, chromium, person, running_server
from tests.e2e.pictures import picture

pytestmark = pytest.mark.e2e
COMPLETED = "checkout.session.completed"
CONFIG = """
[money]
provider = "stripe"
[stripe]
secret_key = "{key}"
webhook_secret = "{secret}"
api_base = "{url}"
"""


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[FakeStripe, Server]]:
    """A server that sells through a fake Stripe."""
    stripe = FakeStripe(lambda: int(time.time()))
    await stripe.start()
    config = folder / "parlour.toml"
    config.write_text(CONFIG.format(key=KEY, secret=SECRET, url=stripe.url))
    try:
        async with running_server(folder / "data", "--config", str(config)) as server:
            stripe.webhook_url = f"{server.url}/api/v1/webhooks/stripe"
            server.member("mia", "0")
            yield stripe, server
    finally:
        await stripe.close()


async def to_the_page(member: Person, stripe: FakeStripe) -> None:
    """Through the three steps, up to the provider's page."""
    await member.open("/wallet")
    await member.click("purchase-next")
    await member.click("purchase-next")
    assert "PRL SERVICES" in await member.page.inner_text(member.by("purchase"))
    assert not await member.page.query_selector(member.by("card-tok_ok"))
    await member.click("pay")
    await member.page.wait_for_url(f"{stripe.url}/pay/*")


async def has_balance(member: Person, units: int) -> None:
    await member.page.wait_for_selector(f'[data-testid="balance-chip"][data-units="{units}"]')


async def test_a_purchase_by_redirect(tmp_path: Path) -> None:
    async with (
        shop(tmp_path) as (stripe, server),
        chromium() as browser,
        person(browser, server) as member,
        person(browser, server) as elsewhere,
    ):
        await member.sign_in("mia")
        await elsewhere.sign_in("mia")
        await elsewhere.open("/")
        bought = 0
        for when in ("before", "never"):
            stripe.webhook_when = when
            await to_the_page(member, stripe)
            await member.page.click("button[value=pm_poor]")
            await member.page.click("button[value=pm_ok]")
            await member.see("returned-settled")
            bought += 167_940
            await has_balance(member, bought)
            await has_balance(elsewhere, bought)
            assert "order=" not in member.page.url
            # Told again, or told late: it is counted already.
            assert await stripe.send(COMPLETED, stripe.session["id"]) == 200
            await member.page.reload()
            await has_balance(member, bought)
        await check(member, "wallet with orders")
        # The member closes the page after paying, and does not come back.
        await to_the_page(member, stripe)
        stripe.pay(stripe.session["id"])
        assert await stripe.send(COMPLETED, stripe.session["id"]) == 200
        await has_balance(elsewhere, bought + 167_940)
        await member.open("/wallet")
        orders = member.page.locator(member.by("order"))
        await orders.nth(2).wait_for()
        for n in range(3):
            text = await orders.nth(n).inner_text()
            assert "Ordered" in text
            assert "Paid" in text
        server.books_are_clean()


async def test_coming_back_without_paying(tmp_path: Path) -> None:
    async with (
        shop(tmp_path) as (stripe, server),
        chromium() as browser,
        person(browser, server) as member,
    ):
        await member.sign_in("mia")
        await to_the_page(member, stripe)
        await member.page.click("text=Back")
        await member.see("returned-open")
        await check(member, "wallet, not paid yet")
        await member.click("returned-again")
        await member.page.wait_for_url(f"{stripe.url}/pay/*")
        await member.page.go_back()
        await member.click("returned-cancel")
        await member.see("returned-failed")
        assert stripe.session["status"] == "expired"
        await member.click("returned-done")
        await member.see("purchase-next")
        order = member.page.locator('[data-testid="order"][data-state="failed"]')
        await order.wait_for()
        assert "not paid" in await order.inner_text()
        await has_balance(member, 0)
        server.books_are_clean()


async def test_free_credits_by_a_card_check(tmp_path: Path) -> None:
    """To the provider's page, where nothing is charged, given up once, and back with credits."""
    async with (
        shop(tmp_path) as (stripe, server),
        chromium() as browser,
        person(browser, server) as member,
    ):
        await member.sign_in("mia")
        await member.open("/wallet?lang=nb")
        await member.click("free-open")
        assert "siden til betalingsleverandøren" in await member.see("free-dialog")
        assert not await member.page.query_selector(member.by("free-tok_ok"))
        await picture(member, "free-elsewhere")
        await member.click("free-claim")
        await member.page.wait_for_url(f"{stripe.url}/pay/*")
        await member.page.click("text=Back")
        await member.click("free-open")
        await member.click("free-claim")  # the same page again
        await member.page.wait_for_url(f"{stripe.url}/pay/*")
        await member.page.click("button[value=pm_ok]")
        await has_balance(member, 59_940)
        await member.page.wait_for_selector(member.by("free-offer"), state="detached")
        assert "free=" not in member.page.url
        assert len(stripe.sessions) == 1
        assert stripe.charges == {}
        server.books_are_clean()
