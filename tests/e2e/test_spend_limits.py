"""Spend limits as people meet them: set in the wallet, felt in a session, told to both."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.axe import check
from tests.e2e.harness import Person
from tests.e2e.people import (
    accept,
    ask_private,
    charged_units,
    enter_room,
    held_ms_reaches,
    stage,
    summary,
    units,
)
from tests.e2e.pictures import picture, snapshot

PRIVATE = 299


async def set_limit(member: Person, span: str, credits_text: str) -> None:
    await member.click(f"limit-{span}-change")
    await member.page.fill(member.by(f"limit-{span}-input"), credits_text)
    await member.click(f"limit-{span}-save")
    await member.page.wait_for_selector(member.by(f"limit-{span}-input"), state="detached")


async def test_a_session_ends_at_the_limits_that_its_member_set(tmp_path: Path) -> None:
    """A limit for one session, set before; then one for the day, lowered in the middle."""
    async with stage(tmp_path) as scene:
        member = scene.member
        await member.open("/wallet")
        await set_limit(member, "session", "0,25")
        assert await units(member, "limit-session-units") == 1_500
        await enter_room(member)
        await ask_private(member)
        await accept(scene.expert)
        assert await summary(member, 30_000) == "limit_session"
        assert await summary(scene.expert) == "balance_empty"  # whose limit it was is not theirs
        assert "limit that you set" in await member.see("summary-reason")
        assert "credits were used up" in await scene.expert.see("summary-reason")
        assert await units(member, "summary-total") == charged_units(scene.server) == 5 * PRIVATE

        reply = await member.page.context.request.put(
            f"{scene.server.url}/api/v1/wallet/limits/session",
            data={"units": 30_000},
            headers={"Origin": scene.server.url},
        )
        assert reply.status == 200
        await member.open("/wallet")
        await member.see("limit-session-pending")
        assert await units(member, "limit-day-used") == 5 * PRIVATE
        await check(member, "wallet with limits")
        await picture(member, "limits")
        scene.server.books_are_clean()


async def test_lowering_a_limit_ends_a_running_session_and_a_break_starts_none(
    tmp_path: Path,
) -> None:
    """The day's limit falls in the middle; then nothing can be started during a break."""
    async with stage(tmp_path) as scene:
        member = scene.member
        second = await member.page.context.new_page()
        await second.goto(scene.server.url + "/wallet?lang=nb")
        await second.click('[data-testid="limit-day-change"]')
        await second.fill('[data-testid="limit-day-input"]', "0.50")
        await scene.begin_private()
        await held_ms_reaches(member, 2_000, 15)
        await second.click('[data-testid="limit-day-save"]')
        await second.wait_for_selector('[data-testid="limit-day-left"]')
        assert await summary(member, 30_000) == "limit_day"
        assert await summary(scene.expert) == "balance_empty"
        assert await units(member, "summary-total") == 10 * PRIVATE

        await second.select_option('[data-testid="break-days"]', "7")
        await second.click('[data-testid="break-take"]')
        await second.click('[data-testid="break-confirm"]')
        told = await second.wait_for_selector('[data-testid="break-until"]')
        assert told is not None
        assert "pause til" in await told.inner_text()
        await snapshot(second, "limits-nb")
        await enter_room(member)
        await ask_private(member)
        assert "Du har tatt en pause" in await member.see("failure")
        scene.server.books_are_clean()
