"""A process with a live private session, made to be stopped for longer than its supervision.

Started with a database's address. It opens session `s1` with media that never ends, reports each
durable mark and every loss, and after a line on its input tries whether it may still hold anything.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from billing_meter.database import Database
from billing_meter.meter import LedgerLost, MeterEvent, SessionOrder, Ticked
from billing_meter.tariff import Component
from billing_meter.till import Opened, Till
from billing_meter.wallet import Wallet
from tests.billing_meter.kill_nine_victim import TARIFF, SteadyGate, fast_ns, say


def report(session_id: str, event: MeterEvent) -> None:
    """What became durable, and what was lost."""
    if isinstance(event, Ticked):
        say("mark", session_id, event.snapshot.cost_units)
    if isinstance(event, LedgerLost):
        say("lost", session_id)


async def main(url: str) -> None:
    """Hold `s1` until it is lost; then try to open `s2`."""
    database = await Database.open(url)
    wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
    till = Till(database, wallet, clock_ns=fast_ns, on_event=report, node="paused")
    await till.recover()
    await till.open(SessionOrder("s1", "ann", "eve", TARIFF))
    gate = SteadyGate()
    till.attach("s1", Component.PRIVATE, gate)
    till.start()
    say("open", till.open_sessions)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    switched = await till.switch("s1", Component.CAM2CAM, True)
    again = await till.open(SessionOrder("s2", "ann", "eve", TARIFF))
    say("after", type(switched).__name__, isinstance(again, Opened))
    await till.stop()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
