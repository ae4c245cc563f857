"""The load: one publisher on schedule, many viewers who count, and what a process uses meanwhile.

Packets are synthetic: a stream like 720p at 1.5 Mbit/s with Opus, each stamped with the time at
which it was sent. A server that decodes (`bench.relay_server`) gets a real film instead.
"""

from __future__ import annotations

import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench._film import Film
from bench._probe import BATCH, HEAD_BYTES, Heads, Probe, random_filler

VIDEO_BPS = 1_500_000
FRAMES_PER_S = 30
PAYLOAD_BYTES = 1_100
KEYFRAME_PACKETS = 40
AUDIO_PACKETS_PER_S = 50
AUDIO_BYTES = 120
SAMPLE_VIEWERS = 5
"""Probes whose packets are decrypted for the delay, spread over the order in which they joined."""
DRAIN_S = 0.02
"""After the last packet was sent: what is on its way arrives within this."""
READ_EVERY_S = 0.16
"""How often a probe is read: its socket holds two seconds, and the kernel stamps what arrives, so
that reading late costs nothing but a fuller system call is cheaper."""
TURN_S = 0.002
"""At most so often somebody's turn is looked for, so that a few have theirs together."""
REPORT_S = 1.0
"""How often a viewer reports. Thousands of browsers do not do so at the same instant."""
ESTIMATE_BPS = 3_000_000
CONSENT_S = 5.0
CPUCLOCK_SCHED = 2
"""Of a process's CPU clock (clock_getcpuclockid(3)): in ns, where /proc counts ticks of 10 ms."""
STAMP = struct.Struct("!Q")
RTP = struct.Struct("!BBHII")
HEAD = struct.Struct("!BBHII4x")
"""Of RTP in clear, padded to `HEAD_BYTES`."""


