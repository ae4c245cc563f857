"""The generated picture and tone of `test:NAME`: told apart at a glance, cheap to draw.

Everything that stands still is drawn once with Pillow. A frame is then a copy of three planes, one
blended disc and the digits of the clock, about a tenth of a millisecond at 640 x 360, so that
several publishers fit beside a server on a small machine.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.uint8]
Rgb = tuple[int, int, int]

CLOCK_GLYPHS = "0123456789:."
DISC_SWING_S = 7.0
"""One sweep of the disc across the picture; slow enough to look calm on a home page."""
TONE_HZ_LOWEST = 220.0
TONE_PEAK = 0.06
"""Of full scale: audible on a laptop, not a nuisance with three tabs open."""
TONE_SWELL_S = 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a name decides: its colour (0 to 1 around the wheel) and the pitch of its tone."""

    hue: float
    tone_hz: float

    @classmethod
    def of(cls, name: str) -> Look:
        """The same name always looks and sounds the same."""
        digest = hashlib.sha256(name.encode()).digest()
        # Pitches on a pentatonic scale, so that several at once do not grate.
        step = (0, 2, 4, 7, 9)[digest[1] % 5] + 12 * (digest[2] % 2)
        return cls(hue=digest[0] / 256, tone_hz=TONE_HZ_LOWEST * 2 ** (step / 12))


@dataclass(slots=True)
class _Planes:
    """Luma at full size, the two chromas at half: views into one yuv420p buffer."""

    y: Plane
    u: Plane
    v: Plane


