"""Continuous numbers out of broken ones: sequence, timestamp and VP8 picture id. Pure.

Two steps. `SourceNumbering` turns what a publisher sends (new SSRCs after a reconnect, padding,
restarted encoders) into one endless index and timestamp per source track. `OutNumbering` turns
those into one viewer's continuous stream, whichever sources it is given one after another. In
between, a viewer's numbers differ from the source's by two constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media.keyframes import Vp8Picture, vp8_picture
from media.rtp import unwrap

JUMP_MAX: Final = 3_000
"""RFC 3550 A.1 MAX_DROPOUT: a larger step of the sequence number is a restart, not loss."""
BREAKPOINTS_MAX: Final = 64
"""Dropped padding packets that late packets are still placed around: far more than 2 s of it."""
SHIFTS_MAX: Final = 8
"""Changes of the ids that late packets are still placed around; one per keyframe at most."""
REPLAY_SPEED: Final = 16
"""Cached pictures are shown this much faster than they were taken: a player that starts on them is
at the live picture after a sixteenth of their age instead of running late by all of it."""


@dataclass(slots=True)
class Place:
    """Where a packet belongs: its index and timestamp, and whether it is the newest one.

    Never changed; made for every packet, like `rtp.Header`.
    """

    index: int
    timestamp: int
    newest: bool


class SourceNumbering:
    """The numbers of one source track over all of its publishers."""

    __slots__ = (
        "_breakpoints",
        "_clock_rate_hz",
        "_first_index",
        "_last_sequence",
        "_last_timestamp",
        "_restart_sequence",
        "_started_ns",
        "_timestamp_delta",
        "last_index",
        "running",
    )

    def __init__(self, clock_rate_hz: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self.last_index = 0xFFFF
        self.running = False
        self._first_index = 0
        self._last_sequence = 0  # unwrapped, as the publisher counts
        self._last_timestamp = 0  # unwrapped, as the publisher counts
        self._timestamp_delta = 0
        self._started_ns: int | None = None
        self._breakpoints: list[tuple[int, int]] = []  # from this sequence on, add this
        self._restart_sequence: int | None = None

    def start(self, sequence: int, timestamp: int, elapsed_ns: int) -> Place:
        """A new publisher, stream or encoder begins with this packet.

        The index goes on by one, the timestamp by the time since the last packet
        (`elapsed_ns`; without meaning for the very first one).
        """
        last = self._last_timestamp + self._timestamp_delta
        first_ever = self._started_ns is None
        self._started_ns = 0
        self._last_sequence = sequence + 0x10000
        self._last_timestamp = timestamp + (1 << 32)
        if first_ever:
            self._timestamp_delta = 0
        else:
            ticks = max(elapsed_ns * self._clock_rate_hz // 1_000_000_000, 1)
            self._timestamp_delta = last + ticks - self._last_timestamp
        self.last_index += 1
        self._first_index = self.last_index
        self._breakpoints = [(self._last_sequence, self.last_index - self._last_sequence)]
        self._restart_sequence = None
        self.running = True
        return Place(self.last_index, self._last_timestamp + self._timestamp_delta, True)

    def place(self, sequence: int, timestamp: int) -> Place | None:
        """The next packet of the running stream; None when it belongs nowhere.

        After a jump the first packet is refused; when the next one follows it, `restarted` says
        so and the caller starts anew (RFC 3550 A.1).
        """
        number = unwrap(sequence, self._last_sequence)
        ahead = number - self._last_sequence
        if not -JUMP_MAX < ahead < JUMP_MAX:
            self._restart_sequence = (sequence + 1) & 0xFFFF
            return None
        self._restart_sequence = None
        index = number + self._delta(number)
        if index < self._first_index:
            return None
        full = unwrap(timestamp, self._last_timestamp, 32)
        newest = ahead > 0
        if newest:
            self._last_sequence = number
            self._last_timestamp = max(full, self._last_timestamp)
            self.last_index = index
        return Place(index, full + self._timestamp_delta, newest)

    def restarted(self, sequence: int) -> bool:
        """True when this packet confirms a jump: the stream goes on from elsewhere."""
        return self._restart_sequence == sequence

    def withdraw(self) -> None:
        """The newest packet is not forwarded: its index goes to the next one."""
        self.last_index -= 1
        delta = self._breakpoints[-1][1] - 1
        self._breakpoints.append((self._last_sequence + 1, delta))
        del self._breakpoints[:-BREAKPOINTS_MAX]

    def timestamp_of(self, timestamp: int) -> int:
        """A 32-bit timestamp of the running stream (as in its SR) in the source's own."""
        return unwrap(timestamp, self._last_timestamp, 32) + self._timestamp_delta

    def _delta(self, number: int) -> int:
        for first, delta in reversed(self._breakpoints):
            if number >= first:
                return delta
        return self._breakpoints[0][1]


@dataclass(slots=True)
class PictureLine:
    """The highest ids that any layer of a source was given, not wrapped; -1 for none yet."""

    picture: int = -1
    tl0: int = -1


