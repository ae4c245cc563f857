"""From the home page into a room and back within one document: nothing is left behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.e2e.harness import Person
from tests.e2e.people import EXPERT, Stage, in_private, quiet, stage

PICTURE = f'[data-expert="{EXPERT}"] [data-testid="live-picture"]'
DECODED = "(picture) => (document.querySelector(picture)?.naturalWidth ?? 0) > 100"
CARD = f'[data-testid="expert-card"][data-expert="{EXPERT}"]'
FORWARDED = "parlour_media_packets_forwarded_total"
SETTLED_S = 3
"""For a decision, far below the grace of a lost connection."""


async def test_rooms_come_and_go_within_one_document(tmp_path: Path) -> None:
    """A guest goes to and fro, and sees on a card what is free; a member is kept in a session."""
    async with stage(tmp_path) as scene:
        guest = await scene.newcomer()
        await scene.member.click("close-room")  # from now on only the guest is served
        await home_room_and_back(scene, guest)
        await the_card_shows_the_stream(guest)
        await a_session_is_not_left_by_a_slip_of_the_finger(scene, guest)


async def home_room_and_back(scene: Stage, guest: Person) -> None:
    """Card, Back, Forward, Close: pictures in the room, none outside, one socket for all."""
    page = guest.page
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
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


async def the_card_shows_the_stream(guest: Person) -> None:
    """What a free stream looks like."""
    await guest.page.wait_for_function(DECODED, arg=PICTURE, timeout=10_000)
    shots = os.environ.get("PARLOUR_SHOTS")
    for width in (390, 1280) if shots else ():
        await guest.page.set_viewport_size({"width": width, "height": 800})
        await guest.page.screenshot(path=f"{shots}/thumbnail-{width}.png")


async def nothing_of_it_is_shown(scene: Stage, guest: Person) -> None:
    """Neither on the card nor to whoever asks for it."""
    await guest.page.wait_for_selector(PICTURE, state="detached")
    path = f"{scene.server.url}/api/v1/experts/{EXPERT}/thumbnail"
    reply = await guest.page.request.get(path)
    assert (reply.status, (await reply.json())["code"]) == (404, "no_thumbnail")


async def a_session_is_not_left_by_a_slip_of_the_finger(scene: Stage, guest: Person) -> None:
    """Back in a private session asks first; who stays keeps the session and the address."""
    page = scene.member.page
    await scene.member.open("/")
    await page.click(CARD)
    await page.wait_for_url(f"**/room/{EXPERT}")
    await scene.begin_private()
    await nothing_of_it_is_shown(scene, guest)

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