def _planes_of(buffer: Plane, width: int, height: int) -> _Planes:
    luma = width * height
    chroma = luma // 4
    flat = buffer.reshape(-1)
    half = (height // 2, width // 2)
    return _Planes(
        y=flat[:luma].reshape(height, width),
        u=flat[luma : luma + chroma].reshape(half),
        v=flat[luma + chroma :].reshape(half),
    )


def _colour(hue: float, lightness: float, saturation: float) -> Rgb:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _yuv(colour: Rgb) -> tuple[int, int, int]:
    """BT.601 limited range, what every browser assumes for a stream that does not say."""
    red, green, blue = (value / 255 for value in colour)
    y = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    u = 128 - 37.797 * red - 74.203 * green + 112.0 * blue
    v = 128 + 112.0 * red - 93.786 * green - 18.214 * blue
    return round(y), round(u), round(v)


class Picture:
    """Draws `test:NAME`; frames are yuv420p, `width` and `height` multiples of 4."""

    def __init__(self, name: str, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._look = Look.of(name)
        self._base = self._draw_base(name)
        self._buffer = np.empty_like(self._base)
        self._planes = _planes_of(self._buffer, width, height)
        self._glyphs = _clock_glyphs(max(12, height // 14))
        self._disc_radius = height // 5 // 2 * 2
        self._disc_y = _disc_alpha(self._disc_radius)
        self._disc_uv = self._disc_y[::2, ::2]
        self._disc_colour = _yuv(_colour(self._look.hue + 0.12, 0.72, 0.85))

    def frame(self, media_s: float, clock: datetime) -> av.VideoFrame:
        """The picture at `media_s` seconds, with `clock` written into it."""
        np.copyto(self._buffer, self._base)
        self._blend_disc(media_s)
        self._write_clock(f"{clock:%H:%M:%S}.{clock.microsecond // 100_000}")
        return av.VideoFrame.from_ndarray(self._buffer, format="yuv420p")

    def _draw_base(self, name: str) -> Plane:
        width, height, hue = self._width, self._height, self._look.hue
        top = np.array(_colour(hue, 0.42, 0.55), dtype=np.float32)
        bottom = np.array(_colour(hue + 0.08, 0.16, 0.6), dtype=np.float32)
        mix = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        rows = (top * (1 - mix) + bottom * mix).astype(np.uint8)
        image = Image.fromarray(np.broadcast_to(rows, (height, width, 3)).copy())
        draw = ImageDraw.Draw(image)
        self._draw_person(draw)
        margin = height // 18
        text = ImageFont.load_default(max(14, height // 8))
        draw.text((margin, height - margin), name, font=text, fill=(255, 255, 255), anchor="ls")
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        return np.ascontiguousarray(frame.reformat(format="yuv420p").to_ndarray(), dtype=np.uint8)

    def _draw_person(self, draw: ImageDraw.ImageDraw) -> None:
        """Head and shoulders, so that a grid of these reads as a grid of people."""
        centre, unit = self._width / 2, self._height / 100
        fill = _colour(self._look.hue + 0.04, 0.1, 0.5)
        draw.ellipse((centre - 14 * unit, 24 * unit, centre + 14 * unit, 56 * unit), fill=fill)
        draw.ellipse((centre - 32 * unit, 60 * unit, centre + 32 * unit, 140 * unit), fill=fill)

    def _blend_disc(self, media_s: float) -> None:
        radius = self._disc_radius
        phase = 2 * math.pi * media_s / DISC_SWING_S
        reach_x = self._width - 2 * radius
        reach_y = self._height // 2 - radius
        left = int((0.5 + 0.5 * math.sin(phase)) * reach_x) // 2 * 2
        top = int((0.5 + 0.5 * math.cos(2 * phase)) * max(0, reach_y)) // 2 * 2
        size, y_value, u_value, v_value = 2 * radius, *self._disc_colour
        _blend(self._planes.y[top : top + size, left : left + size], self._disc_y, y_value)
        top, left, size = top // 2, left // 2, radius
        _blend(self._planes.u[top : top + size, left : left + size], self._disc_uv, u_value)
        _blend(self._planes.v[top : top + size, left : left + size], self._disc_uv, v_value)

    def _write_clock(self, text: str) -> None:
        glyphs = [self._glyphs[letter] for letter in text]
        margin = self._height // 18
        left = self._width - margin - sum(glyph.shape[1] for glyph in glyphs)
        for glyph in glyphs:
            rows, columns = glyph.shape
            area = self._planes.y[margin : margin + rows, left : left + columns]
            np.maximum(area, glyph, out=area)
            left += columns


def _blend(area: Plane, alpha: NDArray[np.uint16], value: int) -> None:
    mixed = area * (256 - alpha) + alpha * np.uint16(value)
    area[:] = (mixed >> 8).astype(np.uint8)


def _disc_alpha(radius: int) -> NDArray[np.uint16]:
    axis = np.arange(-radius, radius) + 0.5
    distance = np.hypot(axis[:, None], axis[None, :])
    alpha: NDArray[np.float64] = np.clip((radius - distance) / (radius * 0.35), 0, 1) * 200
    return alpha.astype(np.uint16)


@cache
def _clock_glyphs(height: int) -> dict[str, Plane]:
    """White digits on black, all digits equally wide so that the clock does not jitter."""
    font = ImageFont.load_default(height)
    digit_width = math.ceil(max(font.getlength(letter) for letter in "0123456789"))
    glyphs: dict[str, Plane] = {}
    for letter in CLOCK_GLYPHS:
        width = digit_width if letter.isdigit() else math.ceil(font.getlength(letter))
        image = Image.new("L", (width, height * 5 // 4), 0)
        ImageDraw.Draw(image).text((0, height), letter, font=font, fill=235, anchor="ls")
        glyphs[letter] = np.asarray(image)
    return glyphs


class Tone:
    """A quiet tone that swells and fades, 48 kHz mono, in blocks of any length."""

    RATE_HZ = 48_000

    def __init__(self, name: str) -> None:
        self._hz = Look.of(name).tone_hz

    def block(self, first_sample: int, samples: int) -> NDArray[np.int16]:
        """`samples` samples starting at `first_sample`; shape (1, samples), s16."""
        t = (first_sample + np.arange(samples)) / self.RATE_HZ
        swell = 0.6 + 0.4 * np.sin(2 * math.pi * t / TONE_SWELL_S)
        wave = np.sin(2 * math.pi * self._hz * t) + 0.3 * np.sin(4 * math.pi * self._hz * t)
        scaled: NDArray[np.float64] = wave * swell * (TONE_PEAK / 1.3 * 32767)
        return scaled.astype(np.int16).reshape(1, samples)
