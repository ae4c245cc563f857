"""Twenty private sessions with drops: the seconds that browsers received are the seconds charged.

Both ends count packets, and neither asks the other. The browsers' side is `receiver.js`: frames
timed as they arrive, held while the next one comes within 1.5 s. So that both ends mean the same
packets, the expert's camera rests while a session begins and before somebody ends it, which happens
in the middle of a second: there a packet's way of some milliseconds decides nothing. What the meter
ends has a whole last second, whose last packet came up to 250 ms before the cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import ViewportSize

from tests.e2e.harness import (
    CHROMIUM,
    STEP_WAIT_MS,
    Person,
    Server,
    chromium,
    person,
    running_server,
)
from tests.e2e.netns import ADDRESS, Namespace, namespace
from tests.e2e.people import in_private, phase, summary

# Eight pages that send and decode need both cores, or what begins a session comes too late.
pytestmark = pytest.mark.alone

PRICES = ("--price", "0.99", "--cam2cam-price", "30", "--two-way-audio-price", "0.50")
CREDITS = "100"
RECEIVER = Path(__file__).parent / "receiver.js"
VIEW = ViewportSize(width=1024, height=640)
MIDDLE_MS = 300
"""Into a second: the click takes some milliseconds more to reach the server."""
QUIET_S = 0.3
"""After this nothing of a camera that rests is on its way any more."""
HOLD_WINDOW_MS = 1_500
CUT_GAP_MS = 250
"""A last second is whole when packets came until so shortly before the cut (docs/MONEY.md)."""
TOLD_MS = 1_000
"""After the cut a page is told of it, even by a busy machine."""
SESSIONS = 20


class Cuts:
    """Pages whose network is gone; lanes cut and heal side by side.

    Media over TCP is refused from the start, or a page without UDP would only change over to it.
    """

    def __init__(self, net: Namespace, media_port: int) -> None:
        self._net, self._media_port = net, media_port
        self._ports: set[int] = set()
        self._write()

    def _write(self) -> None:
        gone = ", ".join(map(str, self._ports))
        self._net.nft(
            "table inet impaired {",
            "  chain input { type filter hook input priority 0; policy accept;",
            f"    tcp dport {self._media_port} reject with tcp reset",
            *(
                [f"    udp dport {{ {gone} }} drop", f"    udp sport {{ {gone} }} drop"]
                * bool(gone)
            ),
            "  }",
            "}",
        )

    @asynccontextmanager
    async def off(self, who: Person) -> AsyncIterator[None]:
        """Nobody hears this page's media, and it hears none."""
        port = int(await who.page.evaluate("receiver.port()"))
        self._ports.add(port)
        self._write()
        try:
            yield
        finally:
            self._ports.discard(port)
            self._write()


@dataclass(frozen=True)
class Span:
    """Frames closer than the window: when the first and the last one came."""

    start_ms: float
    end_ms: float


@dataclass
class Scene:
    """One session as the test knows it. No frame but its own came between these instants."""

    session: str
    what: str
    from_ms: float
    until_ms: float = float("inf")


