"""What was bought of an expert is given back by staff, and its member sees it without loading."""

from __future__ import annotations

from pathlib import Path

from billing_meter.database import Database
from billing_meter.features import Buy, Feature
from billing_meter.purchases import Purchases
from billing_meter.sales import Bought
from billing_meter.wallet import Wallet
from signaling.store import utc_now
from tests.e2e.harness import STEP_WAIT_MS, Server, chromium, person, running_server
from tests.e2e.pictures import picture

CREDIT = 6_000
BOUGHT = ((Feature.SURPRISE, "rose", 2), (Feature.STORY, "", 5), (Feature.CONTENT, "album-7", 10))


async def shopping(server: Server) -> None:
    """Mia bought three things of luna."""
    names = {
        name: str(ids) for name, ids in server.sql("select username, account_id from accounts")
    }
    database = await Database.open(f"sqlite+aiosqlite:///{server.data / 'parlour.db'}")
    try:
        wallet = Wallet(database, utc_now=utc_now)
        await wallet.credit_purchase(names["mia"], CREDIT, "k", "test")  # surprises are for premium
        purchases = Purchases(wallet)
        for feature, thing, price in BOUGHT:
            units = price * CREDIT
            who = (names["mia"], names["luna"])
            buy = Buy(feature.value, *who, feature, thing or names["luna"], units, units)
            assert isinstance(await purchases.buy(buy), Bought)
    finally:
        await database.close()


async def test_staff_gives_a_purchase_back_and_a_part_of_another(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, chromium() as browser:
        server.expert("luna")
        server.member("mia", "50")
        server.member("sam", "0")
        server.cli("staff", "add", "sam")
        await shopping(server)
        async with person(browser, server) as mia, person(browser, server) as sam:
            await mia.sign_in("mia")
            await mia.open("/wallet")
            assert await mia.see("transactions")
            await sam.sign_in("sam")
            await sam.open("/staff#purchases")
            await sam.page.fill(sam.by("staff-member"), "nobody")
            await sam.click("staff-member-look")
            assert "no member of this name" in await sam.see("staff-purchases-problem")
            await sam.page.fill(sam.by("staff-member"), "mia")
            await sam.click("staff-member-look")
            assert "Premium content of luna" in await sam.see("staff-purchase")
            await sam.click("staff-purchase-open")
            await sam.page.fill(sam.by("purchase-reason"), "Two pictures are black.")
            await picture(sam, "staff-purchases", checked=True)
            await sam.page.fill(sam.by("purchase-part"), "11")
            await sam.click("purchase-part-ask")
            assert await sam.page.query_selector(sam.by("purchase-refund-confirm")) is None
            await sam.page.fill(sam.by("purchase-part"), "2,5")
            await sam.click("purchase-part-ask")
            await picture(sam, "staff-purchases-ask")
            await sam.click("confirm")
            await sam.page.wait_for_selector(f'[data-back="{15_000}"]', timeout=STEP_WAIT_MS)
            story = '[data-testid="staff-purchase"]:nth-child(2) '
            await sam.page.click(story + sam.by("staff-purchase-open"))
            await sam.page.click(story + sam.by("purchase-give-all"))
            assert "cannot see it any more" in await sam.see("purchase-refund-confirm")
            await sam.click("confirm")
            await sam.page.wait_for_selector(f'[data-back="{5 * CREDIT}"]', timeout=STEP_WAIT_MS)
            await picture(sam, "staff-purchases-given", checked=True)
            left = (51 - 17 + 5) * CREDIT + 15_000
            balance = f'[data-testid="balance"][data-units="{left}"]'
            await mia.page.wait_for_selector(balance, timeout=STEP_WAIT_MS)
            back = f'[data-kind="story_refund"][data-units="{5 * CREDIT}"]'
            await mia.page.wait_for_selector(back, timeout=STEP_WAIT_MS)
            await picture(mia, "wallet-purchase-refund")
            await sam.open("/staff?lang=nb#purchases")
            await sam.page.fill(sam.by("staff-member"), "mia")
            await sam.click("staff-member-look")
            assert "Premium-innhold" in await sam.see("staff-purchase")
            await sam.click("staff-purchase-open")
            await picture(sam, "staff-purchases-nb", checked=True)
        server.books_are_clean()