class PictureIds:
    """VP8 picture ids and TL0PICIDX that go on counting when the encoder changes (RFC 7741).

    Layers of one source share a `PictureLine`. A keyframe, where viewers come over from other
    layers, never has lower ids than those they saw: it goes on from the highest of all layers.
    """

    __slots__ = ("_line", "_picture", "_shifts", "_starting", "_tl0")

    def __init__(self, line: PictureLine | None = None) -> None:
        self._line = line or PictureLine()
        self._picture = self._tl0 = 0  # the newest ids, not wrapped, as the encoder counts
        self._shifts: list[tuple[int, int, int]] = []  # from this index on, add these two
        self._starting = True

    def start(self) -> None:
        """The next payload comes from another encoder."""
        self._starting = True

    def rewrite(self, payload: bytes, index: int, *, newest: bool, keyframe: bool) -> bytes:
        """The payload with continuous ids; itself when there is nothing to change."""
        found = vp8_picture(payload)
        if found is None:
            return payload
        if newest:
            self._count(found, index, keyframe)
        picture_shift, tl0_shift = self._shift_at(index)
        if not picture_shift and not tl0_shift:
            return payload
        changed = bytearray(payload)
        picture = found.picture_id + picture_shift
        if found.picture_bits > 7:
            changed[found.picture_at] = 0x80 | picture >> 8 & 0x7F
            changed[found.picture_at + 1] = picture & 0xFF
        elif found.picture_bits:
            changed[found.picture_at] = picture & 0x7F
        if found.tl0_at:
            changed[found.tl0_at] = found.tl0_index + tl0_shift & 0xFF
        return bytes(changed)

    def _count(self, found: Vp8Picture, index: int, keyframe: bool) -> None:
        line = self._line
        if self._starting:
            self._picture, self._tl0 = found.picture_id, found.tl0_index
        else:
            if found.picture_at:
                bits = max(found.picture_bits, 7)
                self._picture = unwrap(found.picture_id, self._picture, bits)
            if found.tl0_at:
                self._tl0 = unwrap(found.tl0_index, self._tl0, 8)
        if self._starting or keyframe:
            self._go_on(index)
        _, picture_shift, tl0_shift = self._shifts[-1]
        if found.picture_at:
            line.picture = max(line.picture, self._picture + picture_shift)
        if found.tl0_at:
            line.tl0 = max(line.tl0, self._tl0 + tl0_shift)

    def _go_on(self, index: int) -> None:
        """From `index` on the ids are higher than all before, those of other layers too."""
        line = self._line
        old = self._shifts[-1][1:] if self._shifts else (0, 0)
        picture, tl0 = line.picture + 1 - self._picture, line.tl0 + 1 - self._tl0
        if not self._starting:  # the same encoder: only ever forward
            picture, tl0 = max(picture, old[0]), max(tl0, old[1])
        shifts = (picture if line.picture >= 0 else 0, tl0 if line.tl0 >= 0 else 0)
        self._starting = False
        if shifts != old or not self._shifts:
            self._shifts.append((index, *shifts))
            del self._shifts[:-SHIFTS_MAX]

    def _shift_at(self, index: int) -> tuple[int, int]:
        """A late packet gets the ids that it would have had in time."""
        for first, picture, tl0 in reversed(self._shifts):
            if index >= first:
                return picture, tl0
        return self._shifts[0][1:] if self._shifts else (0, 0)


@dataclass(slots=True)
class Segment:
    """A run of source packets that one viewer got under one pair of offsets.

    Packets `first_index..last_index` (None: still running) left with sequence number
    index + `sequence_offset`. Those taken before `live_timestamp` were replayed from the cache.
    """

    first_index: int
    last_index: int | None
    sequence_offset: int
    timestamp_offset: int
    live_timestamp: int

    def out_timestamp(self, timestamp: int) -> int:
        """The viewer's timestamp (not wrapped) for one of the source."""
        live = self.live_timestamp
        if timestamp < live:
            timestamp = live - (live - timestamp) // REPLAY_SPEED
        return timestamp + self.timestamp_offset


class OutNumbering:
    """One viewer stream's numbers, over all rows that ever fed it.

    `sequence` and `timestamp` are the last ones sent, not wrapped.
    """

    __slots__ = ("_clock_rate_hz", "_last_ns", "sequence", "timestamp")

    def __init__(self, clock_rate_hz: int, first_sequence: int, first_timestamp: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self.sequence = first_sequence - 1
        self.timestamp = first_timestamp
        self._last_ns: int | None = None

    def begin(
        self,
        first_index: int,
        first_stamp: int,
        live_stamp: int,
        now_ns: int,
        exact: int | None = None,
    ) -> Segment:
        """Start a run at `first_index`; `live_stamp` is the source's newest timestamp.

        The sequence goes on by one, the timestamp by the time since the last packet, or to
        `exact` where the publisher's clocks tell it and it is near that.
        """
        target = self.timestamp
        if self._last_ns is not None:
            elapsed_ns = max(now_ns - self._last_ns, 0)
            target += max(elapsed_ns * self._clock_rate_hz // 1_000_000_000, 1)
            if exact is not None and abs(exact - target) < self._clock_rate_hz:
                target = max(exact, self.timestamp + 1)
        replayed = (live_stamp - first_stamp) // REPLAY_SPEED
        segment = Segment(first_index, None, self.sequence + 1 - first_index, 0, live_stamp)
        segment.timestamp_offset = target + replayed - live_stamp
        return segment

    def end(self, segment: Segment, last_index: int, last_stamp: int, last_ns: int) -> None:
        """Stop a run after the packet `last_index`, which left at `last_ns` with `last_stamp`.

        An index before the run's first means that nothing was sent.
        """
        segment.last_index = last_index
        if last_index >= segment.first_index:
            self.sequence = last_index + segment.sequence_offset
            self.timestamp = max(segment.out_timestamp(last_stamp), self.timestamp)
            self._last_ns = last_ns
