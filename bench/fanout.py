"""One publisher, many viewers: what a forwarded packet costs the whole server process.

Starts the real `parlour serve`, publishes a synthetic 720p-like VP8 stream with Opus over WHIP,
watches it over WHEP with `--viewers` probes, and reports CPU per forwarded packet (user and system
time of the server process), packet rate, forwarding delay, loss and memory per viewer.

    python -m bench.fanout --viewers 60 --seconds 20 [--json result.json]

With `--peers parlour,janus-fast,janus,media-relay,floor,floor-gso` the same load goes to each of
them in turn, in a network namespace of the bench's own (needs root):

    python -m bench.fanout --viewers 120,240 --peers floor,janus-fast,parlour --rounds 3

Machines drift: of several rounds the median is reported, and what is compared is compared within
one run. `--idle-rooms` and `--chat` fill the house with what should cost a packet nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench._film import Film
from bench._probe import Identity, Probe
from bench.load import DRAIN_S, ESTIMATE_BPS, Publisher, Usage, Viewers, run_for
from bench.peers import PEERS, SSRCS, Busy, House, Peer

JOINS_COUNTED = 20
"""A join's CPU is that of the first ones: later, most of the time is spent on those who watch."""
JOIN_TRIES = 30
JOIN_RETRY_S = 1.0
WARM_UP_S = 2.0
SETTLE_S = 10.0
"""What a server loads in its first seconds, when its timers come round, is not its viewers'."""
LOOPBACK = "127.0.0.1"
NAMESPACE_ADDRESS = "10.77.0.1"
INSIDE = "PARLOUR_BENCH_INSIDE"
"""Set once the bench runs in its own namespace."""
LATE_MS_MAX = 10.0
BUSY_SHARE_MAX = 0.9
PERCENTILES = (50, 99, 99.9)


async def _connect(
    peer: Peer, address: str, count: int, usage: Usage, spread_s: float
) -> tuple[Publisher, Viewers, dict[str, float]]:
    identity = Identity.new()
    viewers = Viewers(stamped=not peer.decodes)
    probe = Probe(identity, address)
    await peer.publish(probe)
    publisher = Publisher(probe, SSRCS, Film() if peer.decodes else None, spread_s)
    viewers.restart()
    run_for(SETTLE_S, publisher, viewers)
    await asyncio.sleep(0)
    resident_kb = usage.resident_kb()
    joins_start_s = time.monotonic()
    joins_cpu_s = usage.cpu_s()
    counted = min(count, JOINS_COUNTED)
    joined_cpu_s = 0.0
    for number in range(count):
        viewer = Probe(identity, address)
        await _join(peer, viewer, number, publisher, viewers)
        viewer.report(ESTIMATE_BPS)  # a browser's first one comes within a second
        viewers.probes.append(viewer)
        viewers.restart()
        publisher.send_due(time.monotonic())
        publisher.listen()
        viewers.drain()
        if number == counted - 1:
            joined_cpu_s = usage.cpu_s() - joins_cpu_s
    joins = {
        "cpu_ms": joined_cpu_s * 1_000 / counted,
        "wall_ms": (time.monotonic() - joins_start_s) * 1_000 / count,
        "resident_before_kb": resident_kb,
    }
    return publisher, viewers, joins


async def _join(
    peer: Peer, viewer: Probe, number: int, publisher: Publisher, viewers: Viewers
) -> None:
    """As a browser does it: whoever is refused for want of room tries again a little later."""
    for _ in range(JOIN_TRIES):
        try:
            await peer.watch(viewer, number)
            return
        except Busy:
            run_for(JOIN_RETRY_S, publisher, viewers)
    raise Busy(f"{peer} has no room for viewer {number + 1}")


async def measure(
    name: str,
    viewer_count: int,
    seconds: float,
    address: str,
    house: House,
    spread_s: float,
) -> dict[str, Any]:
    """One run of one server: everything that is reported."""
    with tempfile.TemporaryDirectory(prefix="parlour-bench-") as folder:
        async with PEERS[name](Path(folder), address, house) as peer:
            usage, mine = Usage(peer.pid), Usage(os.getpid())
            publisher, viewers, joins = await _connect(peer, address, viewer_count, usage, spread_s)
            # The publisher's schedule began before the joins; it must not catch up with them.
            run_for(WARM_UP_S, publisher, viewers)
            viewers.drain()
            viewers.restart()
            publisher.late_ms = []
            sent = publisher.sent
            cpu_s, my_cpu_s, start_s = usage.cpu_s(), mine.cpu_s(), time.monotonic()
            run_for(seconds, publisher, viewers)
            wall_s = time.monotonic() - start_s
            cpu_s, my_cpu_s = usage.cpu_s() - cpu_s, mine.cpu_s() - my_cpu_s
            sent = publisher.sent - sent
            resident_kb = usage.resident_kb()
            await asyncio.sleep(DRAIN_S)
            viewers.drain()
            for probe in viewers.probes:
                probe.close()
    result = _result(viewers, publisher, joins, wall_s, cpu_s, my_cpu_s, sent, resident_kb)
    return {"server": name, "house": house.text} | result


