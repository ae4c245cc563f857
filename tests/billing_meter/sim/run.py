"""One run of the simulation: a seed, so many steps, and every check after each."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.billing_meter.sim.features import FeatureMoves
from tests.billing_meter.sim.judge import Calm, Judge
from tests.billing_meter.sim.moves import EXPERTS, MEMBERS, Move, Moves
from tests.billing_meter.sim.percents import SHARES
from tests.billing_meter.sim.store import SimStore
from tests.billing_meter.sim.world import World

PROVE_EVERY = 150
"""Steps between two runs of the product's own proofs."""
HANGS_S = 240
"""Of real time: a house takes two or three seconds."""
FAULTS_PER_STEP = (0, 0, 0, 0, 0, 0, 0, 1, 1, 2)


@dataclass(frozen=True)
class Lived:
    """What one run amounted to."""

    sessions: int
    exact: int
    deaths: int
    digest: str
    """Of the whole journal: the same for the same seed."""
    features: Mapping[str, int] = field(default_factory=dict)
    """How many purchases, refunds of them, replies and groups there were, by kind."""


async def simulate(store: SimStore, seed: int, steps: int, monkeypatch) -> Lived:
    """Live through `steps` steps from `seed`; AssertionError when anything is wrong."""
    world = World(store, seed)
    task = asyncio.current_task()
    assert task is not None
    world.clients.add(task)
    names = random.Random(seed)
    with monkeypatch.context() as patch:
        # Names that the product draws decide the order of rows: a seed must draw them again.
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=names.getrandbits(128), version=4))
        database = await store.open(Calm())
        judge = Judge(world, database)
        try:
            async with asyncio.timeout(HANGS_S):
                return await _live(world, judge, steps)
        except BaseException as error:
            error.add_note(f"PARLOUR_SIM_SEED={seed}")
            raise
        finally:
            if world.process is not None:
                await world.process.bury({task})
            await database.close()
            await store.remove()


async def _live(world: World, judge: Judge, steps: int) -> Lived:
    moves = Moves(world, judge)
    features = FeatureMoves(moves)
    await _settle_in(world, moves)
    weighted = _weighted(moves, features)
    for count in range(steps):
        process = await world.alive()
        for _ in range(world.chance.choice(FAULTS_PER_STEP)):
            process.points.armed.append(world.draw_fault())
        try:
            await world.chance.choice(weighted)()
            await _calm_down(world)
            await judge.step()
            if count % PROVE_EVERY == PROVE_EVERY - 1:
                await judge.prove(MEMBERS)
        except BaseException as error:
            error.add_note(f"after step {count + 1}")
            raise
    await _leave(world, moves, features, judge)
    digest = await judge.digest()
    return Lived(judge.sessions, judge.exact, world.deaths, digest, await judge.features())


def _weighted(moves: Moves, features: FeatureMoves) -> list[Move]:
    """How often each is done."""
    often: dict[Move, int] = {
        moves.pass_time: 22,
        moves.open: 70,
        moves.close: 9,
        moves.burst: 12,
        moves.switch: 8,
        moves.media: 8,
        moves.debit: 5,
        moves.buy: 6,
        moves.top_up: 3,
        moves.webhook: 4,
        moves.bank_moves: 2,
        moves.refund: 3,
        moves.pledge: 2,
        moves.resume: 2,
        moves.reload: 1,
        moves.gift: 1,
        moves.money_back: 1,
        moves.promote: 1,
        moves.free_credits: 1,
        moves.limit: 1,
        moves.calendar: 1,
        moves.payout: 2,
        moves.tomorrow: 2,
        moves.seal: 1,
        moves.stall: 1,
        moves.kill: 1,
        **features.weighted(),
    }
    return [move for move, times in often.items() for _ in range(times)]


async def _settle_in(world: World, moves: Moves) -> None:
    process = await world.alive()
    for member in MEMBERS:
        await process.wallet.open_member(member)
        await moves.fund(member, world.chance.randrange(40_000, 120_000))
    for expert in EXPERTS:
        await process.wallet.open_expert(expert, SHARES[expert])


async def _calm_down(world: World) -> None:
    """What the step began in the background ends; a process that died is started again."""
    process = await world.alive()
    await process.reload.idle()
    process.points.armed.clear()
    await (await world.alive()).reload.idle()


async def _leave(world: World, moves: Moves, features: FeatureMoves, judge: Judge) -> None:
    """Everybody leaves, every payment ends, every event arrives; then the last word."""
    bank = world.bank
    bank.calm = True
    process = await world.alive()
    for life in list(world.lives.values()):
        if life.seated:
            await process.till.close(life.order.session_id, "member_left")
    await process.till.tick()
    await features.leave(process)
    await judge.step()
    assert not world.lives, "somebody left in peace, and their session is open"
    world.clock.step(30 * 24 * 3_600)  # later than every pledge, however the calendar was set
    await process.wallet.ledger.expire_holds()
    left = 0
    for _ in range(3):
        await process.reload.idle()
        await process.orders.resume_pending()
        assert await process.order_refunds.resume() == 0
        world.clock.advance(3_600)  # the next look at payouts on their way
        left = await process.payouts.resume()
        for event in list(bank.events):
            await moves.take(event)
    assert left == 0, "a payout that never ends"
    await process.reload.idle()
    await process.orders.resume_pending()
    await judge.step()
    await moves.kill()
    await world.alive()
    await judge.step()
    await judge.last_word(MEMBERS)
