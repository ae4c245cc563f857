"""One publisher, many viewers: what a forwarded packet costs the whole server process.

Starts the real `parlour serve`, publishes a synthetic 720p-like VP8 stream with Opus over WHIP,
watches it over WHEP with `--viewers` probes, and reports CPU per forwarded packet (user and system
time of the server process), packet rate, forwarding delay, loss and memory per viewer.

    python -m bench.fanout --viewers 60 --seconds 20 [--json result.json]

With `--peers parlour,janus-fast,janus` the same load goes to each of them in turn, in a network
namespace of the bench's own (needs root):

    python -m bench.fanout --viewers 120,240 --peers parlour,janus-fast
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench._probe import HEAD_BYTES, Heads, Identity, Probe, random_filler
from bench.peers import PEERS, SSRCS, Peer

VIDEO_BPS = 1_500_000
FRAMES_PER_S = 30
PAYLOAD_BYTES = 1_100
KEYFRAME_PACKETS = 40
AUDIO_PACKETS_PER_S = 50
AUDIO_BYTES = 120
SAMPLE_VIEWERS = 5
"""Probes whose packets are decrypted for the delay."""
DRAIN_S = 0.02
REPORT_S = 1.0
ESTIMATE_BPS = 3_000_000
CONSENT_S = 5.0
WARM_UP_S = 2.0
SETTLE_S = 1.0
LOOPBACK = "127.0.0.1"
NAMESPACE_ADDRESS = "10.77.0.1"
INSIDE = "PARLOUR_BENCH_INSIDE"
"""Set once the bench runs in its own namespace."""
LATE_MS_MAX = 10.0
BUSY_SHARE_MAX = 0.9
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STAMP = struct.Struct("!Q")
RTP = struct.Struct("!BBHII")
HEAD = struct.Struct("!BBHII")


class Publisher:
    """Sends on schedule and answers keyframe requests."""

    def __init__(self, probe: Probe, ssrcs: tuple[int, int]) -> None:
        self._probe = probe
        self._audio_ssrc, self._video_ssrc = ssrcs
        self._filler = random_filler(PAYLOAD_BYTES)
        self._sequences = [1_000, 2_000]
        self._frame = self._sound = 0
        self._credit_bytes = 0.0
        self._keyframe_due = True
        self._start_s = time.monotonic()
        self.sent = 0
        self.late_ms: list[float] = []

    def next_due_s(self) -> float:
        """When the next frame or sound is due."""
        return self._start_s + min(self._frame / FRAMES_PER_S, self._sound / AUDIO_PACKETS_PER_S)

    def send_due(self, now_s: float) -> None:
        """Everything that is due by now."""
        while (due_s := self.next_due_s()) <= now_s:
            self.late_ms.append((now_s - due_s) * 1_000)
            if self._sound / AUDIO_PACKETS_PER_S <= self._frame / FRAMES_PER_S:
                self._send(0, self._audio_ssrc, 111, self._sound * 960, b"\x78", AUDIO_BYTES, True)
                self._sound += 1
            else:
                self._send_frame()

    def _send_frame(self) -> None:
        keyframe, self._keyframe_due = self._keyframe_due, False
        self._credit_bytes += VIDEO_BPS / 8 / FRAMES_PER_S
        count = KEYFRAME_PACKETS if keyframe else max(int(self._credit_bytes / PAYLOAD_BYTES), 1)
        self._credit_bytes -= 0 if keyframe else count * PAYLOAD_BYTES
        picture = 0x8000 | self._frame & 0x7FFF
        for part in range(count):
            start = 0x90 if part == 0 else 0x80
            head = struct.pack("!BBHB", start, 0x80, picture, 0 if keyframe else 1)
            last = part == count - 1
            self._send(1, self._video_ssrc, 96, self._frame * 3_000, head, PAYLOAD_BYTES, last)
        self._frame += 1

    def _send(
        self,
        kind: int,
        ssrc: int,
        payload_type: int,
        timestamp: int,
        head: bytes,
        size: int,
        marker: bool,
    ) -> None:
        sequence = self._sequences[kind] = (self._sequences[kind] + 1) & 0xFFFF
        header = RTP.pack(
            0x80, payload_type | (0x80 if marker else 0), sequence, timestamp & 0xFFFFFFFF, ssrc
        )
        filler = self._filler[: size - len(head) - STAMP.size]
        packet = b"".join((header, head, STAMP.pack(time.time_ns()), filler))
        self._probe.socket.send(self._probe.tx.protect(packet))
        self.sent += 1

    def listen(self) -> None:
        """Read the server's RTCP; a PLI makes the next frame a keyframe."""
        for data, _ in self._probe.received():
            if data[0] >> 6 != 2:
                continue
            plain = self._probe.rx.unprotect_rtcp(data)
            position = 0
            while position + 4 <= len(plain):
                if plain[position + 1] == 206 and plain[position] & 0x1F == 1:
                    self._keyframe_due = True
                position += 4 + 4 * int.from_bytes(plain[position + 2 : position + 4], "big")


