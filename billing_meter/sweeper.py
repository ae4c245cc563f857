"""Sessions of owners that died elsewhere: found by their silence, settled to their last mark.

A node's owner writes its row with every tick while it has sessions open. Whose row does not change
for the supervision time, by our own monotonic clock and in several looks, is taken to be dead: its
epoch is raised, which fences it should it come back, and its open sessions are settled to their
last durable second. No clock of another machine is trusted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from billing_meter import till_recover, till_store
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import LEASE_NS

SUPERVISION_NS = 2 * LEASE_NS
"""Twice as long as media passes without a durable mark (RFC 8506, Tcc)."""
LOOKS_MIN = 3
"""After a pause of our own, an owner gets this many looks to move before it counts as dead."""
SWEEP_PERIOD_S = 5.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Silence:
    """An owner's row since it changed last."""

    epoch: int
    at_ms: int
    since_ns: int
    looks: int = 1


class Sweeper:
    """Call `sweep()` every SWEEP_PERIOD_S; `node` is our own name, which is never swept."""

    def __init__(
        self,
        ledger: LedgerStore,
        *,
        node: str,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        supervision_ns: int = SUPERVISION_NS,
    ) -> None:
        self._ledger = ledger
        self._node = node
        self._clock_ns = clock_ns
        self._supervision_ns = supervision_ns
        self._silent: dict[str, _Silence] = {}

    async def sweep(self) -> int:
        """Look once; returns how many sessions were settled."""
        async with self._ledger.database.read() as connection:
            owners = await till_store.owners_with_sessions(connection)
        now_ns = self._clock_ns()
        silent: dict[str, _Silence] = {}
        settled = 0
        for node, epoch, at_ms in owners:
            known = self._silent.get(node)
            if node == self._node:
                continue
            if known is None or (known.epoch, known.at_ms) != (epoch, at_ms):
                silent[node] = _Silence(epoch, at_ms, now_ns)
                continue
            known.looks += 1
            silent[node] = known
            if known.looks > LOOKS_MIN and now_ns - known.since_ns >= self._supervision_ns:
                settled += await self._take(node, known)
        self._silent = silent
        return settled

    async def _take(self, node: str, silence: _Silence) -> int:
        async with self._ledger.transaction() as transaction:
            settled = await till_recover.sweep(transaction, node, silence.epoch, silence.at_ms)
        log.warning("node %s is silent: %d sessions of it were settled", node, settled)
        return settled
