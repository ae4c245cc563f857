"""Deterministic simulation: random lives of the money from a printed seed, faults in between.

Time is virtual and runs are repeatable: `PARLOUR_SIM_SEED` gives a seed again. Members, experts,
staff and a payment provider do everything that can be done with credits, alone and at once, while
the store fails, answers late or not at all, loops stall, calendars jump and processes die. After
every step the books must hold, and what a session cost is compared, to the second, with an
independent count of the packets that passed (tests/billing_meter/sim).

`PARLOUR_SIM_SESSIONS` says how many sessions at least; `make nightly` asks for millions.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

import pytest

from tests.billing_meter.sim.run import Lived, simulate
from tests.billing_meter.sim.store import InlineStore, ServerStore, SimStore

STEPS = 400
"""About a hundred and fifty sessions in one house."""
SESSIONS = int(os.environ.get("PARLOUR_SIM_SESSIONS", "10000"))
SHARDS = 5
"""Side by side; each lives its part of all sessions."""
BESIDE_SESSIONS = ("surprise", "story", "content", "message", "given back", "replies", "pledges")
"""What has to have happened there, too."""
ON_POSTGRESQL = 200
"""There each statement is a conversation between two processes."""
FAST_STEPS = 120
EXACT_PART = 6
"""At least this part of all sessions ends neither by a crash nor by a cut, and is exact."""
Builder = Callable[[int], Awaitable[SimStore]]


async def live(
    build: Builder, sessions: int, steps: int, monkeypatch, capsys, needed: Collection[str] = ()
) -> list[Lived]:
    """House after house, each from the next seed, until so many sessions ended.

    And until there was some of everything that is `needed`.
    """
    given = os.environ.get("PARLOUR_SIM_SEED")
    first = int(given) if given else random.SystemRandom().randrange(2**32)
    lived: list[Lived] = []
    with capsys.disabled():
        print(f" [simulated from seed {first}]", end="", flush=True)
    while sum(one.sessions for one in lived) < sessions or any(
        not any(one.features.get(what) for one in lived) for what in needed
    ):
        seed = first + len(lived)
        lived.append(await simulate(await build(seed), seed, steps, monkeypatch))
        if given:
            break
    print(f"{len(lived)} houses, {sum(one.sessions for one in lived)} sessions, ", end="")
    print(f"{sum(one.exact for one in lived)} exact, {sum(one.deaths for one in lived)} deaths")
    features: Counter[str] = Counter()
    for one in lived:
        features.update(one.features)
    print(", ".join(f"{count} {name}" for name, count in features.items()))
    return lived


async def test_some_lives(quick_dir, monkeypatch, capsys) -> None:
    async def build(seed: int) -> SimStore:
        return InlineStore(quick_dir, str(seed))

    [lived] = await live(build, 1, FAST_STEPS, monkeypatch, capsys)
    assert lived.sessions >= 10


@pytest.mark.slow
async def test_a_seed_is_lived_again_in_the_same_way(quick_dir, monkeypatch) -> None:
    once, again = [
        await simulate(InlineStore(quick_dir, name), 4_711, FAST_STEPS, monkeypatch)
        for name in ("once", "again")
    ]
    assert once == again


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_ten_thousand_sessions(quick_dir, monkeypatch, capsys, shard) -> None:
    async def build(seed: int) -> SimStore:
        return InlineStore(quick_dir, str(seed))

    lived = await live(build, -(-SESSIONS // SHARDS), STEPS, monkeypatch, capsys)
    told = sum(one.exact for one in lived), sum(one.sessions for one in lived)
    assert os.environ.get("PARLOUR_SIM_SEED") or told[0] * EXACT_PART > told[1], "few were exact"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_lives_on_postgresql(cluster, monkeypatch, capsys) -> None:
    async def build(_seed: int) -> SimStore:
        return await ServerStore.new(cluster)

    await live(build, ON_POSTGRESQL, STEPS // 2, monkeypatch, capsys, BESIDE_SESSIONS)
