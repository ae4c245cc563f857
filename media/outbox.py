"""What waits to be written to one TCP connection: whole frames, bounded in bytes and in time. Pure.

A stream delivers everything or nothing, so that a slow reader makes live media late instead of
incomplete. Here it loses packets again, as it would over UDP: when there is too much, pictures go
first and sound after them; what has waited for long, or has not moved for a while, is too old to be
shown.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from media.framing import framed

OUTBOX_BYTES_MAX: Final = 256 * 1024
"""A keyframe of 100 kB and a second of 1.5 Mbit/s; what waits longer is late."""
URGENT_BYTES: Final = 64 * 1024
"""Kept free for sound, feedback, DTLS and answers to checks: pictures get only the rest."""
RESUME_BYTES: Final = 64 * 1024
"""Pictures that were dropped come back when this little waits. Not earlier: a hole here and there
costs a keyframe each time, one long hole costs one."""
STALL_NS: Final = 1_000_000_000
"""Nothing was taken for this long although something waits: the way is cut. As long as pictures
and sound of a call may be late before people speak over each other."""
LATE_NS: Final = 2_000_000_000
"""What has waited for this long is left out, however slowly the rest moves: no jitter buffer has a
use for it (`media.ring.RESEND_AGE_NS_MAX`). So this is also how long packets still leave after a
gate closed that they had passed."""
CHUNKS_MAX: Final = 64
"""Frames per system call: ten pictures of 1.5 Mbit/s."""


class Outbox:
    """One connection's frames. What has been begun is always finished: the stream stays readable.

    `stalled` from the moment it is noticed until the connection takes bytes again; meanwhile
    everything is refused.
    """

    __slots__ = ("_begun", "_frames", "_moved_ns", "_yielding", "bytes", "stalled")

    def __init__(self) -> None:
        self.bytes = 0
        self.stalled = False
        self._frames: deque[tuple[int, bytes]] = deque()  # when it came, what it is
        self._begun = 0  # bytes of the first frame that are gone already
        self._yielding = False
        self._moved_ns = 0  # when bytes were taken last, or when the first one came

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, packet: bytes, now_ns: int, *, urgent: bool) -> bool:
        """Takes one packet to be framed; False when it is dropped."""
        if not self._frames:
            self._moved_ns = max(now_ns, self._moved_ns)
        elif now_ns - self._moved_ns >= STALL_NS:
            self._stall()
        self._drop_late(now_ns)
        if self.stalled or not self._has_room(len(packet), urgent=urgent):
            return False
        frame = framed(packet)
        self._frames.append((now_ns, frame))
        self.bytes += len(frame)
        return True

    def _has_room(self, size: int, *, urgent: bool) -> bool:
        after = self.bytes + size
        if urgent:
            return after <= OUTBOX_BYTES_MAX
        if self._yielding:
            self._yielding = self.bytes > RESUME_BYTES
        else:
            self._yielding = after > OUTBOX_BYTES_MAX - URGENT_BYTES
        return not self._yielding

    def _stall(self) -> None:
        self.stalled = True
        while len(self._frames) > (1 if self._begun else 0):
            self.bytes -= len(self._frames.pop()[1])

    def _drop_late(self, now_ns: int) -> None:
        frames = self._frames
        if not frames or now_ns - frames[0][0] < LATE_NS:
            return
        begun = frames.popleft() if self._begun else None
        while frames and now_ns - frames[0][0] >= LATE_NS:
            self.bytes -= len(frames.popleft()[1])
        if begun is not None:
            frames.appendleft(begun)

    def chunks(self, now_ns: int) -> list[memoryview]:
        """What to write next, at most `CHUNKS_MAX` frames; empty when nothing waits."""
        self._drop_late(now_ns)
        taken = [memoryview(self._frames[i][1]) for i in range(min(len(self._frames), CHUNKS_MAX))]
        if self._begun:
            taken[0] = taken[0][self._begun :]
        return taken

    def wrote(self, size: int, now_ns: int) -> None:
        """The connection took so many bytes of `chunks`, or can take some again (0)."""
        self._moved_ns = now_ns
        self.stalled = False
        self._begun += size
        while self._frames and self._begun >= len(self._frames[0][1]):
            gone = len(self._frames.popleft()[1])
            self._begun -= gone
            self.bytes -= gone
