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
        async def begin() -> None:
            for pick in (2, 1, 7, 0):  # Luna, two members, a guest
                await self.town.arrive(pick)
            await self.town.go_live(1)
            for pick in range(4):
                await self.town.watch(pick)

        self.run(begin())

    @rule(operation=st.integers(0, len(Town.OPERATIONS) - 1), pick=PICK)
    def anything(self, operation: int, pick: int) -> None:
        self.run(Town.OPERATIONS[operation](self.town, pick))

    @rule(pick=PICK)
    def a_session_starts(self, pick: int) -> None:
        async def start() -> None:
            await self.town.ask(pick)
            await self.town.answer(1)
            await self.town._after()
            await self.town.packets(0)

        self.run(start())

    @rule(pick=PICK)
    def the_member_shows_a_face(self, pick: int) -> None:
        async def show() -> None:
            await self.town.send_feed(pick)
            await self.town.see_feed(0)
            await self.town.switch(pick)

        self.run(show())

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
