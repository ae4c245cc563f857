"""Networks that let nothing but a TURN server through: publish, watch and pay over a real coturn.

The pages are told to by the server's own setting (`ice.transport_policy = "relay"`), and get their
passwords from `GET /api/v1/ice-servers`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from tests.e2e.bidi import firefox
from tests.e2e.coturn import coturn, relaying_config
from tests.e2e.harness import CHROMIUM, Person, chromium, running_server
from tests.e2e.netns import ADDRESS, namespace
from tests.e2e.people import (
    EXPERT,
    MEMBER,
    accept,
    ask_private,
    charged_units,
    held_ms_reaches,
    in_private,
    on_stage,
    summary,
    units,
)
from tests.e2e.test_firefox import STEP_WAIT_S, go_live, grows

WAYS = """
    const used = [];
    for (const pc of window.parlourDebug.pcs()) {
        const all = await pc.getStats();
        for (const pair of all.values()) {
            if (pair.type !== "candidate-pair" || !pair.nominated || pair.state !== "succeeded")
                continue;
            used.push(all.get(pair.localCandidateId).candidateType);
        }
    }
    return used;
"""
"""The type of the local candidate of every nominated pair of the page's connections."""


async def ways(person: Person) -> set[str]:
    return set(await person.page.evaluate(f"async () => {{{WAYS}}}"))


async def test_chromium_through_a_relay_only(tmp_path: Path) -> None:
    """On air, watched, and Cam2Cam with sound both ways: every packet went through coturn."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(namespace(tmp_path))
        relay = await stack.enter_async_context(coturn(net, tmp_path))
        server = await stack.enter_async_context(
            running_server(
                tmp_path / "data",
                "--config",
                str(relaying_config(tmp_path, "udp")),
                media=f"{ADDRESS}:0",
                prefix=net.prefix,
            )
        )
        server.expert(EXPERT, "--cam2cam", "--two-way-audio")
        server.member(MEMBER, "20")
        browser = await stack.enter_async_context(chromium(program=net.wrap(CHROMIUM)))
        scene = await on_stage(server, browser, stack)
        await ask_private(scene.member, cam2cam=True, two_way_audio=True)
        await accept(scene.expert)
        await in_private(scene.member)
        for visitor in (scene.member, scene.expert):
            await visitor.decodes("video", 20)
            await visitor.decodes("audio", 50)
            assert await ways(visitor) == {"relay"}
        await held_ms_reaches(scene.member, 2_000, 15)
        await scene.member.click("end-session")
        await summary(scene.member)
        assert await units(scene.member, "summary-total") == charged_units(server)
        server.books_are_clean()
        assert relay.said.count("ALLOCATE processed, success") >= 4, "one for each connection"


async def test_firefox_through_a_relay_only(tmp_path: Path) -> None:
    """Over TURN on TCP: on air, and watched by a guest."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(namespace(tmp_path))
        relay = await stack.enter_async_context(coturn(net, tmp_path))
        server = await stack.enter_async_context(
            running_server(
                tmp_path / "data",
                "--config",
                str(relaying_config(tmp_path, "tcp")),
                media=f"{ADDRESS}:0",
                prefix=net.prefix,
            )
        )
        server.expert(EXPERT)
        browser = await stack.enter_async_context(firefox(tmp_path / "profile", net))
        expert = await go_live(browser, server.url)
        guest = await browser.tab()
        await guest.goto(f"{server.url}/room/{EXPERT}")
        await guest.until("!!window.parlourDebug", STEP_WAIT_S)
        await grows(guest, "frames", 10)
        await grows(guest, "audio", 25)
        for tab in (expert, guest):
            assert set(await tab.run(WAYS)) == {"relay"}
        assert relay.said.count("ALLOCATE processed, success") >= 2
