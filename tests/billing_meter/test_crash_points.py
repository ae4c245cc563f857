"""A kill at every write point, enumerated: the books are those of a life without a crash.

A scripted life (`sim/script.py`: purchases, gifts, limits, a private session with switches, tips,
what is bought of experts, groups, auto-reload, refunds, charge-backs, payouts) is played once. Then
each scene is played again for each of its points, dying there: before a transaction, before each of
its statements, before the commit, after it and before its answer, and on either side of what a
provider does.
"""

from __future__ import annotations

import random

import pytest

from billing_meter import ledger
from billing_meter.payout_providers import FakePayoutProvider
from tests.billing_meter.sim.bank import Bank
from tests.billing_meter.sim.script import (
    COMMITS,
    SCENES,
    WRITES,
    Books,
    Props,
    perform,
    session,
)
from tests.billing_meter.sim.store import InlineStore, Point, ServerStore, SimStore
from tests.billing_meter.sim.world import Clock

POINTS_MIN = 1_200
COMMITS_MIN = 60
SHARDS = 2
"""Side by side; each dies at every other point."""


def props(store: SimStore) -> Props:
    """Where the life begins."""
    bank = Bank(random.Random(0))
    bank.generous = True
    return Props(store, Clock(), bank, FakePayoutProvider())


def without_seconds(books: Books) -> dict[str, list[tuple[object, ...]]]:
    """The books of the scene with the session, as if that had held no media.

    A crash ends a session: what it costs is judged by its packets. Which bucket of the member paid
    for what came after it depends on that, so of the member's accounts the sum is told.
    """
    rows = dict(books.rows)
    charged = sum(row[2] for row in rows["transfers"] if row[0] == "session_charge")
    [(earned,)] = rows.pop("earned by sessions")
    accounts = {name: units for name, units in rows["accounts"] if "member:ann" not in name}
    mine = sum(units for name, units in rows["accounts"] if "member:ann" in name)
    accounts |= {"ann": mine + charged}
    accounts[ledger.payable_account("eve")] -= earned
    accounts[ledger.REVENUE] -= charged - earned
    rows["accounts"] = sorted(accounts.items())
    rows["transfers"] = [
        (*row[:3], *row[5:]) for row in rows["transfers"] if not row[0].startswith("session_")
    ]
    rows["holds"] = []
    rows["limits"] = [
        (*row[:4], row[4] - charged if row[1] != "session" else 0) for row in rows["limits"]
    ]
    return rows


async def every_point(
    begin: Props, counted: frozenset[Point], monkeypatch, shard: int = 0, shards: int = 1
) -> int:
    """Play the life; then each scene once for each of its points. How many deaths there were."""
    deaths = 0
    for scene in SCENES:
        before = await begin.copy(f"before-{scene.__name__}")
        wanted = await perform(begin, scene, monkeypatch, counted=counted)
        plain = without_seconds if scene is session else lambda books: books.rows
        for kill_at in range(1 + shard, wanted.points + 1, shards):
            again = await before.copy(f"{scene.__name__}-{kill_at}")
            try:
                got = await perform(again, scene, monkeypatch, kill_at=kill_at, counted=counted)
                assert plain(got) == plain(wanted)
            except BaseException as error:
                error.add_note(f"killed at point {kill_at} of {scene.__name__}")
                raise
            finally:
                await again.store.remove()
            deaths += 1
        await before.store.remove()
    await begin.store.remove()
    return deaths


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_every_point(quick_dir, monkeypatch, shard) -> None:
    begin = props(InlineStore(quick_dir, "life"))
    deaths = await every_point(begin, WRITES, monkeypatch, shard, SHARDS)
    assert deaths * SHARDS >= POINTS_MIN


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_commit_on_postgresql(cluster, monkeypatch) -> None:
    begin = props(await ServerStore.new(cluster))
    assert await every_point(begin, COMMITS, monkeypatch) >= COMMITS_MIN
