"""What all tests share: the event loop, what makes stores quick, and the second database."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import hypothesis
import pytest
import uvloop
from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests import postgres

# A busy machine is slow, which is nobody's fault: no example is judged by a clock.
hypothesis.settings.register_profile("parlour", deadline=None)
hypothesis.settings.load_profile("parlour")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Every engine compiles its statements anew, and nearly every test has engines of its own.

    They share what was compiled, and the dialect that it is for, once that has met its database.
    """
    compiled: dict[Any, Any] = {}
    dialects: dict[str, list[Dialect]] = {}

    def engine_of_many(url: Any, **options: Any) -> AsyncEngine:
        engine = create_async_engine(url, execution_options={"compiled_cache": compiled}, **options)
        alike = dialects.setdefault(engine.url.drivername, [])
        met = [dialect for dialect in alike if dialect.server_version_info is not None][:1]
        alike[:] = met or [*alike, engine.dialect]
        engine.sync_engine.dialect = alike[-1]
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("billing_meter.engine.create_async_engine", engine_of_many)
        yield


UDP_SOCKETS: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""Those that the running test has made."""


@pytest.fixture(scope="session", autouse=True)
def udp_sockets_are_noted() -> Iterator[None]:
    """Whoever makes one."""
    made = socket.socket.__init__

    def note(self: socket.socket, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        if self.type == socket.SOCK_DGRAM:
            UDP_SOCKETS.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "__init__", note)
        yield


@pytest.fixture(autouse=True)
def udp_sockets_are_closed(udp_sockets_are_noted: None) -> Iterator[None]:
    """By the test that made them: the collector would blame any other one, some day."""
    UDP_SOCKETS.clear()
    yield
    left = {str(one): one.close() for one in tuple(UDP_SOCKETS) if one.fileno() >= 0}
    assert left == {}, "left open"


@pytest.fixture
def quick_dir() -> Iterator[Path]:
    """A directory in memory where there is one: these tests prove logic, not the disk."""
    with tempfile.TemporaryDirectory(dir=postgres.memory_dir()) as directory:
        yield Path(directory)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite answers in the loop's own thread, at once.

    Waiting for a thread there and back at every statement is half of what tests in virtual time
    cost. Whatever is about races needs the threads, and is marked so.
    """

    async def connected(self: aiosqlite.Connection) -> aiosqlite.Connection:
        try:
            self._connection = self._connection or self._connector()
        except BaseException:
            self.stop()
            raise
        return self

    async def executed(
        self: aiosqlite.Connection, call: Callable[..., object], *args: object, **options: object
    ) -> object:
        if not self._running or not self._connection:
            raise ValueError("Connection closed")
        return call(*args, **options)

    monkeypatch.setattr(aiosqlite.Connection, "_connect", connected)
    monkeypatch.setattr(aiosqlite.Connection, "_execute", executed)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL of this test run's own."""
    if not postgres.installed():
        pytest.skip(postgres.MISSING)
    with postgres.running_cluster() as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a PostgreSQL server is slow: a check for every commit has a minute."""
    for item in items:
        chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "cluster" in getattr(item, "fixturenames", ()) or "postgresql" in chosen:
            item.add_marker(pytest.mark.slow)
