"""Marks everything in this folder as end-to-end and gives it time and one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.shared import sharing
from tests.media.callers import Caller

E2E_TIMEOUT_S = 180
HERE = Path(__file__).parent


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The servers are processes of their own; what drives the browsers keeps the plain loop."""
    return {"asyncio": asyncio.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makemodule() -> Generator[None, pytest.Module, pytest.Module]:
    """All tests of a worker run on one loop: a browser that they share lives on it."""
    module = yield
    module.add_marker(pytest.mark.asyncio(loop_scope="session"))
    return module


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def what_is_shared() -> AsyncIterator[None]:
    """Ends with the worker's last test."""
    async with sharing():
        yield


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def callers_vanish() -> AsyncIterator[None]:
    """With their test: the loop that listens to their sockets lives on."""
    yield
    await Caller.all_vanish()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real browsers and processes: only in `make test`, and with a longer leash."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(E2E_TIMEOUT_S))
