"""A paid private session in real browsers: what flows, what does not, and what it costs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.netns import namespace
from tests.e2e.people import (
    EXPERT,
    accept,
    charged_units,
    enter_room,
    held_ms_reaches,
    in_private,
    phase,
    quiet,
    stage,
    summary,
    units,
)

PRIVATE = 299
CAM2CAM = 100
TWO_WAY_AUDIO = 50
TOLERANCE_S = 1


async def test_private_with_camera_and_microphone(tmp_path: Path) -> None:
    """Both see and hear each other, the guest gets nothing, the HUD is the ledger's number."""
    async with stage(tmp_path) as scene:
        guest = await scene.newcomer()
        await enter_room(guest)
        await scene.begin_private(cam2cam=True, two_way_audio=True)

        await guest.gets_nothing(3)
        await scene.member.decodes("video", 20)
        await scene.member.decodes("audio", 50)
        await scene.expert.decodes("video", 20)
        await scene.expert.decodes("audio", 50)
        await held_ms_reaches(scene.member, 6_000, 20)
        await guest.gets_nothing(1)

        total = await scene.end_private()
        await summary(scene.expert)
        assert total > 6 * PRIVATE
        assert await units(scene.member, "summary-balance") == 20 * 6_000 - total
        await guest.decodes("video", 10)  # and the free room has its pictures back


async def test_the_hud_is_the_ledger_and_switches_are_charged_while_they_are_on(
    tmp_path: Path,
) -> None:
    """Cost and balance on screen add up to the unit to what the member had. Then Cam2Cam on in the
    middle and off again: its seconds are fewer than the session's.
    """
    async with stage(tmp_path) as scene:
        await scene.begin_private()
        await held_ms_reaches(scene.member, 4_000, 15)
        cost, balance = await scene.member.page.evaluate(
            """() => ["hud-cost", "hud-balance"].map((id) => Number(
                document.querySelector(`[data-testid="${id}"]`).dataset.units))"""
        )
        assert cost % PRIVATE == 0
        assert cost + balance == 20 * 6_000

        await scene.member.click("cam-switch")
        await scene.member.click("confirm-switch")
        await scene.expert.decodes("video", 30)
        await quiet(2)
        await scene.member.click("cam-switch")
        await scene.expert.falls_silent(1.5, within_s=5)

        await scene.expert.click("end-session")
        assert await summary(scene.member) == "expert_left"
        total = await units(scene.member, "summary-total")
        assert total == charged_units(scene.server)
        scene.server.books_are_clean()
        [[private_s, cam_s, cam_rate]] = scene.server.sql(
            "select private_s, cam2cam_s, cam2cam_units_per_s from meter_sessions"
        )
        assert cam_rate == CAM2CAM
        assert 1 <= int(str(cam_s)) < int(str(private_s))
        assert total == int(str(private_s)) * PRIVATE + int(str(cam_s)) * CAM2CAM


async def test_an_empty_balance_stops_the_media(tmp_path: Path) -> None:
    """Five credits are good for a minute and a half, and for five seconds with this Cam2Cam.

    The expert takes no sound from members: the switch for it is off or not there.
    """
    dear = 6_000
    prices = ("--cam2cam-price", "60", "--no-two-way-audio")
    async with stage(tmp_path, member_credits="5", expert_options=prices) as scene:
        await scene.member.click("start-private")
        audio = scene.member.page.locator(scene.member.by("start-two-way-audio"))
        if await audio.count():
            assert await audio.is_disabled()
        assert EXPERT in scene.member.page.url
        await scene.member.click("confirm-private")
        await accept(scene.expert)
        await in_private(scene.member)
        await held_ms_reaches(scene.member, 1_000, 15)
        await scene.member.click("cam-switch")
        await scene.member.click("confirm-switch")
        await scene.member.see("low-balance", 30_000)
        assert await summary(scene.member, 30_000) == "balance_empty"
        total = await units(scene.member, "summary-total")

        [[private_s, cam_s, charged]] = scene.server.sql(
            "select private_s, cam2cam_s, charged_units from meter_sessions"
        )
        assert total == charged == int(str(private_s)) * PRIVATE + int(str(cam_s)) * dear
        left = await units(scene.member, "summary-balance")
        assert left == 5 * 6_000 - total
        begun = dear  # a second of Cam2Cam that is not over is set aside, and is not charged
        assert 0 <= left < begun + dear + PRIVATE, "not another second of both"
        scene.server.books_are_clean()


async def test_two_members_race_for_one_expert(tmp_path: Path) -> None:
    """One rings; the other is told that the expert is busy."""
    async with stage(tmp_path) as scene:
        scene.server.member("noa", "20")
        rival = await scene.newcomer()
        await rival.sign_in("noa")
        await enter_room(rival)
        for visitor in (scene.member, rival):
            await visitor.click("start-private")
            await visitor.see("confirm-private")
        await asyncio.gather(scene.member.click("confirm-private"), rival.click("confirm-private"))
        await scene.expert.see("accept")

        phases = [
            await visitor.page.get_attribute(visitor.by("room"), "data-phase")
            for visitor in (scene.member, rival)
        ]
        assert sorted(phases, key=str) == ["none", "ringing"]
        await accept(scene.expert)
        winner = scene.member if phases[0] == "ringing" else rival
        await in_private(winner)
        sessions = scene.server.sql("select count(*) from meter_sessions where state = 'open'")
        assert sessions == [(1,)]


async def test_the_server_is_killed_in_the_middle(tmp_path: Path) -> None:
    """After kill -9 and a restart: settled to the last durable second, the hold is back."""
    async with stage(tmp_path) as scene:
        await scene.begin_private()
        await held_ms_reaches(scene.member, 5_000, 20)
        shown = await units(scene.member, "hud-cost")
        await scene.server.kill()
        await scene.server.start()

        charged = charged_units(scene.server)
        assert shown <= charged <= shown + 2 * PRIVATE, "never a second too much"
        assert charged % PRIVATE == 0
        scene.server.books_are_clean()
        held = scene.server.sql("select count(*) from meter_sessions where state = 'open'")
        assert held == [(0,)]


async def test_a_cut_is_not_billed_and_after_thirty_seconds_it_ends_the_session(
    tmp_path: Path,
) -> None:
    """The packets are dropped for 5 s: both are told, nothing is charged, the session goes on. Then
    they are dropped for good: after 30 s of grace it ends as `media_lost`, charged to the last
    packet only.
    """
    async with (
        namespace(tmp_path) as net,
        stage(tmp_path / "data", net=net) as scene,
    ):
        await scene.begin_private()
        await held_ms_reaches(scene.member, 4_000, 15)
        began = asyncio.get_running_loop().time()
        before = await units(scene.member, "hud-cost")
        net.cut(scene.server.media_port)
        await phase(scene.member, "paused", 6_000)
        await scene.member.see("paused")
        await quiet(max(0.0, 5 - (asyncio.get_running_loop().time() - began)))
        net.heal()
        await phase(scene.member, "active", 15_000)
        await held_ms_reaches(scene.member, 8_000, 15)
        gap_s = 5
        after = await units(scene.member, "hud-cost")
        wall_s = asyncio.get_running_loop().time() - began
        assert (after - before) // PRIVATE <= wall_s - gap_s + TOLERANCE_S

        before = await units(scene.member, "hud-cost")
        net.cut(scene.server.media_port)
        assert await summary(scene.member, 45_000) == "media_lost"
        net.heal()
        total = await units(scene.member, "summary-total")
        assert total <= before + (1 + TOLERANCE_S) * PRIVATE
        assert total == charged_units(scene.server) > 0
        scene.server.books_are_clean()
