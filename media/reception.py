"""Loss and jitter of one received RTP stream, for its reports (RFC 3550 A.3, A.8). Pure."""

from __future__ import annotations

from media.rtcp import ReportBlock, ntp_from_ns
from media.rtp import unwrap


class Reception:
    """Counters of one stream of a publisher. Times are monotonic."""

    __slots__ = (
        "_clock_rate_hz",
        "_first",
        "_jitter_16",
        "_last_sr_middle",
        "_last_sr_ns",
        "_prior_expected",
        "_prior_received",
        "_transit",
        "fraction_lost",
        "highest",
        "received",
        "repairs",
    )

    def __init__(self, clock_rate_hz: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._first: int | None = None
        self.highest = 0
        self.received = 0
        self.repairs = 0
        """Packets of `received` that came on the repair stream."""
        self.fraction_lost: float | None = None
        """Of the last report, 0 to 1."""
        self._prior_expected = self._prior_received = 0
        self._transit: int | None = None
        self._jitter_16 = 0
        self._last_sr_middle = 0
        self._last_sr_ns = 0

    def arrived(self, sequence: int, timestamp: int, now_ns: int) -> int:
        """Count a packet: its unwrapped sequence number."""
        if self._first is None:
            # One turn up, so that a packet from before the first is not negative.
            self._first = self.highest = sequence + 0x10000
        number = unwrap(sequence, self.highest)
        self.highest = max(number, self.highest)
        self.received += 1
        arrival = now_ns * self._clock_rate_hz // 1_000_000_000
        transit = arrival - timestamp & 0xFFFFFFFF
        if self._transit is not None:
            difference = transit - self._transit & 0xFFFFFFFF
            difference = min(difference, 0x100000000 - difference)
            self._jitter_16 += difference - (self._jitter_16 + 8 >> 4)
        self._transit = transit
        return number

    def repaired(self) -> None:
        """A packet came on the repair stream: not lost, no matter for the jitter."""
        self.received += 1
        self.repairs += 1

    @property
    def jitter_ns(self) -> int:
        """The interarrival jitter now."""
        return (self._jitter_16 >> 4) * 1_000_000_000 // self._clock_rate_hz

    def sender_report(self, ntp: int, now_ns: int) -> None:
        """Remember the stream's last sender report for the round trip."""
        self._last_sr_middle = ntp >> 16 & 0xFFFFFFFF
        self._last_sr_ns = now_ns

    def block(self, ssrc: int, now_ns: int) -> ReportBlock | None:
        """The report since the last one; None before the first packet."""
        if self._first is None:
            return None
        expected = self.highest - self._first + 1
        expected_now = expected - self._prior_expected
        received_now = self.received - self._prior_received
        self._prior_expected, self._prior_received = expected, self.received
        lost_now = expected_now - received_now
        fraction = min((lost_now << 8) // expected_now, 255) if lost_now > 0 < expected_now else 0
        self.fraction_lost = fraction / 256
        delay = ntp_from_ns(now_ns - self._last_sr_ns) >> 16 if self._last_sr_middle else 0
        return ReportBlock(
            ssrc,
            fraction,
            expected - self.received,
            self.highest - 0x10000,
            self._jitter_16 >> 4,
            self._last_sr_middle,
            delay,
        )
