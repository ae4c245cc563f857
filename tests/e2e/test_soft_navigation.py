"""From the home page into a room and back within one document: nothing is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.people import EXPERT, in_private, quiet, stage

CARD = f'[data-testid="expert-card"][data-expert="{EXPERT}"]'
FORWARDED = "parlour_media_packets_forwarded_total"
SETTLED_S = 3
"""For a decision, far below the grace of a lost connection."""


async def test_home_room_and_back_in_one_document(tmp_path: Path) -> None:
    """Card, Back, Forward, Close: pictures in the room, none outside, one socket for all."""
    async with stage(tmp_path) as scene:
        guest = await scene.newcomer()
        page = guest.page
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        await scene.member.click("close-room")  # from now on only the guest is served
        await guest.open("/")
        await page.wait_for_selector(CARD)
        await page.evaluate("window.sameDocument = true")

        await page.click(CARD)
        await page.wait_for_url(f"**/room/{EXPERT}")
        await guest.decodes("video", 5)
        assert await page.title() != "Live experts · Parlour"
        assert await page.evaluate("document.activeElement.id") == "main"

        await page.go_back()
        await page.wait_for_selector(CARD)
        assert await page.title() == "Live experts · Parlour"
        await quiet(0.5)
        after_back = scene.server.metric(FORWARDED)
        await quiet(1)
        assert scene.server.metric(FORWARDED) == after_back, "Back stops media as Close does"
        assert await page.locator("html.in-room").count() == 0

        await page.go_forward()
        await guest.decodes("video", 5)
        await guest.click("close-room")
        await page.wait_for_selector(CARD)
        assert await page.evaluate("window.sameDocument"), "the document was never replaced"
        assert len(sockets) == 1


async def test_a_session_is_not_left_by_a_slip_of_the_finger(tmp_path: Path) -> None:
    """Back in a private session asks first; who stays keeps the session and the address."""
    async with stage(tmp_path) as scene:
        page = scene.member.page
        await scene.member.open("/")
        await page.click(CARD)
        await page.wait_for_url(f"**/room/{EXPERT}")
        await scene.begin_private()

        asked: list[str] = []

        async def stay(dialog: object) -> None:
            asked.append(dialog.type)  # type: ignore[attr-defined]
            await dialog.dismiss()  # type: ignore[attr-defined]

        page.on("dialog", stay)
        await page.evaluate("setTimeout(() => history.back())")
        await quiet(1.5)
        assert asked == ["beforeunload"]
        assert page.url.endswith(f"/room/{EXPERT}")
        await scene.member.decodes("video", 5)
        await in_private(scene.member)

        await scene.member.click("close-room")  # Close is a decision: nobody is asked again
        await page.wait_for_selector(CARD)
        assert asked == ["beforeunload"]
        async with asyncio.timeout(SETTLED_S):
            while scene.server.sql("select state from meter_sessions") == [("open",)]:
                await quiet(0.1)
        scene.server.books_are_clean()
