"""A bad network in one direction, decided datagram by datagram from a seed. Pure but for the seed.

`ImpairedLink` says when a datagram comes out at the other end, if it does; whoever calls it owns
the clock and carries the bytes. The same seed and the same datagrams give the same answers. Tests
use it with virtual time, `bench.impaired_line` with real sockets.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

UDP_IP_OCTETS: Final = 28
"""What a datagram weighs on the wire beyond its payload: IPv4 and UDP headers."""
MS_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is wrong with a network.

    Percentages are chances per datagram; losses come in runs of `burst` on average (Gilbert's
    model of a fading radio), by default each for itself. `jitter_ms` is added to `delay_ms` evenly
    from zero up and keeps the order; `reorder_percent` are held back by `reorder_ms` more and
    overtaken. A `rate_bps` is a bottleneck whose queue takes `queue_ms` of it and then drops what
    comes last, as routers do. With `cut` nothing passes.
    """

    loss_percent: float = 0.0
    burst: int = 1
    duplicate_percent: float = 0.0
    reorder_percent: float = 0.0
    reorder_ms: int = 30
    delay_ms: int = 0
    jitter_ms: int = 0
    rate_bps: int | None = None
    queue_ms: int = 200
    cut: bool = False


CLEAN: Final = Impairment()


@dataclass(slots=True)
class Passed:
    """Sums since the start; octets are those on the wire."""

    offered: int = 0
    offered_octets: int = 0
    lost: int = 0
    """By chance or by a cut."""
    overflowed: int = 0
    """At the full queue of the bottleneck."""
    duplicated: int = 0


class ImpairedLink:
    """One direction of a network; `impairment` may be replaced at any time."""

    def __init__(self, seed: int, impairment: Impairment = CLEAN) -> None:
        self.impairment = impairment
        self.passed = Passed()
        self._random = random.Random(seed)
        self._free_ns = 0  # when the bottleneck has sent all that is queued
        self._last_due_ns = 0
        self._fading = False

    def due(self, size_octets: int, now_ns: int) -> tuple[int, ...]:
        """When the datagram comes out, not before `now_ns`: empty when lost, two when doubled."""
        impairment, passed = self.impairment, self.passed
        wire_octets = size_octets + UDP_IP_OCTETS
        passed.offered += 1
        passed.offered_octets += wire_octets
        # Always as many draws, so that one setting does not change what another decides.
        lost, doubled, late, jitter = (self._random.random() for _ in range(4))
        if impairment.cut or self._loses(lost):
            passed.lost += 1
            return ()
        sent_ns = now_ns
        if impairment.rate_bps is not None:
            start_ns = max(self._free_ns, now_ns)
            if start_ns - now_ns > impairment.queue_ms * MS_NS:
                passed.overflowed += 1
                return ()
            sent_ns = self._free_ns = start_ns + wire_octets * 8 * SECOND_NS // impairment.rate_bps
        due_ns = sent_ns + impairment.delay_ms * MS_NS + int(jitter * impairment.jitter_ms * MS_NS)
        due_ns = max(due_ns, self._last_due_ns)
        if late * 100 < impairment.reorder_percent:
            due_ns += impairment.reorder_ms * MS_NS
        else:
            self._last_due_ns = due_ns
        if doubled * 100 < impairment.duplicate_percent:
            passed.duplicated += 1
            return due_ns, due_ns
        return (due_ns,)

    def _loses(self, chance: float) -> bool:
        share, burst = self.impairment.loss_percent / 100, self.impairment.burst
        if burst <= 1:
            return chance < share
        enter = share / (burst * (1 - share)) if share < 1 else 1.0
        self._fading = chance >= 1 / burst if self._fading else chance < enter
        return self._fading
