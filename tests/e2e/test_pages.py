"""The pages as a visitor finds them: accessible, operable by keyboard, narrow, and able to sell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.axe import WINDOW_HEIGHT, axe_findings, check
from tests.e2e.harness import PASSWORD, Person, Server, chromium, person, running_server
from tests.e2e.people import accept, ask_private, go_live, in_private, units

EXPERT = "luna"
MEMBER = "mia"
WALKS = (("en", 320, (320, 1280)), ("nb", 390, (390,)))
"""In which language, by how wide a window, and at which widths each page is looked at: a telephone,
the narrowest one, and a wide window, which all other tests are walked in.
"""
KNOWN_WAIT_S = 20


@dataclass
class House:
    """A server with one expert off air and one member, and a browser to look at it with."""

    server: Server
    browser: Browser


def cast(server: Server) -> None:
    server.expert(EXPERT)
    server.member(MEMBER, "12.40")


@pytest_asyncio.fixture(loop_scope="session")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with (
        running_server(tmp_path / "data", before=cast) as server,
        chromium() as browser,
    ):
        yield House(server, browser)


async def experts_known(house: House, count: int) -> None:
    """Wait until the server has read the profiles that the command line added."""
    async with person(house.browser, house.server) as guest, asyncio.timeout(KNOWN_WAIT_S):
        while True:
            reply = await guest.context.request.get(house.server.url + "/api/v1/experts")
            if len((await reply.json())["experts"]) >= count:
                return
            await asyncio.sleep(0.2)


@asynccontextmanager
async def visit(house: House, width: int, lang: str = "en") -> AsyncIterator[Person]:
    """A visitor with a window of that width. Still pages, so that colours are final."""
    async with person(house.browser, house.server, reduced_motion="reduce", locale=lang) as visitor:
        await visitor.page.set_viewport_size({"width": width, "height": WINDOW_HEIGHT})
        yield visitor


async def test_axe_would_find_a_fault(house: House) -> None:
    async with visit(house, 1280) as guest:
        await guest.open("/sign-in")
        await guest.see("submit")
        await guest.page.evaluate(
            "document.querySelector('[data-testid=\"username\"]').labels[0].remove()"
        )
        assert any("label" in finding for finding in await axe_findings(guest.page))


async def look_at_pages_of_a_guest(guest: Person, widths: Sequence[int]) -> None:
    """Every page and state that a guest comes by."""
    await guest.open("/")
    await guest.see("expert-card")
    await check(guest, "home", *widths)
    await guest.click("menu")
    await check(guest, "home with its menu", *widths)
    await guest.open("/sign-up")
    await guest.click("submit")
    await guest.see("username-error")
    await check(guest, "sign-up with faults", *widths)
    await guest.open("/sign-in")
    await guest.page.fill(guest.by("username"), "nobody")
    await guest.page.fill(guest.by("password"), "not the password")
    await guest.click("submit")
    await guest.see("form-problem")
    await check(guest, "sign-in refused", *widths)
    await guest.open("/help/camera")
    await guest.click("device-test")
    await guest.see("device-result")
    await check(guest, "help", *widths)
    await guest.open("/wallet")
    await guest.page.wait_for_selector("h1")
    await check(guest, "wallet of a guest", *widths)
    await guest.open("/room/nobody-has-this-name")
    await guest.page.wait_for_selector("h1")
    await check(guest, "not found", *widths)


async def test_pages_of_a_guest(house: House) -> None:
    """In a wide window, on a telephone, and on the narrowest one."""
    for lang, width, widths in WALKS:
        async with visit(house, width, lang) as guest:
            await look_at_pages_of_a_guest(guest, widths)


async def look_at_pages_of_a_member(member: Person, widths: Sequence[int]) -> None:
    """Every page and state that a member comes by."""
    await member.sign_in_on_the_page(MEMBER)
    await member.open("/wallet")
    await member.see("transactions")
    await check(member, "wallet, method", *widths)
    await member.click("purchase-next")
    await member.see("package-credits-27")
    await check(member, "wallet, package", *widths)
    await member.click("purchase-next")
    await member.click("card-tok_declined")
    await member.click("pay")
    await member.see("payment-problem")
    await check(member, "wallet, declined", *widths)
    await member.click("card-tok_ok")
    await member.click("pay")
    await member.see("receipt")
    await check(member, "wallet, receipt", *widths)


async def test_pages_of_a_member(house: House) -> None:
    """In a wide window, on a telephone, and on the narrowest one."""
    for lang, width, widths in WALKS:
        async with visit(house, width, lang) as member:
            await look_at_pages_of_a_member(member, widths)


async def look_at_pages_of_an_expert(expert: Person, widths: Sequence[int]) -> None:
    """The studio before going on air and on air; the wallet that an expert does not have."""
    await expert.sign_in_on_the_page(EXPERT)
    await expert.open("/studio")
    await expert.see("go-live")
    await check(expert, "studio", *widths)
    await expert.click("go-live")
    await expert.see("on-air")
    await check(expert, "studio on air", *widths)
    await expert.click("go-offline")
    await expert.see("go-live")
    await expert.open("/wallet")
    await expert.page.wait_for_selector("h1")
    await check(expert, "wallet of an expert", *widths)


async def test_pages_of_an_expert(house: House) -> None:
    for lang, width, widths in WALKS:
        async with visit(house, width, lang) as expert:
            await look_at_pages_of_an_expert(expert, widths)


async def test_the_room(house: House) -> None:
    """The room as a member finds it: off air, live, and with the dialog that names the price."""
    widths = (320, 390, 1280)
    async with visit(house, 320) as member:
        await member.sign_in(MEMBER)
        await member.open(f"/room/{EXPERT}")
        await member.see("room")
        await check(member, "room off air", *widths)
        async with visit(house, 1280) as expert:
            await go_live(expert)
            await member.decodes("video", 5)
            await check(member, "room", *widths)
            await member.click("start-private")
            await member.see("confirm-private")
            await check(member, "start of a private session", *widths)
            await expert.click("go-offline")


async def test_buying_credits(house: House) -> None:
    """I1, I2, A6: three steps, the balance is there at once, and the first purchase is Premium."""
    async with visit(house, 1280) as newcomer:
        await newcomer.open("/sign-up")
        await newcomer.click("plan-premium")
        await newcomer.page.fill(newcomer.by("username"), "nora")
        await newcomer.page.fill(newcomer.by("email"), "nora@example.org")
        await newcomer.page.fill(newcomer.by("password"), PASSWORD)
        await newcomer.click("submit")
        await newcomer.page.wait_for_url("**/wallet*")
        assert await newcomer.see("balance-chip") == "0.00 credits"
        await newcomer.click("purchase-next")
        chosen = newcomer.page.locator('[name="package"]:checked')
        assert await chosen.get_attribute("value") == "credits-27"
        await newcomer.click("purchase-next")
        await newcomer.click("pay")
        await newcomer.see("receipt")
        await newcomer.page.wait_for_selector('[data-testid="balance-chip"][data-units="167940"]')
        assert await newcomer.see("balance-chip") == "27.99 credits"
        await newcomer.click("account-menu")
        assert "Premium" in await newcomer.page.inner_text("#site-menu")
        rows = newcomer.page.locator('[data-testid="transaction"][data-units="167940"]')
        await rows.first.wait_for()
        assert await rows.count() == 1


async def test_a_slow_payment_arrives_by_itself(house: House) -> None:
    async with visit(house, 1280) as member:
        await member.sign_in(MEMBER)
        await member.open("/wallet")
        await member.click("purchase-next")
        await member.click("purchase-next")
        await member.click("card-tok_slow")
        await member.click("pay")
        await member.see("payment-pending")
        await member.see("receipt", timeout_ms=30_000)
        assert await member.see("balance-chip") == "40.39 credits"


async def test_auto_reload_stands_in_menu_and_wallet_alike(house: House) -> None:
    async with visit(house, 1280) as member:
        await member.sign_in(MEMBER)
        await member.open("/wallet")
        await member.see("reload-state")
        box = member.page.locator('[data-testid="auto-reload"] [role="switch"]')
        assert await box.get_attribute("aria-checked") == "false"
        await member.click("account-menu")
        await member.page.click('#site-menu [role="switch"]')
        await member.page.wait_for_selector(
            '[data-testid="auto-reload"] [role="switch"][aria-checked="true"]'
        )
        await member.page.select_option("#reload-cap", "2")
        await member.see("toast")
        await member.page.reload()
        await member.see("reload-state")
        await member.page.wait_for_selector(
            '[data-testid="auto-reload"] [role="switch"][aria-checked="true"]'
        )
        assert await member.page.input_value("#reload-cap") == "2"


async def test_home_by_keyboard(house: House) -> None:
    """Skip link, menu with Escape, a filter, then into the room: no pointer at all."""
    async with visit(house, 1280) as guest:
        page = guest.page
        await guest.open("/")
        await guest.see("expert-card")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip-link"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.focus(guest.by("menu"))
        await page.keyboard.press("Enter")
        await guest.see("language-nb")
        await page.keyboard.press("Escape")
        assert await page.evaluate("document.activeElement.dataset.testid") == "menu"
        assert not await page.is_visible(guest.by("language-nb"))
        for _ in range(40):
            await page.keyboard.press("Tab")
            focused: str = await page.evaluate("document.activeElement.className")
            outline = await page.evaluate(
                "getComputedStyle(document.activeElement.closest('.card') ??"
                " document.activeElement).outlineStyle"
            )
            assert outline == "solid", f"no focus ring on {focused}"
            if focused == "card-link":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/room/{EXPERT}")


async def test_the_overlay_gives_the_focus_back(house: House) -> None:
    async with visit(house, 1280) as member:
        await member.sign_in(MEMBER)
        await member.open(f"/room/{EXPERT}")
        await member.see("room")
        await member.click("get-credits")
        await member.see("topup")
        await member.page.keyboard.press("Escape")
        await member.page.wait_for_selector(member.by("topup"), state="detached")
        focused = await member.page.evaluate("document.activeElement.dataset.testid")
        assert focused == "get-credits"


async def test_language_is_kept(house: House) -> None:
    async with visit(house, 1280) as guest:
        await guest.open("/")
        await guest.click("menu")
        await guest.click("language-nb")
        await guest.page.wait_for_selector('html[lang="nb"]')
        assert await guest.see("sign-in-link") == "Logg inn"
        await guest.open("/sign-up")
        await guest.page.wait_for_selector('html[lang="nb"]')


async def test_home_follows_presence_without_a_reload(house: House) -> None:
    """B1, B2: the dot comes and goes by push; under the pointer the order does not jump."""
    house.server.expert("aurora")
    house.server.expert("zelda")
    await experts_known(house, 3)
    names = (
        "[...document.querySelectorAll('[data-testid=\"expert-card\"]')].map(c => c.dataset.expert)"
    )
    async with visit(house, 1280) as guest, visit(house, 1280) as expert:
        await guest.open("/")
        await guest.see("expert-card")
        await guest.page.evaluate("window.sameDocument = true")
        assert await guest.page.evaluate(names) == ["aurora", EXPERT, "zelda"]
        await guest.page.hover(f'[data-expert="{EXPERT}"]')
        await go_live(expert, "zelda")
        await guest.page.wait_for_selector('[data-expert="zelda"][data-state="live_free"]')
        card = guest.page.locator('[data-expert="zelda"]')
        assert "Live" in await card.inner_text()
        assert await guest.page.evaluate(names) == ["aurora", EXPERT, "zelda"]
        await guest.page.mouse.move(5, 5)
        await guest.page.wait_for_selector('li:first-child > [data-expert="zelda"]')
        await expert.click("go-offline")
        await guest.page.wait_for_selector('[data-expert="zelda"][data-state="offline"]')
        assert "Offline" in await card.inner_text()
        assert await guest.page.evaluate("window.sameDocument")


async def test_home_says_when_the_server_is_gone_and_recovers(house: House) -> None:
    async with visit(house, 1280) as guest:
        await guest.open("/")
        await guest.see("expert-card")
        await house.server.kill()
        await guest.page.wait_for_selector('[data-testid="offline"]:not(:empty)')
        assert await guest.page.locator(guest.by("expert-card")).count() == 1
        await house.server.start()
        await guest.page.wait_for_selector('[data-testid="offline"]:empty', state="attached")


async def test_credits_are_bought_in_the_middle_of_a_session(house: House) -> None:
    """D9: the overlay is over the player; the session goes on and its balance follows at once."""
    async with visit(house, 1280) as expert, visit(house, 1280) as member:
        await go_live(expert)
        await member.sign_in(MEMBER)
        await member.open(f"/room/{EXPERT}")
        await member.see("room")
        await member.decodes("video", 5)
        await ask_private(member)
        await accept(expert)
        await in_private(member)
        await member.click("get-credits")
        await member.click("purchase-next")
        await member.click("purchase-next")
        before = int(
            await member.page.locator(member.by("hud-timer")).get_attribute("data-ms") or 0
        )
        await member.click("pay")
        await member.see("receipt")
        assert await units(member, "balance-chip") > 167_940
        await check(member, "receipt over a running session")
        await member.click("topup-done")
        await member.page.wait_for_selector(member.by("topup"), state="detached")
        await member.decodes("video", 10)
        after = int(await member.page.locator(member.by("hud-timer")).get_attribute("data-ms") or 0)
        assert after > before
        await member.click("end-session")
        await member.see("summary-reason")
        house.server.books_are_clean()


async def test_free_credits_and_receipts(house: House) -> None:
    """I4, I8, I9: a new member validates a card, is Premium at once, and finds a receipt again."""
    async with visit(house, 1280) as newcomer:
        await newcomer.open("/sign-up")
        await newcomer.page.fill(newcomer.by("username"), "frida")
        await newcomer.page.fill(newcomer.by("email"), "frida@example.org")
        await newcomer.page.fill(newcomer.by("password"), PASSWORD)
        await newcomer.click("submit")
        await newcomer.page.wait_for_selector('[data-testid="balance-chip"]')
        await newcomer.open("/wallet")
        await newcomer.click("free-open")
        await newcomer.click("free-tok_expired")
        await newcomer.click("free-claim")
        assert "expired" in await newcomer.see("free-problem")
        await check(newcomer, "free credits, declined")
        await newcomer.click("free-tok_ok")
        await newcomer.click("free-claim")
        await newcomer.page.wait_for_selector('[data-testid="balance-chip"][data-units="59940"]')
        await newcomer.page.wait_for_selector('[data-testid="free-offer"]', state="detached")
        await newcomer.click("purchase-next")
        await newcomer.click("purchase-next")
        await newcomer.click("pay")
        await newcomer.see("receipt")
        await newcomer.click("receipt-open")
        shown = await newcomer.see("receipt-dialog")
        assert "27.99" in shown
        assert "Settled" in shown
        await check(newcomer, "receipt")
