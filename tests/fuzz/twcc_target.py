"""Fuzzes transport-wide feedback: whatever a sender numbers, what is told is bounded and true."""

import struct

from media import twcc
from media.twcc import TransportFeedback
from tests.media.twcc_reader import read

MOVE = struct.Struct("!HHB")
"""A number, a pause in quarters of a millisecond, and in bit 0 whether feedback is asked for."""
BODY_BYTES_MAX = 8 + 6 * twcc.ARRIVALS_MAX


def seeds() -> list[bytes]:
    def script(*moves: tuple[int, int, int]) -> bytes:
        return b"".join(MOVE.pack(*move) for move in moves)

    return [
        script(*((65_530 + n & 0xFFFF, 12, n % 20 == 19) for n in range(60))),
        script((10, 4, 0), (12, 4, 0), (14, 300, 0), (11, 4, 1), (13, 4_000, 1)),
        script(*((n * 30_000 & 0xFFFF, 1, n % 5 == 4) for n in range(30))),
        script((5, 0, 1), (6, 40_000, 0), (7, 40_000, 0), (8, 65_535, 1), (4, 2_000, 1)),
    ]


def check(data: bytes) -> None:
    feedback = TransportFeedback()
    came: dict[int, set[int]] = {}
    now_ns = 10**12
    for start in range(0, len(data) - MOVE.size + 1, MOVE.size):
        number, pause, asked = MOVE.unpack_from(data, start)
        now_ns += pause * twcc.TICK_NS
        feedback.arrived(number, now_ns)
        came.setdefault(number, set()).add(now_ns // twcc.TICK_NS & 0xFFFFFFFF)
        if not asked & 1:
            continue
        bodies = feedback.due(now_ns)
        assert len(bodies) <= twcc.PACKETS_PER_ROUND_MAX
        for body in bodies:
            assert len(body) <= BODY_BYTES_MAX
            base, count, arrivals = read(body)
            assert 0 < count <= twcc.STATUSES_MAX
            assert arrivals[-1] is not None
            for offset, ticks in enumerate(arrivals):
                assert ticks is None or ticks & 0xFFFFFFFF in came[base + offset & 0xFFFF]
