"""Fixtures of the rooms' tests."""

import pytest

from tests.rooms.world import World


@pytest.fixture
def world() -> World:
    """A house with pretended engines; one expert, Luna, who is not live yet."""
    return World()