def _result(
    viewers: Viewers,
    publisher: Publisher,
    joins: dict[str, float],
    wall_s: float,
    cpu_s: float,
    my_cpu_s: float,
    sent: int,
    resident_kb: int,
) -> dict[str, Any]:
    received = sum(sum(tally.received.values()) for tally in viewers.tallies)
    expected = sum(tally.expected() for tally in viewers.tallies)
    silent = sum(1 for tally in viewers.tallies if len(tally.received) < 2)
    delays = np.array(viewers.delays_ms or [float("nan")])
    late_p99_ms = float(np.percentile(np.array(publisher.late_ms or [0.0]), 99))
    my_share = my_cpu_s / wall_s
    count = len(viewers.probes)
    return {
        "viewers": count,
        "seconds": round(wall_s, 2),
        "cpu_us_per_packet": round(cpu_s / max(received, 1) * 1e6, 2),
        "server_cpu_share": round(cpu_s / wall_s, 3),
        "packets_out_per_s": round(received / wall_s),
        "packets_in_per_s": round(sent / wall_s, 1),
        **{
            f"delay_p{percent}_ms": round(float(np.percentile(delays, percent)), 3)
            for percent in PERCENTILES
        },
        "loss": round(1 - received / max(expected, 1), 6),
        "viewers_without_both_streams": silent,
        "memory_per_viewer_kb": round((resident_kb - joins["resident_before_kb"]) / count, 1),
        "join_cpu_ms": round(joins["cpu_ms"], 2),
        "join_wall_ms": round(joins["wall_ms"], 2),
        "generator_cpu_share": round(my_share, 3),
        "generator_late_p99_ms": round(late_p99_ms, 2),
        "generator_was_the_limit": my_share > BUSY_SHARE_MAX or late_p99_ms > LATE_MS_MAX,
        "machine": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "kernel": platform.release(),
            "python": platform.python_version(),
            "uvloop": version("uvloop"),
            "pylibsrtp": version("pylibsrtp"),
            "numpy": version("numpy"),
        },
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _inside_a_namespace() -> None:
    """Run again in a network namespace of our own, which ends with us: Janus skips loopback."""
    command = [sys.executable, "-m", "bench.fanout", *sys.argv[1:]]
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", *command])


def _prepare_namespace() -> None:
    for words in (
        "link set lo up",
        "link add wan0 type veth peer name wan1",
        "link set wan1 up",
        f"addr add {NAMESPACE_ADDRESS}/24 dev wan0",
        "link set wan0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def _table(results: list[dict[str, Any]]) -> None:
    columns = [name for name in results[0] if name not in ("machine", "rounds_us")]
    for name in columns:
        print(f"{name:>30}" + "".join(f"{r[name]!s:>14}" for r in results))
    for base in ("janus-fast", "floor", "floor-gso"):
        costs = {r["viewers"]: r["cpu_us_per_packet"] for r in results if r["server"] == base}
        if costs:
            ratios = [
                f"{r['cpu_us_per_packet'] / costs[r['viewers']]:.2f}"
                if r["viewers"] in costs
                else "-"
                for r in results
            ]
            print(f"{'cpu_to_' + base:>30}" + "".join(f"{ratio:>14}" for ratio in ratios))
    print(f"{'machine':>30}  {json.dumps(results[0]['machine'])}")


def _middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure; and every round's cost, to show how much they differ."""
    first = rounds[0]
    middle = {
        name: round(statistics.median(r[name] for r in rounds), 6)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else value
        for name, value in first.items()
    }
    middle["generator_was_the_limit"] = any(r["generator_was_the_limit"] for r in rounds)
    middle["rounds_us"] = [r["cpu_us_per_packet"] for r in rounds]
    return middle


def main() -> int:
    """Measure, print a table, and write JSON when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--viewers", type=_counts, default=[60], help="one count, or 60,120,240")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many is reported")
    parser.add_argument("--peers", type=_names, default=["parlour"], help=",".join(PEERS))
    parser.add_argument(
        "--spread-ms", type=float, default=0.0, help="a frame's packets leave over this time"
    )
    parser.add_argument("--idle-rooms", type=int, default=0, help="experts who are not on air")
    parser.add_argument("--chat", type=int, default=0, help="messages said in every room before")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    address = LOOPBACK
    if arguments.peers != ["parlour"]:
        if INSIDE not in os.environ:
            _inside_a_namespace()
        _prepare_namespace()
        address = NAMESPACE_ADDRESS
    house = House(arguments.idle_rooms, arguments.chat)
    rounds: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for _ in range(arguments.rounds):
        for count in arguments.viewers:
            for name in arguments.peers:
                figures = asyncio.run(
                    measure(
                        name, count, arguments.seconds, address, house, arguments.spread_ms / 1_000
                    )
                )
                rounds.setdefault((count, name), []).append(figures)
    results = [_middle(figures) for figures in rounds.values()]
    _table(results)
    if arguments.json:
        whole = results[0] if len(results) == 1 else results
        arguments.json.write_text(json.dumps(whole, indent=2) + "\n")
    return 0


def _counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"unknown server {name!r}: {', '.join(PEERS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
