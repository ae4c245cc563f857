"""The connection's quality and its figures in real browsers, on both sides of a private session."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import WebSocket

from tests.e2e.axe import WINDOW_HEIGHT, check
from tests.e2e.harness import STEP_WAIT_MS, Person
from tests.e2e.people import (
    enter_room,
    held_ms_reaches,
    stage,
)

CELL = '[data-connection="{connection}"] [data-of="{of}"] [data-figure="{figure}"] td'


async def cell(person: Person, connection: str, of: str, figure: str) -> str:
    """What stands first in a line of the panel, once it says something."""
    selector = CELL.format(connection=connection, of=of, figure=figure)
    await person.page.wait_for_function(
        "(selector) => !['', '–'].includes(document.querySelector(selector)?.textContent ?? '')",
        arg=selector,
        timeout=STEP_WAIT_MS,
    )
    text = await person.page.text_content(selector)
    assert text is not None
    return text


async def good(person: Person) -> None:
    """The bars say that all is well."""
    await person.page.wait_for_selector(
        person.by("quality") + '[data-level="good"]', timeout=STEP_WAIT_MS
    )


def figures_heard(person: Person) -> list[str]:
    """Every `figures` message that the page gets from now on, over whatever socket."""
    heard: list[str] = []

    def follow(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: note(frame if isinstance(frame, str) else ""))

    def note(frame: str) -> None:
        if '"type":"figures"' in frame:
            heard.append(frame)

    person.page.on("websocket", follow)
    return heard


async def test_connection_details_on_both_sides(tmp_path: Path) -> None:
    """The server's figures agree with what the browser shows, and end when nobody looks."""
    async with stage(tmp_path) as scene:
        member, expert = scene.member, scene.expert
        heard = figures_heard(member)
        await enter_room(member)
        await good(member)
        assert heard == []

        await member.page.keyboard.press("i")
        assert await cell(member, "stream:watch", "server", "codec") == "VP8"
        # Layers change while it is looked at; what the server says is what the player shows.
        await member.page.wait_for_function(
            """(selector) => {
                const { videoWidth, videoHeight } = document.querySelector('video');
                return document.querySelector(selector)?.textContent
                    === `${videoWidth} × ${videoHeight}`;
            }""",
            arg=CELL.format(connection="stream:watch", of="server", figure="size"),
            timeout=STEP_WAIT_MS,
        )
        assert await cell(member, "stream:watch", "browser", "way") == "UDP, direct"
        assert "bit/s" in await cell(member, "stream:watch", "server", "bitrate")
        assert " ms" in await cell(member, "stream:watch", "server", "round_trip")
        packets = await cell(member, "stream:watch", "server", "packets")
        await member.page.wait_for_function(
            "([selector, before]) => document.querySelector(selector).textContent !== before",
            arg=[CELL.format(connection="stream:watch", of="server", figure="packets"), packets],
        )
        await member.page.set_viewport_size({"width": 320, "height": WINDOW_HEIGHT})
        await check(member, "room with connection details")
        await member.page.set_viewport_size({"width": 1280, "height": WINDOW_HEIGHT})
        assert heard

        await member.click("figures-close")
        assert await member.page.evaluate("document.activeElement.dataset.testid") == "quality"
        count = len(heard)
        await member.page.wait_for_timeout(2_500)
        assert len(heard) <= count + 1  # one may have been on its way

        await scene.begin_private(cam2cam=True)
        await held_ms_reaches(member, 2_000, 15)
        await member.click("quality")
        await expert.click("quality")
        for person, connections in (
            (member, ("stream:watch", "private:publish")),
            (expert, ("stream:publish", "private:watch")),
        ):
            for connection in connections:
                assert await cell(person, connection, "server", "codec") == "VP8"
                assert "bit/s" in await cell(person, connection, "server", "bitrate")
                assert int(await cell(person, connection, "browser", "fps")) > 0
            tables = await person.page.locator('[data-testid="figures"]').count()
            assert tables == len(connections), "nobody else's"
            await good(person)
        await check(expert, "studio with connection details")
        await expert.page.keyboard.press("Escape")
        await expert.page.wait_for_selector(expert.by("figures-panel"), state="detached")