@dataclass
class Lane:
    """An expert and a member, who have one session after the other."""

    server: Server
    cuts: Cuts
    expert: Person
    member: Person
    names: tuple[str, str]
    scenes: list[Scene] = field(default_factory=list)

    async def go_on_air(self) -> None:
        """Both sign in; the expert is on air, and the member sees it."""
        for side, name, path in zip(
            (self.expert, self.member),
            self.names,
            ("/studio", f"/room/{self.names[0]}"),
            strict=True,
        ):
            await side.sign_in(name)
            if side is self.member:
                await self.expert.see("on-air")
            await side.open(path)
            if side is self.expert:
                await self.press(side, "go-live")
        await self.member.decodes("video", 3)

    async def begin(self, what: str, *, limit: str = "", wanted: Sequence[str] = ()) -> None:
        """The member asks, the expert accepts, and sends when the session is open."""
        await self.press(self.member, "start-private")
        for component in wanted:
            await self.press(self.member, f"start-{component}")
        if limit:
            await self.member.page.fill(self.member.by("spend-limit"), limit)
        await self.press(self.member, "confirm-private")
        await self.expert.see("accept")
        await self.expert.page.evaluate("receiver.rest()")
        await asyncio.sleep(QUIET_S)
        await self.press(self.expert, "accept")
        session = await self.opened()
        from_ms = float(await self.expert.page.evaluate("receiver.wake()"))
        self.scenes.append(Scene(session, what, from_ms))
        await in_private(self.member)

    async def opened(self) -> str:
        """The id of the session that this member has open, as soon as it is paid for."""
        query = (
            "select session_id from meter_sessions join accounts on account_id = member_id"
            f" where state = 'open' and username = '{self.names[1]}'"
        )
        while not (rows := self.server.sql(query)):
            await asyncio.sleep(0.01)
        return str(rows[0][0])

    async def held(self, seconds: int, kind: str = "any", into_ms: int = MIDDLE_MS) -> None:
        """Wait for that much of the expert's stream, or of one kind of the member's."""
        side = self.member if kind == "any" else self.expert
        wanted_ms = seconds * 1_000 + into_ms
        await side.page.evaluate(f"receiver.held('{kind}', {self.scenes[-1].from_ms}, {wanted_ms})")

    async def press(self, side: Person, testid: str) -> None:
        """A click as soon as it is possible, and without a look where the mouse would be."""
        selector = f"{side.by(testid)}:not([disabled])"
        await side.page.wait_for_selector(selector, timeout=STEP_WAIT_MS)
        await side.page.evaluate(f"document.querySelector('{selector}').click()")

    async def end(self, seconds: int, *, who: Person | None = None) -> None:
        """One of the two ends it in the middle of a second."""
        ending = who or self.member
        await self.held(seconds)
        await self.expert.page.evaluate("receiver.rest()")
        await asyncio.sleep(QUIET_S)
        await self.press(ending, "end-session")
        await self.over("member_left" if ending is self.member else "expert_left")
        self.scenes[-1].until_ms = float(await self.expert.page.evaluate("receiver.wake()"))

    async def over(self, reason: str) -> None:
        """Both are told why it ended, and look at the room again."""
        assert await summary(self.member) == reason
        for side in (self.member, self.expert):
            await self.press(side, "summary-close")


# --- what happens in the sessions ------------------------------------------------------------


async def nothing(lane: Lane) -> None:
    await lane.begin("nothing")
    await lane.end(2)


async def expert_ends(lane: Lane) -> None:
    await lane.begin("the expert ends")
    await lane.end(2, who=lane.expert)


async def sockets_drop(lane: Lane) -> None:
    await lane.begin("both sockets drop")
    await lane.held(1)
    for side in (lane.member, lane.expert):
        await side.page.evaluate("receiver.dropSockets()")
    await lane.end(3)


async def network_gone(lane: Lane) -> None:
    await lane.begin("the expert's network is gone and comes back")
    await lane.held(1)
    async with lane.cuts.off(lane.expert):
        await phase(lane.member, "paused")
    await lane.end(2)


async def short_drop(lane: Lane) -> None:
    await lane.begin("half a second of the network is missing")
    await lane.held(1)
    async with lane.cuts.off(lane.expert):
        await asyncio.sleep(0.5)
    await lane.end(2)


async def pause(lane: Lane) -> None:
    await lane.begin("the expert sends nothing for a while")
    await lane.held(1)
    await lane.expert.page.evaluate("receiver.rest()")
    await phase(lane.member, "paused")
    await lane.expert.page.evaluate("receiver.wake()")
    await lane.end(2)


async def camera_switched(lane: Lane) -> None:
    await lane.begin("Cam2Cam on and off, and two-way audio", wanted=["two-way-audio"])
    await lane.held(1)
    await lane.press(lane.member, "cam-switch")
    await lane.press(lane.member, "confirm-switch")
    await lane.held(1, "video")
    await lane.press(lane.member, "cam-switch")
    await lane.held(2, "audio")
    await lane.press(lane.member, "mic-switch")
    await lane.end(3)


