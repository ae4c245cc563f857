"""Who may receive: random lives in a house against an oracle, by Hypothesis and from seeds."""

import asyncio
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.rooms.town import Town

PICK = st.integers(0, 59)


class HouseMachine(RuleBasedStateMachine):
    """Rules that make private sessions likely; the oracle checks after each."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.town = Town()

    def run(self, work) -> None:
        async def step() -> None:
            await work
            await self.town._after()
            self.town.check()

        self.loop.run_until_complete(step())

    @initialize()
    def an_evening_begins(self) -> None:
        self.run(self.town.evening())

    @rule(operation=st.sampled_from(Town.OPERATIONS), pick=PICK)
    def something_happens(self, operation, pick: int) -> None:
        self.run(operation(self.town, pick))

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.town.finish())
        finally:
            self.loop.close()


HouseMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, print_blob=True
)
TestHouse = HouseMachine.TestCase


async def live(seed: int, steps: int) -> None:
    print(f"seed {seed}")
    dice, town = random.Random(seed), Town()
    await town.evening()
    for _ in range(steps):
        await town.do(dice.randrange(1000), dice.randrange(60))
    await town.finish()


@pytest.mark.parametrize("seed", range(12))
async def test_random_lives_from_a_seed(seed: int) -> None:
    await live(seed, 250)


@pytest.mark.slow
async def test_many_more_random_lives() -> None:
    first = random.SystemRandom().randrange(1 << 32)
    for seed in range(first, first + 300):
        await live(seed, 400)
