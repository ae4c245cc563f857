"""A refund as people meet it: asked for in the wallet, decided by staff, there at once."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.axe import check
from tests.e2e.harness import STEP_WAIT_MS, Person
from tests.e2e.people import held_ms_reaches, stage, units
from tests.e2e.pictures import picture

STAFF, TITLE = "sam", "staff-refunds-title"


async def balance(member: Person, wanted: int) -> None:
    """Wait until the wallet and the header show these units, without loading anything."""
    for testid in ("balance", "balance-chip"):
        selector = f'[data-testid="{testid}"][data-units="{wanted}"]'
        await member.page.wait_for_selector(selector, timeout=STEP_WAIT_MS)


async def test_a_session_is_asked_back_by_keyboard_and_a_part_of_it_given(tmp_path: Path) -> None:
    """Member and staff side by side; then a limit from one tab shows in the other."""
    async with stage(tmp_path) as scene:
        scene.server.member(STAFF, "0")
        member, staff = scene.member, await scene.newcomer()
        await scene.begin_private()
        await held_ms_reaches(member, 3_000, 15)
        charged = await scene.end_private()
        left = 20 * 6_000 - charged

        await member.open("/wallet")
        assert "Private session with luna" in await member.see("tx-title")
        assert "2.99/min" in await member.see("tx-short")
        assert await member.see("refund-left") in ("24 h 0 min left", "23 h 59 min left")
        await member.page.focus(member.by("refund-ask"))
        await member.page.keyboard.press("Enter")
        await member.see("refund-complaint")
        await member.page.focus(member.by("refund-complaint"))
        await member.page.keyboard.type("There was no sound.")
        await check(member, "asking for a refund")
        await member.page.keyboard.press("Tab")
        await member.page.keyboard.press("Tab")
        await member.page.keyboard.press("Enter")
        asked = '[data-testid="refund-state"][data-state="requested"]'
        await member.page.wait_for_selector(asked, timeout=STEP_WAIT_MS)

        await staff.sign_in(STAFF)
        await staff.open("/staff")
        await staff.page.wait_for_selector("h1")
        assert await staff.page.query_selector(staff.by("refund-item")) is None
        scene.server.cli("staff", "add", STAFF)
        await staff.open("/staff")
        assert await staff.see("refund-complaint") == "There was no sound."
        assert await units(staff, "refund-charged") == charged
        assert await staff.page.evaluate("document.activeElement === document.body")
        await picture(staff, "staff-refunds", checked=True)
        await staff.page.fill(staff.by("refund-part"), "0,05")
        await staff.click("refund-part-ask")
        await staff.click("confirm")
        await staff.see("refunds-empty")
        await staff.page.wait_for_function(f"document.activeElement.id === '{TITLE}'")
        approved = '[data-testid="refund-state"][data-state="approved"]'
        await member.page.wait_for_selector(approved, timeout=STEP_WAIT_MS)
        await balance(member, left + 300)
        await check(member, "wallet with a refund")

        second = await member.page.context.new_page()
        await second.goto(scene.server.url + "/wallet?lang=nb")
        await second.click('[data-testid="limit-day-change"]')
        await second.fill('[data-testid="limit-day-input"]', "15")
        await second.click('[data-testid="limit-day-save"]')
        shown = '[data-testid="limit-day-units"][data-units="90000"]'
        await member.page.wait_for_selector(shown, timeout=STEP_WAIT_MS)
        scene.server.books_are_clean()
