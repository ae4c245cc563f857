"""More and more viewers until the server says that it is full: are those who are in hurt before?

One publisher, viewers in steps; after each step a window in which all that arrives is counted. When
the server refuses, newcomers go on knocking for as long as five windows, and those who are in are
counted meanwhile.

    python -m bench.ramp [--step 50] [--seconds 5] [--json result.json]

Met when no window before or after the refusal lost more than a thousandth of what was sent, and
readiness told the reason. Both programs share the machine: when the generator is late, it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from bench._probe import Identity, Probe
from bench.load import DRAIN_S, ESTIMATE_BPS, Publisher, Usage, Viewers, run_for
from bench.peers import SSRCS, Busy, House, Parlour

ADDRESS = "127.0.0.1"
LOSS_MAX = 0.001
KNOCK_WINDOWS = 5
KNOCKS_PER_WINDOW = 10
SETTLE_S = 1.0
READERS = 16
"""Between two joins one of so many viewers is read."""
LOAD = {"worked_ratio": "worked", "lag_seconds": "lag_s"}
"""What the server says of itself, and its name here."""


class Ramp:
    """One run."""

    def __init__(self, server: Parlour, step: int, seconds: float) -> None:
        self._server = server
        self._step = step
        self._seconds = seconds
        self._identity = Identity.new()
        self._viewers = Viewers()
        self._usage = Usage(server.pid)
        self._publisher: Publisher | None = None
        self._asked = 0

    async def run(self, most: int) -> dict[str, Any]:
        """All windows, and what was said at the end."""
        probe = Probe(self._identity, ADDRESS)
        await self._server.publish(probe)
        publisher = self._publisher = Publisher(probe, SSRCS)
        run_for(SETTLE_S, publisher, self._viewers)
        windows: list[dict[str, Any]] = []
        full = False
        while not full and len(self._viewers.probes) < most:
            for _ in range(self._step):
                if not await self._join(publisher):
                    full = True
                    break
            windows.append(await self._window(publisher, "joined"))
        refused = 0
        for _ in range(KNOCK_WINDOWS if full else 0):
            for _ in range(KNOCKS_PER_WINDOW):
                refused += not await self._join(publisher)
            windows.append(await self._window(publisher, "knocked at"))
        for one in self._viewers.probes:
            one.close()
        return {
            "full": full,
            "readiness": await self._readiness(),
            "refused": refused,
            "windows": windows,
            "met": full and all(window["loss"] <= LOSS_MAX for window in windows),
        }

    async def _join(self, publisher: Publisher) -> bool:
        viewer = Probe(self._identity, ADDRESS)
        try:
            await self._server.watch(viewer, self._asked)
        except Busy:
            viewer.close()
            return False
        finally:
            self._asked += 1
            publisher.send_due(time.monotonic())
            publisher.listen()
            # A join takes some 10 ms: a part of them each time is often enough.
            part = range(self._asked % READERS, len(self._viewers.probes), READERS)
            self._viewers.drain(part)
        viewer.report(ESTIMATE_BPS)
        self._viewers.probes.append(viewer)
        self._viewers.restart()
        return True

    async def _window(self, publisher: Publisher, what: str) -> dict[str, Any]:
        viewers = self._viewers
        run_for(SETTLE_S, publisher, viewers)
        viewers.drain()
        viewers.restart()
        publisher.late_ms = []
        cpu_s, start_s = self._usage.cpu_s(), time.monotonic()
        run_for(self._seconds, publisher, viewers)
        wall_s, cpu_s = time.monotonic() - start_s, self._usage.cpu_s() - cpu_s
        load = await self._load()
        run_for(DRAIN_S, publisher, viewers)
        viewers.drain()
        received = sum(sum(tally.received.values()) for tally in viewers.tallies)
        expected = sum(tally.expected() for tally in viewers.tallies)
        window = {
            "viewers": len(viewers.probes),
            "what": what,
            "cpu_share": round(cpu_s / wall_s, 2),
            **load,
            "loss": round(1 - received / max(expected, 1), 6),
            "delay_p99_ms": round(float(np.percentile(viewers.delays_ms or [0.0], 99)), 1),
            "generator_late_p99_ms": round(float(np.percentile(publisher.late_ms or [0], 99)), 1),
        }
        print("  ".join(f"{name} {value}" for name, value in window.items()), flush=True)
        return window

    async def _load(self) -> dict[str, float]:
        _, text = await self._get("/metrics")
        found = {}
        for line in text.splitlines():
            name, _, value = line.removeprefix("parlour_load_").partition(" ")
            if name in LOAD and line != name:
                found[LOAD[name]] = round(float(value), 3)
        return found

    async def _readiness(self) -> str:
        status, text = await self._get("/readyz")
        return f"{status} {text[:300]}"

    async def _get(self, path: str) -> tuple[int, str]:
        url = f"{self._server.url}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status, await response.text()


async def measure(step: int, seconds: float, most: int) -> dict[str, Any]:
    """The whole ramp on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="parlour-bench-") as folder:
        async with Parlour.start(Path(folder), ADDRESS, House()) as server:
            return await Ramp(server, step, seconds).run(most)


def main() -> int:
    """Measure, print each window, and write JSON when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--step", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--most", type=int, default=2_000, help="viewers at which it gives up")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = asyncio.run(measure(options.step, options.seconds, options.most))
    result["cores"] = os.cpu_count()
    print(f"readiness: {result['readiness']}")
    print(f"refused while full: {result['refused']}; {'met' if result['met'] else 'NOT met'}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
