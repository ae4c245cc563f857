"""Groups of owners that died elsewhere: found by their silence, settled by what they say.

An owner writes a sign of life for each of its open groups every few seconds. A group that does not
move for the supervision time, by our own monotonic clock and in several looks, has no owner any
more. Settling it is guarded by the sign that was seen last: an owner that lives after all keeps it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from billing_meter import group_rows
from billing_meter.groups import Groups
from billing_meter.ledger_store import LedgerStore

BEAT_PERIOD_S: Final = 5.0
"""How often an owner is to write its signs of life and the marks of what was shown."""
GROUP_SUPERVISION_NS: Final = 30_000_000_000
"""Six of them; members' pledges wait no longer for an owner that is gone."""
GROUP_LOOKS_MIN: Final = 3
"""After a pause of our own, an owner gets this many looks to move before it counts as dead."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Silence:
    """A group since it moved last."""

    node: str | None
    beat: int
    since_ns: int
    looks: int = 1


class GroupWatch:
    """Call `look()` every few seconds; groups of `node`, which is our own, are left alone."""

    def __init__(
        self,
        store: LedgerStore,
        groups: Groups,
        *,
        node: str,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        supervision_ns: int = GROUP_SUPERVISION_NS,
    ) -> None:
        self._store = store
        self._groups = groups
        self._node = node
        self._clock_ns = clock_ns
        self._supervision_ns = supervision_ns
        self._silent: dict[str, _Silence] = {}

    async def look(self) -> int:
        """Look once; how many groups were settled."""
        async with self._store.database.read() as connection:
            others = await group_rows.owned(connection, other_than=self._node)
        now_ns = self._clock_ns()
        silent: dict[str, _Silence] = {}
        settled = 0
        for group in others:
            known = self._silent.get(group.group_id)
            if known is None or (known.node, known.beat) != (group.node, group.beat):
                silent[group.group_id] = _Silence(group.node, group.beat, now_ns)
                continue
            known.looks += 1
            silent[group.group_id] = known
            overdue = now_ns - known.since_ns >= self._supervision_ns
            if (
                overdue
                and known.looks > GROUP_LOOKS_MIN
                and await self._groups.settle(group.group_id, group.beat)
            ):
                settled += 1
                log.warning("group %s of silent node %s was settled", group.group_id, group.node)
        self._silent = silent
        return settled
