"""Whether the store takes writes, and if not why: what operators and new visitors are told.

A failed write says what is wrong; only a write that was really made durable (`store_probe.py`)
says that it is right again. A transaction that changes nothing commits on a full disk, too.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from enum import StrEnum
from typing import Final

from sqlalchemy.exc import DBAPIError

SLOW_AFTER_NS: Final = 2_000_000_000
"""A write that takes longer holds everybody up: half of what a grant lasts beyond its renewal."""


class Trouble(StrEnum):
    """Why the store does not take writes."""

    FULL = "full"
    READ_ONLY = "read_only"
    LOCKED = "locked"
    SLOW = "slow"
    LOST = "lost"
    FAILED = "failed"


_SQLITE: Final = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_BUSY: Trouble.LOCKED,
    sqlite3.SQLITE_LOCKED: Trouble.LOCKED,
}
"""By primary result code (sqlite.org/rescode.html); the extended ones have it in their low byte."""
_POSTGRESQL: Final = {
    "53100": Trouble.FULL,
    "25006": Trouble.READ_ONLY,
    "55P03": Trouble.LOCKED,
}
"""By SQLSTATE (PostgreSQL's appendix A)."""


def trouble_of(error: BaseException, *, lost: bool) -> Trouble:
    """What a driver's error means for those who want to write."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, sqlite3.Error):
        return _SQLITE.get(getattr(origin, "sqlite_errorcode", 0) & 0xFF, Trouble.FAILED)
    known = _POSTGRESQL.get(str(getattr(origin, "sqlstate", "")))
    return known or (Trouble.LOST if lost else Trouble.FAILED)


class StoreHealth:
    """Told by the writer of each beginning and end; asked by readiness and metrics."""

    def __init__(self) -> None:
        self.failures: Counter[Trouble] = Counter()
        """Failed writes since the start, by reason."""
        self._trouble: Trouble | None = None
        self._began_ns: int | None = None

    def began(self, now_ns: int) -> None:
        """A write transaction is asked for."""
        self._began_ns = now_ns

    def ended(self, trouble: Trouble | None) -> None:
        """It is durable or rolled back, or the store failed it."""
        self._began_ns = None
        if trouble is not None:
            self._trouble = trouble
            self.failures[trouble] += 1

    def proved(self) -> None:
        """A change was made durable just now."""
        self._trouble = None

    def age_ns(self, now_ns: int) -> int:
        """How long the write that is under way has taken so far."""
        return 0 if self._began_ns is None else now_ns - self._began_ns

    def trouble(self, now_ns: int) -> Trouble | None:
        """Why nothing can be written now, or None."""
        if self._trouble is None and self.age_ns(now_ns) > SLOW_AFTER_NS:
            return Trouble.SLOW
        return self._trouble
