"""What every source of packets looks like, and the generated one, `test:NAME`."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import av

from clients._encoders import (
    AUDIO_BLOCK_SAMPLES,
    AUDIO_CLOCK,
    AUDIO_RATE_HZ,
    VIDEO_CLOCK,
    AnyPacket,
    AudioEncoder,
    VideoCodec,
    VideoEncoder,
)
from clients._failures import ClientFailure, InputUnreadable
from clients._picture import Picture, Tone

Kind = Literal["audio", "video"]
Deliver = Callable[[Kind, AnyPacket], None]
Ended = Callable[[ClientFailure | None], None]

STOP_WAIT_S = 2.0
"""A thread stuck in a device read is left behind after this; it is a daemon and holds nothing."""
LATE_S_MAX = 0.5
"""After a longer stall (a suspended laptop) time goes on from now instead of being caught up."""

GENERATED_WIDTH, GENERATED_HEIGHT, GENERATED_FPS = 640, 360, 15
GENERATED_BITS_PER_S = 500_000
GENERATED_AUDIO_BITS_PER_S = 32_000


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a source; `passed` tells that its packets go out as they came in."""

    kind: Kind
    codec: str
    passed: bool
    about: str


class Source(ABC):
    """Reads or makes packets in a thread of its own, at the pace they are to be sent.

    `deliver` and `ended` are called in that thread. Video pts are in 1/90,000 s and audio pts in
    1/48,000 s, both from a common zero.
    """

    def __init__(self, tracks: tuple[Track, ...]) -> None:
        self.tracks = tracks
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, deliver: Deliver, ended: Ended) -> None:
        """Begin; once. `ended(None)` means the input is over, else what broke."""
        self._thread = threading.Thread(
            target=self._guarded, args=(deliver, ended), name="parlour-source", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the input. Blocks for at most two seconds."""
        self._stopping.set()
        if self._thread is None:
            self._close()
        else:
            self._thread.join(STOP_WAIT_S)

    @abstractmethod
    def want_keyframe(self) -> None:
        """The receiver needs a keyframe. Any thread."""

    @abstractmethod
    def want_bits_per_s(self, bits_per_s: int) -> None:
        """The receiver's estimate of what the network carries. Any thread."""

    @abstractmethod
    def _run(self, deliver: Deliver) -> None:
        """Deliver until `_stopping` is set or the input is over."""

    def _close(self) -> None:  # noqa: B027 - most sources hold nothing to release
        """Release the input; in the source's thread if it ran."""

    def _guarded(self, deliver: Deliver, ended: Ended) -> None:
        failure: ClientFailure | None = None
        try:
            self._run(deliver)
        except ClientFailure as known:
            failure = known
        except (av.FFmpegError, OSError, ValueError) as error:
            failure = InputUnreadable(f"the input broke: {error}")
        finally:
            self._close()
        if not self._stopping.is_set():
            ended(failure)

    def _sleep_until(self, instant_s: float) -> bool:
        """Wait for a monotonic instant; False if the source is to stop."""
        return not self._stopping.wait(max(0.0, instant_s - time.monotonic()))


class GeneratedSource(Source):
    """`test:NAME`: the picture and tone of that name, encoded as they are made."""

    def __init__(self, name: str, codec: VideoCodec, bits_per_s: int | None = None) -> None:
        size = f"{GENERATED_WIDTH}x{GENERATED_HEIGHT} at {GENERATED_FPS} fps"
        super().__init__(
            (
                Track("video", codec, passed=False, about=f"generated picture {size}"),
                Track("audio", "opus", passed=False, about="generated tone"),
            )
        )
        self._picture = Picture(name, GENERATED_WIDTH, GENERATED_HEIGHT)
        self._tone = Tone(name)
        self._video = VideoEncoder(
            codec,
            GENERATED_WIDTH,
            GENERATED_HEIGHT,
            GENERATED_FPS,
            bits_per_s or GENERATED_BITS_PER_S,
        )
        self._audio = AudioEncoder(mono=True, bits_per_s=GENERATED_AUDIO_BITS_PER_S)

    def want_keyframe(self) -> None:
        self._video.want_keyframe()

    def want_bits_per_s(self, bits_per_s: int) -> None:
        self._video.want_bits_per_s(bits_per_s)

    def _run(self, deliver: Deliver) -> None:
        begin_s = time.monotonic()
        frames = samples = 0
        while True:
            video_s, audio_s = frames / GENERATED_FPS, samples / AUDIO_RATE_HZ
            due_s = begin_s + min(video_s, audio_s)
            late_s = time.monotonic() - due_s
            if late_s > LATE_S_MAX:
                begin_s += late_s
            if not self._sleep_until(due_s):
                return
            if video_s <= audio_s:
                self._make_frame(video_s, deliver)
                frames += 1
            else:
                self._make_sound(samples, deliver)
                samples += AUDIO_BLOCK_SAMPLES

    def _make_frame(self, video_s: float, deliver: Deliver) -> None:
        frame = self._picture.frame(video_s, datetime.now())
        for packet in self._video.encode(frame, round(video_s / VIDEO_CLOCK)):
            deliver("video", packet)

    def _make_sound(self, first_sample: int, deliver: Deliver) -> None:
        block = self._tone.block(first_sample, AUDIO_BLOCK_SAMPLES)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate = AUDIO_RATE_HZ
        frame.time_base = AUDIO_CLOCK
        for packet in self._audio.encode(frame, first_sample):
            deliver("audio", packet)