async def microphone_switched(lane: Lane) -> None:
    await lane.begin("two-way audio off and on, and Cam2Cam", wanted=["cam2cam", "two-way-audio"])
    await lane.held(1, "audio")
    await lane.press(lane.member, "mic-switch")
    await lane.held(3, "video")  # longer than the window: two intervals of sound
    await lane.press(lane.member, "cam-switch")
    await lane.press(lane.member, "mic-switch")
    await lane.held(2, "audio")
    await lane.press(lane.member, "mic-switch")
    await lane.end(4)


async def limit_reached(lane: Lane) -> None:
    await lane.begin("the member's limit for a session", limit="0,07")
    await lane.over("limit_session")


async def balance_ends(lane: Lane) -> None:
    await lane.begin("the balance ends")
    await lane.held(1, into_ms=0)  # the camera takes a third of a second or two to open
    await lane.press(lane.member, "cam-switch")
    await lane.press(lane.member, "confirm-switch")
    await lane.over("balance_empty")


async def member_reloads(lane: Lane) -> None:
    await lane.begin("the member loads the page anew")
    await lane.held(1)
    await lane.member.page.reload()
    await lane.member.see("end-session")
    await lane.end(3)


async def expert_reloads(lane: Lane) -> None:
    await lane.begin("the expert loads the page anew")
    await lane.held(1)
    await lane.expert.page.reload()
    await lane.end(3)


Plot = Callable[[Lane], Awaitable[None]]
LANES: tuple[tuple[Plot, ...], ...] = (
    (nothing, sockets_drop, network_gone, camera_switched, expert_ends),
    (network_gone, limit_reached, microphone_switched, pause, short_drop),
    (member_reloads, nothing, network_gone, expert_reloads, limit_reached),
    (pause, sockets_drop, nothing, expert_ends, balance_ends),
)
POOR = "3.5"
"""The last lane's credits: more than a minute, less than seven seconds with Cam2Cam."""


# --- the proof -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bill:
    """What the books say of a session."""

    seconds: tuple[int, int, int]
    """Private, Cam2Cam, two-way audio."""
    units: int
    held_ms: tuple[int, int, int]
    reason: str

    @property
    def cut(self) -> bool:
        """Ended by the meter, in the instant in which a second began that could not be paid."""
        return self.reason in ("balance_empty", "limit_session")


def spans(frames: list[tuple[int, str, float, bool]], scene: Scene, kind: str) -> list[Span]:
    """When a connection had frames of the session."""
    found: dict[int, list[Span]] = {}
    for link, of, at_ms, _ in frames:
        if not scene.from_ms <= at_ms < scene.until_ms or kind not in ("any", of):
            continue
        mine = found.setdefault(link, [])
        if mine and at_ms - mine[-1].end_ms <= HOLD_WINDOW_MS:
            mine[-1] = Span(mine[-1].start_ms, at_ms)
        else:
            mine.append(Span(at_ms, at_ms))
    return [span for mine in found.values() for span in mine]


def common_ms(some: list[Span], others: list[Span]) -> float:
    """How long both were held at the same time."""
    return sum(
        max(0.0, min(a.end_ms, b.end_ms) - max(a.start_ms, b.start_ms))
        for a in some
        for b in others
    )