class Publisher:
    """Sends on schedule and answers keyframe requests.

    With `spread_s` the packets of a frame leave over that time, as a browser's pacer lets them;
    else at once.
    """

    def __init__(
        self,
        probe: Probe,
        ssrcs: tuple[int, int],
        film: Film | None = None,
        spread_s: float = 0.0,
    ) -> None:
        self._spread_s = spread_s
        self._paced: deque[tuple[float, Callable[[], None]]] = deque()
        self._probe = probe
        self._film = film
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
        new_s = min(self._frame / FRAMES_PER_S, self._sound / AUDIO_PACKETS_PER_S)
        return min(self._start_s + new_s, self._paced[0][0] if self._paced else math.inf)

    def send_due(self, now_s: float) -> None:
        """Everything that is due by now."""
        while (due_s := self.next_due_s()) <= now_s:
            self.late_ms.append((now_s - due_s) * 1_000)
            if self._paced and self._paced[0][0] <= due_s:
                self._paced.popleft()[1]()
            elif self._sound / AUDIO_PACKETS_PER_S <= self._frame / FRAMES_PER_S:
                self._send_sound()
            else:
                self._send_frame()

    def _send_sound(self) -> None:
        payload = (
            self._film.sound(self._sound) if self._film else self._stamped(b"\x78", AUDIO_BYTES)
        )
        self._send(0, self._audio_ssrc, 111, self._sound * 960, payload, True)
        self._sound += 1

    def _send_frame(self) -> None:
        if self._film:
            payloads = self._film.frame(self._frame)
            for payload in payloads:
                last = payload is payloads[-1]
                self._send(1, self._video_ssrc, 96, self._frame * 3_000, payload, last)
            self._frame += 1
            return
        keyframe, self._keyframe_due = self._keyframe_due, False
        self._credit_bytes += VIDEO_BPS / 8 / FRAMES_PER_S
        count = KEYFRAME_PACKETS if keyframe else max(int(self._credit_bytes / PAYLOAD_BYTES), 1)
        self._credit_bytes -= 0 if keyframe else count * PAYLOAD_BYTES
        picture = 0x8000 | self._frame & 0x7FFF
        for part in range(count):
            start = 0x90 if part == 0 else 0x80
            head = struct.pack("!BBHB", start, 0x80, picture, 0 if keyframe else 1)
            send = partial(self._send_part, head, self._frame * 3_000, part == count - 1)
            if self._spread_s:
                due_s = self._start_s + self._frame / FRAMES_PER_S + self._spread_s * part / count
                self._paced.append((due_s, send))
            else:
                send()
        self._frame += 1

    def _send_part(self, head: bytes, timestamp: int, last: bool) -> None:
        self._send(1, self._video_ssrc, 96, timestamp, self._stamped(head, PAYLOAD_BYTES), last)

    def _send(
        self,
        kind: int,
        ssrc: int,
        payload_type: int,
        timestamp: int,
        payload: bytes,
        marker: bool,
    ) -> None:
        sequence = self._sequences[kind] = (self._sequences[kind] + 1) & 0xFFFF
        header = RTP.pack(
            0x80, payload_type | (0x80 if marker else 0), sequence, timestamp & 0xFFFFFFFF, ssrc
        )
        self._probe.socket.send(self._probe.tx.protect(header + payload))
        self.sent += 1

    def _stamped(self, head: bytes, size: int) -> bytes:
        filler = self._filler[: size - len(head) - STAMP.size]
        return b"".join((head, STAMP.pack(time.time_ns()), filler))

    def keep_alive(self) -> None:
        """Renew the server's consent."""
        self._probe.keep_alive()

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

    def __init__(self, *, stamped: bool = True) -> None:
        self.probes: list[Probe] = []
        self.tallies: list[Tally] = []
        self.delays_ms: list[float] = []
        self._heads = Heads()
        self._samples: set[int] = set()
        self._stamped = stamped

    def restart(self) -> None:
        """Count from now on."""
        count = len(self.probes)
        self.tallies = [Tally() for _ in self.probes]
        self.delays_ms = []
        if self._stamped and count:
            self._samples = {
                (2 * n + 1) * count // (2 * SAMPLE_VIEWERS) for n in range(SAMPLE_VIEWERS)
            }

    def drain(self, indices: Iterable[int] | None = None) -> None:
        """Take what arrived, at everybody's or at some."""
        for index in range(len(self.probes)) if indices is None else indices:
            if index in self._samples:
                self._drain_sample(self.probes[index], self.tallies[index])
            else:
                self._drain_heads(self.probes[index], self.tallies[index])

    def _drain_heads(self, probe: Probe, tally: Tally) -> None:
        count_one = tally.count
        while count := self._heads.take(probe.fd):
            heads = self._heads.view[: count * HEAD_BYTES]
            for first, kind, sequence, _, ssrc in HEAD.iter_unpack(heads):
                if first >= 128 and not 192 <= kind <= 223:
                    count_one(ssrc, sequence)
            if count < BATCH:
                return

    def _drain_sample(self, probe: Probe, tally: Tally) -> None:
        for data, arrived_ns in probe.received():
            if data[0] < 128 or 192 <= data[1] <= 223:
                continue
            _, _, sequence, _, ssrc = RTP.unpack_from(data)
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
        return time.clock_gettime((~self._pid << 3) | CPUCLOCK_SCHED)

    def resident_kb(self) -> int:
        """Memory in RAM."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


class Turns:
    """Everybody has a turn once in a period, one after the other."""

    def __init__(self, period_s: float, count: int, start_s: float) -> None:
        self._period_s = period_s
        self._count = count
        self._start_s = start_s
        self._had = 0

    def due(self, now_s: float) -> list[int]:
        """Whose turn came since; nobody's twice, however late it is."""
        came = int((now_s - self._start_s) / self._period_s * self._count)
        late, self._had = range(max(self._had, came - self._count), came), came
        return [turn % self._count for turn in late]

    @property
    def next_s(self) -> float:
        """When the next one's turn comes; never, when there is nobody."""
        if not self._count:
            return math.inf
        return self._start_s + (self._had + 1) * self._period_s / self._count


def run_for(seconds: float, publisher: Publisher, viewers: Viewers) -> None:
    """Publish and count for this long."""
    start_s = time.monotonic()
    end_s = start_s + seconds
    listen_s = consent_s = start_s
    probes = viewers.probes
    reads, reports, consents = turns = [
        Turns(period_s, len(probes), start_s) for period_s in (READ_EVERY_S, REPORT_S, CONSENT_S)
    ]
    while (now_s := time.monotonic()) < end_s:
        publisher.send_due(now_s)
        viewers.drain(reads.due(now_s))
        for index in reports.due(now_s):
            probes[index].report(ESTIMATE_BPS)
        for index in consents.due(now_s):
            probes[index].keep_alive()
        if now_s >= listen_s:
            listen_s = now_s + DRAIN_S
            publisher.listen()
        if now_s >= consent_s:
            consent_s = now_s + CONSENT_S
            publisher.keep_alive()
        turn_s = max(min(one.next_s for one in turns), now_s + TURN_S)
        wake_s = min(publisher.next_due_s(), turn_s, listen_s, end_s)
        time.sleep(max(wake_s - time.monotonic(), 0))