@dataclass
class Tally:
    """What one viewer received of each stream inside the window."""

    received: dict[int, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    highest: dict[int, int] = field(default_factory=dict)

    def count(self, ssrc: int, sequence: int) -> None:
        """One packet, by its clear header."""
        highest = self.highest.get(ssrc)
        if highest is None:
            self.first[ssrc] = self.highest[ssrc] = sequence
            self.received[ssrc] = 1
            return
        self.received[ssrc] += 1
        ahead = (sequence - highest) & 0xFFFF
        if ahead < 0x8000:
            self.highest[ssrc] = highest + ahead

    def expected(self) -> int:
        """Packets between the first and the highest of each stream."""
        return sum(self.highest[ssrc] - first + 1 for ssrc, first in self.first.items())


class Viewers:
    """All viewers of one run."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.tallies: list[Tally] = []
        self.delays_ms: list[float] = []
        self._heads = Heads()

    def restart(self) -> None:
        """Count from now on."""
        self.tallies = [Tally() for _ in self.probes]
        self.delays_ms = []

    def drain(self) -> None:
        """Take everything that arrived."""
        for index, probe in enumerate(self.probes):
            if index < SAMPLE_VIEWERS:
                self._drain_sample(probe, self.tallies[index])
            else:
                self._drain_heads(probe, self.tallies[index])

    def _drain_heads(self, probe: Probe, tally: Tally) -> None:
        view = self._heads.view
        while count := self._heads.take(probe.fd):
            for offset in range(0, count * HEAD_BYTES, HEAD_BYTES):
                first, kind, sequence, _, ssrc = HEAD.unpack_from(view, offset)
                if first >= 128 and not 192 <= kind <= 223:
                    tally.count(ssrc, sequence)
            if count < 64:
                return

    def _drain_sample(self, probe: Probe, tally: Tally) -> None:
        for data, arrived_ns in probe.received():
            if data[0] < 128 or 192 <= data[1] <= 223:
                continue
            _, _, sequence, _, ssrc = HEAD.unpack_from(data)
            tally.count(ssrc, sequence)
            plain = probe.rx.unprotect(data)
            start = 12 + (4 + 4 * int.from_bytes(plain[14:16], "big") if plain[0] & 0x10 else 0)
            start += 1 if ssrc == probe.ssrcs[0] else 5
            stamp = STAMP.unpack_from(plain, start)[0]
            self.delays_ms.append((arrived_ns - stamp) / 1_000_000)


class Usage:
    """CPU seconds and resident memory of a process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_s(self) -> float:
        """User and system time so far, all threads."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_kb(self) -> int:
        """Memory in RAM."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


def run_for(seconds: float, publisher: Publisher, viewers: Viewers) -> None:
    """Publish and count for this long."""
    start_s = time.monotonic()
    end_s = start_s + seconds
    drain_s = report_s = start_s
    consent_s = start_s
    while (now_s := time.monotonic()) < end_s:
        publisher.send_due(now_s)
        if now_s >= drain_s:
            drain_s = now_s + DRAIN_S
            viewers.drain()
            publisher.listen()
        if now_s >= report_s:
            report_s = now_s + REPORT_S
            for probe in viewers.probes:
                probe.report(ESTIMATE_BPS)
        if now_s >= consent_s:
            consent_s = now_s + CONSENT_S
            for probe in [*viewers.probes, publisher._probe]:
                probe.keep_alive()
        now_s = time.monotonic()
        time.sleep(max(min(publisher.next_due_s(), drain_s, report_s, end_s) - now_s, 0))


async def _connect(
    peer: Peer, address: str, count: int, usage: Usage
) -> tuple[Publisher, Viewers, dict[str, float]]:
    identity = Identity.new()
    viewers = Viewers()
    probe = Probe(identity, address)
    await peer.publish(probe)
    publisher = Publisher(probe, SSRCS)
    viewers.restart()
    run_for(SETTLE_S, publisher, viewers)
    await asyncio.sleep(0)
    resident_kb = usage.resident_kb()
    joins_cpu_s = usage.cpu_s()
    joins_start_s = time.monotonic()
    for number in range(count):
        viewer = Probe(identity, address)
        await peer.watch(viewer, number)
        viewer.report(ESTIMATE_BPS)  # a browser's first one comes within a second
        viewers.probes.append(viewer)
        viewers.restart()
        publisher.send_due(time.monotonic())
        publisher.listen()
        viewers.drain()
    joins = {
        "cpu_ms": (usage.cpu_s() - joins_cpu_s) * 1_000 / count,
        "wall_ms": (time.monotonic() - joins_start_s) * 1_000 / count,
        "resident_before_kb": resident_kb,
    }
    return publisher, viewers, joins


async def measure(
    name: str, viewer_count: int, seconds: float, address: str = LOOPBACK
) -> dict[str, Any]:
    """One run of one server: everything that is reported."""
    with tempfile.TemporaryDirectory(prefix="parlour-bench-") as folder:
        async with PEERS[name](Path(folder), address) as peer:
            usage, mine = Usage(peer.pid), Usage(os.getpid())
            publisher, viewers, joins = await _connect(peer, address, viewer_count, usage)
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
    return {"server": name} | result


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
        "delay_p50_ms": round(float(np.percentile(delays, 50)), 3),
        "delay_p99_ms": round(float(np.percentile(delays, 99)), 3),
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
    columns = [name for name in results[0] if name != "machine"]
    base = {r["viewers"]: r["cpu_us_per_packet"] for r in results if r["server"] == "janus-fast"}
    for name in columns:
        print(f"{name:>30}" + "".join(f"{r[name]!s:>14}" for r in results))
    if base:
        ratios = [f"{r['cpu_us_per_packet'] / base[r['viewers']]:.2f}" for r in results]
        print(f"{'cpu_to_janus_fast':>30}" + "".join(f"{ratio:>14}" for ratio in ratios))
    print(f"{'machine':>30}  {json.dumps(results[0]['machine'])}")


def main() -> int:
    """Measure, print a table, and write JSON when asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--viewers", type=_counts, default=[60], help="one count, or 60,120,240")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--peers", type=_names, default=["parlour"], help=",".join(PEERS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    address = LOOPBACK
    if arguments.peers != ["parlour"]:
        if INSIDE not in os.environ:
            _inside_a_namespace()
        _prepare_namespace()
        address = NAMESPACE_ADDRESS
    results = [
        asyncio.run(measure(name, count, arguments.seconds, address))
        for count in arguments.viewers
        for name in arguments.peers
    ]
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