def whole_s(held_ms: Sequence[float], gap_ms: float) -> tuple[int, ...]:
    """Whole seconds of each component, with a cut at most `gap_ms` after the last packet.

    A cut comes when the next second of one of them would begin; up to there all that flow are held.
    """
    missing_ms = min((-ms % 1_000 for ms in held_ms if ms), default=0.0)
    more_ms = missing_ms if missing_ms <= gap_ms else 0.0
    return tuple(int(round(ms + more_ms * bool(ms), 3)) // 1_000 for ms in held_ms)


def bills(server: Server) -> dict[str, Bill]:
    """By session; only of closed ones whose debits are in the ledger to the unit."""
    posted = {
        session: units
        for session, units in server.sql(
            "select replace(subject, 'session:', ''), sum(units) from ledger_transfers"
            " where kind = 'session_charge' and outcome = 'posted' group by subject"
        )
    }
    found: dict[str, Bill] = {}
    for session, reason, *numbers in server.sql(
        "select session_id, reason, private_s, cam2cam_s, two_way_audio_s, held_ms,"
        " cam2cam_held_ms, two_way_audio_held_ms, charged_units"
        " from meter_sessions where state = 'closed'"
    ):
        a, b, c, d, e, f, units = (int(str(number)) for number in numbers)
        found[str(session)] = Bill((a, b, c), units, (d, e, f), str(reason))
        assert posted[session] == units
    return found


async def differences(lane: Lane, charged: dict[str, Bill]) -> list[str]:
    """Each session of the lane whose seconds are not those that were received."""
    theirs = await lane.member.page.evaluate("receiver.frames()")
    endings = await lane.member.page.evaluate("receiver.endings()")
    ours = await lane.expert.page.evaluate("receiver.frames()")
    wrong = []
    for scene in lane.scenes:
        bill = charged[scene.session]
        if bill.cut:
            # The room is free again: its picture begins with a keyframe, its sound a bit earlier.
            # (One in the middle of a session is another layer's, on a busy machine.)
            ending_ms = endings[scene.session]
            after_ms = max(scene.from_ms + 1_000, ending_ms - TOLD_MS)
            fresh = (at for _, _, at, key in theirs if key and at > after_ms)
            scene.until_ms = min([*fresh, ending_ms])
        seen = spans(theirs, scene, "any")
        # Who is told of the end so soon was cut by then: by another's second, which had just begun.
        gap_ms = min(CUT_GAP_MS, scene.until_ms - seen[-1].end_ms) if bill.cut else 0.0
        held_ms = [
            common_ms(seen, seen),
            *(common_ms(spans(ours, scene, kind), seen) for kind in ("video", "audio")),
        ]
        received = whole_s(held_ms, gap_ms)
        shown_ms = [round(ms) for ms in held_ms]
        line = f"{scene.what}: {received} s of {shown_ms} ms received, {bill}"
        print(line)
        if received != bill.seconds:
            wrong.append(line)
    return wrong


@asynccontextmanager
async def lanes(folder: Path) -> AsyncIterator[tuple[Server, list[Lane]]]:
    """Pairs in one browser and one namespace."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(namespace(folder))
        server = await stack.enter_async_context(
            running_server(folder / "data", media=f"{ADDRESS}:0", prefix=net.prefix)
        )
        browser = await stack.enter_async_context(chromium(program=net.wrap(CHROMIUM)))
        cuts = Cuts(net, int(server.media.rpartition(":")[2]))
        made = []
        for number, _ in enumerate(LANES):
            names = (f"expert{number}", f"member{number}")
            server.expert(names[0], *PRICES)
            server.member(names[1], POOR if number == len(LANES) - 1 else CREDITS)
            sides = []
            for _ in names:
                side = await stack.enter_async_context(person(browser, server, bypass_csp=True))
                await side.context.add_init_script(path=RECEIVER)
                await side.page.set_viewport_size(VIEW)
                sides.append(side)
            made.append(Lane(server, cuts, sides[0], sides[1], names))
        yield server, made


async def live(lane: Lane, plots: Sequence[Plot]) -> None:
    """A lane's sessions."""
    await lane.go_on_air()
    for happens in plots:
        await happens(lane)


async def test_the_seconds_received_are_the_seconds_charged(tmp_path: Path) -> None:
    """Difference zero, in every component of every session."""
    async with lanes(tmp_path) as (server, made):
        await asyncio.gather(*(live(lane, plots) for lane, plots in zip(made, LANES, strict=True)))
        charged = bills(server)
        wrong = [line for lane in made for line in await differences(lane, charged)]
        assert wrong == []
        assert len(charged) == SESSIONS
        server.books_are_clean()
