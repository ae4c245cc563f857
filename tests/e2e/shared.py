"""What all end-to-end tests of a worker share: a Chromium, and a process that forks servers.

Neither couples the tests: each visitor has a browser context of their own, which is closed with the
test, and each server is a process of its own. Both start with the first test that wants them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from playwright.async_api import Browser

from bench.chromium import CHROMIUM
from bench.chromium import chromium as chromium_of_its_own
from tests.e2e.nursery import Nursery


class Shared:
    """For as long as the loop of the tests runs."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._browsers: dict[tuple[str, ...], Browser] = {}
        self._nursery: Nursery | None = None

    async def browser(self, flags: tuple[str, ...]) -> Browser:
        """The one with these flags."""
        browser = self._browsers.get(flags)
        if browser is None or not browser.is_connected():
            browser = await self._stack.enter_async_context(chromium_of_its_own(*flags))
            self._browsers[flags] = browser
        return browser

    def nursery(self) -> Nursery:
        """Where servers come from."""
        if self._nursery is None:
            self._nursery = Nursery()
            self._stack.push_async_callback(self._nursery.close)
        return self._nursery

    async def close(self) -> None:
        """End all of it."""
        await self._stack.aclose()


_shared: list[Shared] = []


@asynccontextmanager
async def sharing() -> AsyncIterator[None]:
    """Where `shared` has something to give."""
    _shared.append(Shared())
    try:
        yield
    finally:
        await _shared.pop().close()


def shared() -> Shared:
    """This worker's."""
    return _shared[-1]


@asynccontextmanager
async def chromium(*flags: str, program: str = CHROMIUM) -> AsyncIterator[Browser]:
    """A browser without a past: this worker's, or one of its own if another program starts it."""
    if program != CHROMIUM:  # in a namespace, which ends with its test
        async with chromium_of_its_own(*flags, program=program) as browser:
            yield browser
        return
    browser = await shared().browser(flags)
    try:
        yield browser
    finally:
        for context in browser.contexts:
            await context.close()
