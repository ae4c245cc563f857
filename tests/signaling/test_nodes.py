"""Several processes on one store: each under a name of its own, none takes what another runs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from billing_meter.meter import SessionOrder
from billing_meter.sessions import session_record
from billing_meter.tariff import Tariff
from billing_meter.till import Opened, Till
from signaling import compose
from signaling.config import Config, ConfigError, load
from signaling.node import NODE_FILE, node_of
from signaling.passwords import Passwords
from signaling.services import Services
from signaling.store import opened_store


def config_of(folder: Path, store: Path, node: str = "") -> Config:
    """A process of its own data directory on the common store."""
    folder.mkdir(exist_ok=True)
    url = f"sqlite+aiosqlite:///{store}"
    layers = {
        "server": {"data": str(folder)},
        "media": {"listen": "127.0.0.1:0"},
        "store": {"database_url": url, "node": node},
    }
    return load(None, {}, layers)


@contextlib.asynccontextmanager
async def process(config: Config) -> AsyncIterator[tuple[Services, Till]]:
    """What runs in one server."""
    hasher = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with opened_store(config) as database:
        services, till = compose.build(config, database, hasher)
        async with compose.running(services, till):
            yield services, till
    hasher.close()


def order(session_id: str) -> SessionOrder:
    return SessionOrder(session_id, "ann", "eve", Tariff(299, 100, 50))


async def test_a_second_process_leaves_the_sessions_of_the_first_alone(tmp_path, migrated) -> None:
    store = tmp_path / "common.db"
    shutil.copy(migrated, store)
    one, two = config_of(tmp_path / "one", store), config_of(tmp_path / "two", store)
    assert node_of(one) != node_of(two)
    async with process(one) as (services, till):
        await services.wallet.open_member("ann")
        await services.wallet.grant_promo("ann", 300_000, "gift", "test")
        assert isinstance(await till.open(order("s1")), Opened)
        async with process(two) as (_, other):
            await till.tick()
            assert till.open_sessions == 1, "still ours after another process has started"
            assert isinstance(await other.open(order("s2")), Opened)
            await other.tick()
        for session_id, is_open in (("s1", True), ("s2", False)):
            record = await session_record(services.database, session_id)
            assert record is not None
            assert record.open is is_open
    assert node_of(one) == (tmp_path / "one" / NODE_FILE).read_text()


def test_the_name_is_kept_configured_or_refused(tmp_path) -> None:
    config = config_of(tmp_path / "data", tmp_path / "x.db")
    name = node_of(config)
    assert node_of(config) == name
    assert os.listdir(tmp_path / "data") == [NODE_FILE]
    assert node_of(config_of(tmp_path / "data", tmp_path / "x.db", "north-1")) == "north-1"
    for text in ("", "two words", "n" * 65, "ø"):
        (tmp_path / "data" / NODE_FILE).write_text(text)
        with pytest.raises(ConfigError, match="holds no name of a node"):
            node_of(config)
    with pytest.raises(ConfigError, match=r"store\.node"):
        config_of(tmp_path / "data", tmp_path / "x.db", "two words")
