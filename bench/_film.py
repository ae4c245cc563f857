"""A short real film, for servers that decode what they forward.

Two seconds of noise at 720p in VP8, and a tone in Opus, encoded once and sent in a loop.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT = 1_280, 720
FRAMES = 60
FRAMES_PER_S = 30
VIDEO_BPS = 1_500_000
SOUND_HZ = 48_000
SOUND_SAMPLES = 960
TONE_HZ = 440
FRAGMENT_BYTES = 1_100


class Film:
    """Payloads of RTP packets, frame by frame and sound by sound; both begin anew at their end."""

    def __init__(self) -> None:
        self._frames = _frames()
        self._sounds = _sounds()

    def frame(self, number: int) -> list[bytes]:
        """The packets of one picture; the first picture of a round is a keyframe."""
        return self._frames[number % len(self._frames)]

    def sound(self, number: int) -> bytes:
        """20 ms of Opus."""
        return self._sounds[number % len(self._sounds)]


def _frames() -> list[list[bytes]]:
    codec: Any = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    codec.bit_rate = VIDEO_BPS
    codec.time_base = Fraction(1, FRAMES_PER_S)
    codec.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    random = np.random.default_rng(1)
    blocks = random.integers(0, 255, (HEIGHT // 16, WIDTH // 16 + FRAMES), np.uint8)
    packets: list[Any] = []
    for number in range(FRAMES):
        part = blocks[:, number : number + WIDTH // 16].repeat(16, 0).repeat(16, 1)
        picture = np.stack([part, part, part], 2)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += codec.encode(frame)
    packets += codec.encode(None)
    return [_fragments(bytes(packet)) for packet in packets]


def _fragments(picture: bytes) -> list[bytes]:
    """With the shortest payload descriptor of RFC 7741 §4.2."""
    parts = [picture[at : at + FRAGMENT_BYTES] for at in range(0, len(picture), FRAGMENT_BYTES)]
    return [(b"\x10" if index == 0 else b"\x00") + part for index, part in enumerate(parts)]


def _sounds() -> list[bytes]:
    codec: Any = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = SOUND_HZ, "stereo", "s16"
    codec.bit_rate = 48_000
    time = np.arange(SOUND_HZ * 2)
    wave = (np.sin(time * TONE_HZ * 2 * np.pi / SOUND_HZ) * 8_000).astype(np.int16)
    packets: list[Any] = []
    for start in range(0, len(wave), SOUND_SAMPLES):
        samples = wave[start : start + SOUND_SAMPLES].repeat(2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = SOUND_HZ, start
        packets += codec.encode(frame)
    packets += codec.encode(None)
    return [bytes(packet) for packet in packets]
