"""Dead owners: swept after their silence, fenced if they come back, and never while they live."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from pathlib import Path

import pytest

from billing_meter.database import DatabaseUnavailable
from billing_meter.meter import LedgerLost, SessionOrder
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.sweeper import LOOKS_MIN, SUPERVISION_NS, Sweeper
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Refused, Till

pytestmark = pytest.mark.threads

REPO = Path(__file__).resolve().parents[2]
RATE = 299
S = 1_000_000_000
SUPERVISION_S = SUPERVISION_NS // S
STOPS_MAX = 5


def order(name: str = "s1") -> SessionOrder:
    return SessionOrder(name, "ann", "eve", Tariff(RATE, 100, 50))


@pytest.fixture
def sweeper(house) -> Sweeper:
    return Sweeper(house.wallet.ledger, node="other", clock_ns=house.clock.ns)


async def looks(house, sweeper: Sweeper, seconds: float, step_s: float = 1) -> int:
    """Sweep again and again while time passes and nobody else does anything."""
    settled = 0
    for _ in range(round(seconds / step_s)):
        house.clock.advance(step_s)
        settled += await sweeper.sweep()
    return settled


async def test_a_silent_owners_session_is_settled_to_its_last_durable_second(
    house, sweeper
) -> None:
    await house.fund("ann", 100 * RATE)
    gate = await house.start(order())
    await house.run(10)
    assert await looks(house, sweeper, SUPERVISION_S) == 0
    assert await looks(house, sweeper, 2) == 1
    record = await session_record(house.database, "s1")
    assert (record.open, record.summary.reason) == (False, "server_stopped")
    assert record.summary.cost_units == 10 * RATE
    balance = await house.wallet.balance("ann")
    assert (balance.posted, balance.held_units) == (90 * RATE, 0)
    # It was only stopped, and comes back: it has lost the session and charges nothing more.
    house.till.beat()
    await house.till.tick()
    assert house.of(LedgerLost) == [LedgerLost()]
    assert gate.until_ns == 0
    assert house.till.open_sessions == 0
    assert (await session_record(house.database, "s1")).summary.cost_units == 10 * RATE
    # Nobody took its place, so it may begin anew.
    assert isinstance(await house.till.open(order("s2")), Opened)
    await house.till.close("s2", "member_left")
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def test_a_live_owner_is_never_swept_not_even_while_its_session_is_paused(
    house, sweeper
) -> None:
    await house.fund("ann", 100 * RATE)
    gate = await house.start(order())
    await house.run(5)
    gate.silence()
    for _ in range(3 * SUPERVISION_S):
        await house.run(1)
        assert await sweeper.sweep() == 0
    assert (await session_record(house.database, "s1")).open


async def test_a_sweeper_that_was_stopped_itself_gives_everybody_time_to_move(
    house, sweeper
) -> None:
    await house.fund("ann", 100 * RATE)
    await house.start(order())
    await house.run(2)
    await sweeper.sweep()
    house.clock.advance(10 * SUPERVISION_S)
    for _ in range(LOOKS_MIN - 1):
        assert await sweeper.sweep() == 0
    await house.till.tick()
    for _ in range(LOOKS_MIN):
        assert await sweeper.sweep() == 0
    assert (await session_record(house.database, "s1")).open


async def test_nobody_sweeps_their_own_node(house) -> None:
    mine = Sweeper(house.wallet.ledger, node="node", clock_ns=house.clock.ns)
    await house.fund("ann", 100 * RATE)
    await house.start(order())
    assert await looks(house, mine, 3 * SUPERVISION_S) == 0


async def test_two_sweepers_settle_once(house, sweeper) -> None:
    await house.fund("ann", 100 * RATE)
    await house.start(order())
    await house.run(4)
    third = Sweeper(house.wallet.ledger, node="third", clock_ns=house.clock.ns)
    settled = 0
    for _ in range(2 * SUPERVISION_S):
        house.clock.advance(1)
        settled += sum(await asyncio.gather(sweeper.sweep(), third.sweep()))
    assert settled == 1
    assert (await reconcile(house.database)).findings == ()


async def test_a_replaced_owner_stays_out_though_its_node_has_no_sessions(house) -> None:
    await house.till.recover()
    newer = Till(
        house.database,
        house.wallet,
        clock_ns=house.clock.ns,
        utc_now=house.clock.utc,
        on_event=lambda _session, _event: None,
    )
    await newer.recover()
    await house.fund("ann", 100 * RATE)
    assert await house.till.open(order()) == Refused("ledger_unavailable")
    assert isinstance(await newer.open(order("s2")), Opened)


async def _line(process: asyncio.subprocess.Process, first: str) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while True:
            words = (await process.stdout.readline()).decode().split()
            assert words, f"the process ended before it said {first}"
            if words[0] == first:
                return words


async def _stopped_and_swept(process: asyncio.subprocess.Process, sweeper: Sweeper) -> None:
    """Stop it after a tick and sweep; once more if it was stopped with the writer's turn."""
    for _ in range(STOPS_MAX):
        await _line(process, "mark")
        process.send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                while await sweeper.sweep() == 0:
                    pass
        except DatabaseUnavailable:
            process.send_signal(signal.SIGCONT)
        else:
            return
    pytest.fail("it held the writer's turn whenever it was stopped")


@pytest.mark.slow
async def test_a_stopped_process_that_goes_on_can_neither_post_nor_hold(house) -> None:
    """SIGSTOP for longer than the supervision, then SIGCONT; two real processes, one database."""
    await house.fund("ann", 1_000 * RATE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.billing_meter.paused_owner", house.url),
        cwd=REPO,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    # Its looks are a second apart, so that nobody waits for the supervision time.
    seconds = itertools.count(step=S)
    sweeper = Sweeper(house.wallet.ledger, node="other", clock_ns=lambda: next(seconds))
    try:
        await _line(process, "open")
        await _stopped_and_swept(process, sweeper)
        record = await session_record(house.database, "s1")
        assert not record.open
        before = await house.wallet.balance("ann")
        assert before.held_units == 0
        assert before.posted == 1_000 * RATE - record.summary.cost_units
        process.send_signal(signal.SIGCONT)
        assert await _line(process, "lost") == ["lost", "s1"]
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        assert await _line(process, "after") == ["after", "Refused", "True"]
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (await session_record(house.database, "s1")).summary == record.summary
    assert await house.wallet.balance("ann") == before, "s2 forwarded nothing and cost nothing"
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def test_the_surcharge_of_a_swept_session_is_settled_too(house, sweeper) -> None:
    await house.fund("ann", 100 * RATE)
    await house.start(order())
    await house.run(2)
    await house.till.switch("s1", Component.CAM2CAM, True)
    cam = house.gate()
    house.till.attach("s1", Component.CAM2CAM, cam)
    cam.start()
    await house.run(5)
    assert await looks(house, sweeper, SUPERVISION_S + 2) == 1
    record = await session_record(house.database, "s1")
    assert record.summary.cost_units == 7 * RATE + record.summary.lines[1].seconds * 100
    assert record.summary.lines[1].seconds in (4, 5)
