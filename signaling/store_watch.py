"""Asks the store again and again whether it takes writes: readiness must know when idle, too."""

from __future__ import annotations

import asyncio
import time

import structlog

from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.store_health import Trouble
from billing_meter.store_probe import PROBE_AGAIN_S, PROBE_PERIOD_S, probe
from rooms.limits import NS_PER_S

log = structlog.get_logger(__name__)

TROUBLE_TEXTS = {
    Trouble.FULL: "full: no room is left on the disk of the ledger.",
    Trouble.READ_ONLY: "read_only: the ledger's disk or database takes no writes.",
    Trouble.LOCKED: "locked: another program holds the ledger's database.",
    Trouble.SLOW: "slow: a write to the ledger has taken seconds and is not done.",
    Trouble.LOST: "lost: the ledger's database does not answer.",
    Trouble.FAILED: "failed: the ledger's database refuses a write; the log has its reason.",
}


async def watch_store(database: Database, node: str) -> None:
    """Probe until cancelled; what changes is logged once."""
    told: Trouble | None = None
    probed_ns = time.monotonic_ns()
    while True:
        await asyncio.sleep(PROBE_AGAIN_S)
        now_ns = time.monotonic_ns()
        well = told is None and database.health.trouble(now_ns) is None
        if well and now_ns - probed_ns < PROBE_PERIOD_S * NS_PER_S:
            continue
        probed_ns = now_ns
        try:
            await probe(database, node)
        except DatabaseUnavailable as error:
            if error.trouble is not told:
                log.error("the ledger takes no writes", trouble=error.trouble, error=str(error))
            told = error.trouble
        else:
            if told is not None:
                log.info("the ledger takes writes again")
            told = None
