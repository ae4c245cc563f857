"""Encoders for live sending, with no look-ahead: H.264 and VP8 pictures, Opus sound."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import av
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

VideoCodec = Literal["H264", "VP8"]
AnyPacket: TypeAlias = "av.Packet[Any]"

VIDEO_CLOCK = Fraction(1, 90_000)
AUDIO_CLOCK = Fraction(1, 48_000)
AUDIO_RATE_HZ = 48_000
AUDIO_BLOCK_SAMPLES = 960
"""20 ms, the packet length every WebRTC receiver expects."""
AUDIO_BITS_PER_S = 64_000

WIDTH_MAX, HEIGHT_MAX = 1280, 720
"""Above this, encoding in real time on one core is not a given. Pass-through has no such limit."""
RATE_MAX_FPS = 30
KEYFRAME_INTERVAL_S = 2.0
"""Bounds the wait of a viewer whose request for a keyframe was lost."""
FORCED_KEYFRAME_SPACING_S = 0.5
"""However many receivers ask; a keyframe costs ten ordinary frames."""
BITS_PER_PIXEL = 0.07
BITS_PER_S_MIN, BITS_PER_S_MAX = 150_000, 4_000_000
REOPEN_CHANGE = 0.25
"""A new target within a quarter of the old one is not worth a new encoder and its keyframe."""
REOPEN_SPACING_S = 3.0


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """The largest even size of the same shape within 1280 x 720."""
    scale = min(1.0, WIDTH_MAX / width, HEIGHT_MAX / height)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def sensible_bits_per_s(width: int, height: int, fps: float) -> int:
    """A bitrate at which a talking person looks good."""
    return round(min(max(width * height * fps * BITS_PER_PIXEL, 400_000), 2_500_000))


class VideoEncoder:
    """Encodes yuv420p frames of one size; every first frame after a change is a keyframe."""

    def __init__(
        self,
        codec: VideoCodec,
        width: int,
        height: int,
        fps: float,
        bits_per_s: int | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.codec: VideoCodec = codec
        self.width = width
        self.height = height
        self._fps = min(max(fps, 1.0), RATE_MAX_FPS)
        self._full_bits_per_s = bits_per_s or sensible_bits_per_s(width, height, self._fps)
        self._bits_per_s = self._wanted_bits_per_s = self._full_bits_per_s
        self._clock_s = clock_s
        self._context: VideoCodecContext | None = None
        self._opened_s = 0.0
        self._key_s = float("-inf")
        self._key_wanted = False

    def want_keyframe(self) -> None:
        """Make the next frame a keyframe, unless one was made within the last half second.

        May be called from another thread: it sets one flag.
        """
        self._key_wanted = True

    def want_bits_per_s(self, bits_per_s: int) -> None:
        """Follow the receiver's estimate, between 150 kbit/s and what was asked for at first.

        May be called from another thread; it takes effect with a later frame.
        """
        self._wanted_bits_per_s = bits_per_s

    def encode(self, frame: av.VideoFrame, pts: int) -> list[AnyPacket]:
        """One frame in, its packets out; `pts` in 1/90,000 s."""
        context = self._context
        if context is None or self._bits_per_s_changed():
            context = self._open()
        frame.pts = pts
        frame.time_base = VIDEO_CLOCK
        frame.pict_type = self._picture_type()
        packets = context.encode(frame)
        for packet in packets:
            packet.time_base = VIDEO_CLOCK
            if packet.is_keyframe:
                self._key_s = self._clock_s()
        return packets

    def _bits_per_s_changed(self) -> bool:
        if self._clock_s() - self._opened_s < REOPEN_SPACING_S:
            return False
        ceiling = min(self._full_bits_per_s, BITS_PER_S_MAX)
        target = min(max(self._wanted_bits_per_s, BITS_PER_S_MIN), ceiling)
        if abs(target - self._bits_per_s) <= self._bits_per_s * REOPEN_CHANGE:
            return False
        self._bits_per_s = target
        return True

    def _picture_type(self) -> PictureType:
        if self._key_wanted and self._clock_s() - self._key_s >= FORCED_KEYFRAME_SPACING_S:
            self._key_wanted = False
            return PictureType.I
        return PictureType.NONE

    def _open(self) -> VideoCodecContext:
        h264 = self.codec == "H264"
        context = av.CodecContext.create("libx264" if h264 else "libvpx", "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = self.width, self.height
        context.pix_fmt = "yuv420p"
        context.framerate = Fraction(self._fps).limit_denominator(1001)
        context.time_base = VIDEO_CLOCK
        context.bit_rate = self._bits_per_s
        context.gop_size = max(1, round(self._fps * KEYFRAME_INTERVAL_S))
        context.thread_count = 2 if self.width * self.height > 640 * 480 else 1
        limits = {"maxrate": str(self._bits_per_s), "bufsize": str(self._bits_per_s)}
        if h264:
            context.profile = "Baseline"
            context.options = limits | {
                "preset": "superfast",
                "tune": "zerolatency",
                "forced-idr": "1",
                "sc_threshold": "0",
            }
        else:
            context.options = limits | {
                "deadline": "realtime",
                "cpu-used": "16",
                "lag-in-frames": "0",
                "static-thresh": "1",
                "error-resilient": "default",
            }
        self._context = context
        self._opened_s = self._clock_s()
        return context


class AudioEncoder:
    """Encodes sound of any rate and layout as 20 ms Opus packets; pts in 1/48,000 s."""

    DRIFT_SAMPLES_MAX = AUDIO_RATE_HZ // 10
    """A tenth of a second off the input's own time is heard as lips out of step."""

    def __init__(self, *, mono: bool = False, bits_per_s: int = AUDIO_BITS_PER_S) -> None:
        layout = "mono" if mono else "stereo"
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.format = "s16"
        context.layout = layout
        context.sample_rate = AUDIO_RATE_HZ
        context.time_base = AUDIO_CLOCK
        context.bit_rate = bits_per_s
        context.options = {"application": "audio", "frame_duration": "20", "compression_level": "5"}
        self._context = context
        self._layout = layout
        self._resampler = self._new_resampler()
        self._next_pts: int | None = None

    def encode(self, frame: av.AudioFrame, pts: int) -> list[AnyPacket]:
        """One frame in, the packets it filled out; `pts` of its first sample."""
        if self._next_pts is None or abs(pts - self._next_pts) > self.DRIFT_SAMPLES_MAX:
            self._next_pts = pts
            self._resampler = self._new_resampler()
        frame.pts = None
        packets: list[AnyPacket] = []
        for block in self._resampler.resample(frame):
            block.pts = None
            for packet in self._context.encode(block):
                packet.pts = packet.dts = self._next_pts
                packet.time_base = AUDIO_CLOCK
                self._next_pts += AUDIO_BLOCK_SAMPLES
                packets.append(packet)
        return packets

    def _new_resampler(self) -> av.AudioResampler:
        return av.AudioResampler(
            format="s16", layout=self._layout, rate=AUDIO_RATE_HZ, frame_size=AUDIO_BLOCK_SAMPLES
        )
