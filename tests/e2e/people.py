"""What people do, step by step, through the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser

from tests.e2e.harness import (
    CHROMIUM,
    STEP_WAIT_MS,
    Person,
    Server,
    chromium,
    person,
    running_server,
)
from tests.e2e.netns import ADDRESS, Namespace

EXPERT = "luna"
MEMBER = "mia"


async def go_live(expert: Person, name: str = EXPERT) -> None:
    """The expert signs in, chooses the browser's camera and goes on air."""
    await expert.sign_in(name)
    await expert.open("/studio")
    await expert.click("go-live")
    await expert.see("on-air")


async def enter_room(visitor: Person, name: str = EXPERT, *, watching: bool = True) -> None:
    """Into the room; with `watching`, until pictures move."""
    await visitor.open(f"/room/{name}")
    await visitor.see("room")
    if watching:
        await visitor.decodes("video", 5)


async def ask_private(
    member: Person, *, cam2cam: bool = False, two_way_audio: bool = False
) -> None:
    """The member confirms the dialog; it rings."""
    await member.click("start-private")
    if cam2cam:
        await member.click("start-cam2cam")
    if two_way_audio:
        await member.click("start-two-way-audio")
    await member.click("confirm-private")


async def accept(expert: Person) -> None:
    """The expert takes the request."""
    await expert.click("accept")


async def in_private(member: Person, timeout_ms: int = STEP_WAIT_MS) -> None:
    """Wait until the session is active for the member."""
    await member.page.wait_for_selector(
        '[data-testid="room"][data-phase="active"]', timeout=timeout_ms
    )


async def phase(member: Person, name: str, timeout_ms: int = STEP_WAIT_MS) -> None:
    """Wait for a phase of the session."""
    await member.page.wait_for_selector(
        f'[data-testid="room"][data-phase="{name}"]', timeout=timeout_ms
    )


async def units(visitor: Person, testid: str) -> int:
    """The server's number behind what is shown."""
    shown = await visitor.page.wait_for_selector(visitor.by(testid), timeout=STEP_WAIT_MS)
    assert shown is not None
    value = await shown.get_attribute("data-units")
    assert value is not None, f"{testid} carries no units"
    return int(value)


async def held_ms_reaches(member: Person, ms: int, within_s: float) -> None:
    """Wait until the HUD's held time is that long."""
    await member.page.wait_for_function(
        """(ms) => Number(document.querySelector('[data-testid="hud-timer"]')?.dataset.ms ?? 0)
            >= ms""",
        arg=ms,
        timeout=within_s * 1000,
    )


async def summary(visitor: Person, timeout_ms: int = STEP_WAIT_MS) -> str:
    """Wait for the summary; the reason it gives."""
    shown = await visitor.page.wait_for_selector(visitor.by("summary-reason"), timeout=timeout_ms)
    assert shown is not None
    return str(await shown.get_attribute("data-reason"))


def charged_units(server: Server) -> int:
    """What the ledger says that the latest session cost."""
    rows = server.sql("select charged_units from meter_sessions order by opened_at_ms desc limit 1")
    return int(str(rows[0][0]))


@dataclass
class Stage:
    """A server with one expert on air and a member in the room."""

    server: Server
    browser: Browser
    expert: Person
    member: Person
    stack: AsyncExitStack

    async def newcomer(self) -> Person:
        """One more visitor, nobody yet."""
        return await self.stack.enter_async_context(person(self.browser, self.server))

    async def begin_private(self, *, cam2cam: bool = False, two_way_audio: bool = False) -> None:
        """The member asks, the expert accepts; until the session is active."""
        await ask_private(self.member, cam2cam=cam2cam, two_way_audio=two_way_audio)
        await accept(self.expert)
        await in_private(self.member)

    async def end_private(self) -> int:
        """The member ends the session; what it cost, the same on screen as in clean books."""
        await self.member.click("end-session")
        assert await summary(self.member) == "member_left"
        total = await units(self.member, "summary-total")
        assert total == charged_units(self.server) > 0
        self.server.books_are_clean()
        return total


@asynccontextmanager
async def stage(
    data: Path,
    *arguments: str,
    member_credits: str = "20",
    expert_options: tuple[str, ...] = ("--cam2cam", "--two-way-audio"),
    net: Namespace | None = None,
    address: str = ADDRESS,
    expert_script: str = "",
) -> AsyncIterator[Stage]:
    """The scene that most tests begin with: luna on air by webcam, mia watching.

    With `net` server and browser are inside that namespace, and media has `address` there.
    """

    def cast(server: Server) -> None:
        server.expert(EXPERT, *expert_options)
        server.member(MEMBER, member_credits)

    async with AsyncExitStack() as stack:
        if net is None:
            serving, browsing = running_server(data, *arguments, before=cast), chromium()
        else:
            serving = running_server(
                data, *arguments, media=f"{address}:0", prefix=net.prefix, before=cast
            )
            browsing = chromium(program=net.wrap(CHROMIUM))
        server = await stack.enter_async_context(serving)
        browser = await stack.enter_async_context(browsing)
        yield await on_stage(server, browser, stack, expert_script)


async def on_stage(
    server: Server, browser: Browser, stack: AsyncExitStack, expert_script: str = ""
) -> Stage:
    """The expert of this server goes on air and its member watches, in this browser."""
    expert = await stack.enter_async_context(person(browser, server))
    member = await stack.enter_async_context(person(browser, server))
    if expert_script:
        await expert.page.add_init_script(expert_script)
    await go_live(expert)
    await member.sign_in(MEMBER)
    await enter_room(member)
    return Stage(server, browser, expert, member, stack)


async def quiet(seconds: float) -> None:
    """Let real time pass: end-to-end only, where packets have to flow or not to flow."""
    await asyncio.sleep(seconds)
