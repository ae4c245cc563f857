"""A process with live private sessions on a real database, made to be killed at any instant.

A victim has a database's address, the name of its node and a run number. It recovers, says
`recovered`, waits for a line, opens its sessions and reports every durable mark until it is killed.
Time runs ten times as fast, so that a fraction of a second holds several ticks.

Run as a program this is a nursery of victims: it has imported everything, and forks one process
for each order. (A Python that starts is dearer than all of a victim's life.)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from billing_meter.database import Database
from billing_meter.meter import MeterEvent, SessionOrder, Ticked
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Till
from billing_meter.wallet import Wallet, prepare_ledger

SPEED = 10
SESSIONS = 5
TARIFF = Tariff(299, 100, 50)
PURCHASE_UNITS = 300_000
ORDER_BYTES_MAX = 4_096
"""An address, a name and a number."""


def fast_ns() -> int:
    """Monotonic, ten times as fast."""
    return time.monotonic_ns() * SPEED


class SteadyGate:
    """Media without a gap from now on, while the gate is open."""

    def __init__(self) -> None:
        self._reported_ns = fast_ns()
        self._until_ns = 0

    @property
    def last_forwarded_ns(self) -> int | None:
        return min(fast_ns(), self._until_ns) or None

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        end = min(now_ns, self._until_ns)
        if end <= self._reported_ns:
            return []
        begin, self._reported_ns = self._reported_ns, end
        return [(begin, end)]

    def open_until(self, until_ns: int) -> None:
        self._reported_ns = max(self._reported_ns, min(fast_ns(), self._until_ns))
        self._until_ns = until_ns


def say(*words: object) -> None:
    """One line, out at once: the killer reads what was acknowledged."""
    print(*words, flush=True)


def report(session_id: str, event: MeterEvent) -> None:
    """A tick's mark is durable: from here on it must never be lost."""
    if isinstance(event, Ticked):
        say("mark", session_id, event.snapshot.cost_units)


async def main(url: str, node: str, run: str) -> None:
    """Recover, wait for the word, live."""
    database = await Database.open(url)
    await prepare_ledger(database)
    wallet = Wallet(database, utc_now=lambda: datetime.now(UTC))
    till = Till(database, wallet, clock_ns=fast_ns, on_event=report, node=node)
    say("recovered", await till.recover())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    till.start()
    await asyncio.gather(*(live(till, wallet, f"{run}-{n}", n) for n in range(SESSIONS)))
    await asyncio.Event().wait()


async def live(till: Till, wallet: Wallet, session_id: str, n: int) -> None:
    """One session; its member buys first, a surcharge goes on and off."""
    member = f"member-{n}"
    await wallet.open_member(member)
    await wallet.credit_purchase(member, PURCHASE_UNITS, f"buy-{session_id}", "test")
    say("bought", member, PURCHASE_UNITS)
    await till.open(SessionOrder(session_id, member, f"expert-{n}", TARIFF))
    say("open", session_id, fast_ns())
    till.attach(session_id, Component.PRIVATE, SteadyGate())
    till.attach(session_id, Component.CAM2CAM, SteadyGate())
    for on in itertools.cycle((True, False)) if n % 2 else ():
        await till.switch(session_id, Component.CAM2CAM, on)
        await asyncio.sleep(0.05 * n if on else 0.03)


def nursery(orders: socket.socket) -> None:
    """Fork a victim for each order, with its standard input and output; reply with its id.

    Nothing runs here that a fork could break: no event loop, no thread, no open database.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no burial
    while True:
        order, ends, _, _ = socket.recv_fds(orders, ORDER_BYTES_MAX, 2)
        if not order:
            return
        born = os.fork()
        if not born:
            break
        for end in ends:
            os.close(end)
        orders.send(str(born).encode())
    orders.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    url, node, run = order.decode().split("\n")
    asyncio.run(main(url, node, run))


if __name__ == "__main__":
    nursery(socket.socket(fileno=os.dup(0)))
