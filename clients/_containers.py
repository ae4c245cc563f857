"""Sources that exist already: a file, a camera device, an RTSP camera, read with PyAV.

A track whose codec fits goes out as it came in; any other is decoded and encoded anew.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit, urlunsplit

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from clients._encoders import (
    AUDIO_CLOCK,
    RATE_MAX_FPS,
    VIDEO_CLOCK,
    AnyPacket,
    AudioEncoder,
    VideoCodec,
    VideoEncoder,
    fitted_size,
)
from clients._failures import CodecUnsupported, InputLost, InputUnreadable
from clients._sources import LATE_S_MAX, Deliver, GeneratedSource, Kind, Source, Track

CodecChoice = Literal["auto", "h264", "vp8"]

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 10.0
"""A camera that sends nothing for this long is gone."""
DEVICE_SIZE = "1280x720"
DEVICE_FPS = "30"
H264_PROFILES_PASSED = frozenset({"Baseline", "Constrained Baseline", "Main", "High"})
"""8-bit 4:2:0 profiles; what is beyond, browsers do not decode."""
RATE_FALLBACK_FPS = 25
NAL_SPS = 7
ANNEX_B_START = b"\x00\x00\x01"
AVCC_VERSION = 1
"""First byte of an `avcC` box; Annex B begins with zeros."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What to read and how: `name` is a path, a device, an rtsp address or `test:NAME`."""

    name: str
    loop: bool = False
    codec: CodecChoice = "auto"
    bits_per_s: int | None = None


def open_source(options: InputOptions) -> Source:
    """Open the input; raises InputUnreadable or CodecUnsupported. Blocks for up to ten seconds."""
    kind, colon, rest = options.name.partition(":")
    if colon and kind == "test":
        codec: VideoCodec = "H264" if options.codec == "h264" else "VP8"
        return GeneratedSource(rest or "test", codec, options.bits_per_s)
    return ContainerSource(options)


def shown(name: str) -> str:
    """The input's name without the password of a camera in it."""
    parts = urlsplit(name)
    if parts.password is None or parts.hostname is None:
        return name
    host = parts.hostname + (f":{parts.port}" if parts.port else "")
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


def is_live(name: str) -> bool:
    """Whether the input is a camera, which may come back, and not a file or generated."""
    return name.startswith(("/dev/", "rtsp://", "rtsps://"))


def _open_container(name: str) -> InputContainer:
    try:
        if name.startswith(("rtsp://", "rtsps://")):
            options = {"rtsp_transport": "tcp"}
            return av.open(name, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
        if name.startswith("/dev/video"):
            options = {"video_size": DEVICE_SIZE, "framerate": DEVICE_FPS}
            return av.open(name, format="v4l2", options=options)
        if not Path(name).is_file():
            raise InputUnreadable(f"cannot read {shown(name)}: no such file")
        return av.open(name)
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise InputUnreadable(f"cannot read {shown(name)}: {reason}") from error


class _Lane(ABC):
    """One track on its way out; times are seconds from the common zero."""

    def __init__(self, track: Track) -> None:
        self.track = track

    @abstractmethod
    def feed(self, packet: AnyPacket, shift_s: Fraction) -> list[AnyPacket]:
        """Packets to send for one that was read, `shift_s` added to its time."""

    def attach(self, stream: VideoStream | AudioStream) -> None:  # noqa: B027 - most keep nothing
        """The input was opened anew to be looped."""


class _Passed(_Lane):
    """Packets as they came, from the first keyframe on."""

    def __init__(self, track: Track, stream: VideoStream | AudioStream) -> None:
        super().__init__(track)
        self._clock = VIDEO_CLOCK if track.kind == "video" else AUDIO_CLOCK
        self._started = track.kind == "audio"
        self._framing = _AnnexB(cast(VideoStream, stream)) if track.codec == "H264" else None

    def attach(self, stream: VideoStream | AudioStream) -> None:
        if self._framing is not None:
            self._framing = _AnnexB(cast(VideoStream, stream))

    def feed(self, packet: AnyPacket, shift_s: Fraction) -> list[AnyPacket]:
        self._started = self._started or packet.is_keyframe
        if not self._started or packet.pts is None:
            return []
        pts = round((packet.pts * packet.time_base + shift_s) / self._clock)
        framed = [packet] if self._framing is None else self._framing.convert(packet)
        for one in framed:
            one.pts = one.dts = pts
            one.time_base = self._clock
        return framed


class _AnnexB:
    """H.264 as RTP wants it: start codes, and the parameter sets before every keyframe."""

    def __init__(self, stream: VideoStream) -> None:
        extradata = stream.codec_context.extradata or b""
        avcc = extradata[:1] == bytes([AVCC_VERSION])
        self._filter = BitStreamFilterContext("h264_mp4toannexb", stream) if avcc else None
        self._parameter_sets = b"" if avcc else extradata

    def convert(self, packet: AnyPacket) -> list[AnyPacket]:
        if self._filter is not None:
            return self._filter.filter(packet)
        if packet.is_keyframe and self._parameter_sets and not _has_sps(bytes(packet)):
            whole = av.Packet(self._parameter_sets + bytes(packet))
            whole.is_keyframe = True
            return [whole]
        return [packet]


def _has_sps(data: bytes) -> bool:
    at = data.find(ANNEX_B_START)
    while 0 <= at < len(data) - 3:
        if data[at + 3] & 0x1F == NAL_SPS:
            return True
        at = data.find(ANNEX_B_START, at + 3)
    return False


class _EncodedVideo(_Lane):
    """Decoded, scaled to at most 1280 x 720 and 30 fps, and encoded."""

    def __init__(
        self, track: Track, stream: VideoStream, codec: VideoCodec, bits_per_s: int | None
    ) -> None:
        super().__init__(track)
        width, height = fitted_size(stream.codec_context.width, stream.codec_context.height)
        fps = float(stream.average_rate or stream.guessed_rate or RATE_MAX_FPS)
        self.encoder = VideoEncoder(codec, width, height, fps, bits_per_s)
        self._next_s = Fraction(-1)

    def feed(self, packet: AnyPacket, shift_s: Fraction) -> list[AnyPacket]:
        out: list[AnyPacket] = []
        for frame in packet.decode():
            if frame.pts is None:
                continue
            at_s = frame.pts * (frame.time_base or packet.time_base) + shift_s
            if at_s < self._next_s:
                continue
            # A quarter of a frame of slack, or jitter in a 30 fps camera would halve its rate.
            self._next_s = at_s + Fraction(3, 4 * RATE_MAX_FPS)
            small = frame.reformat(self.encoder.width, self.encoder.height, "yuv420p")
            out += self.encoder.encode(small, round(at_s / VIDEO_CLOCK))
        return out


class _EncodedAudio(_Lane):
    """Decoded and encoded as Opus."""

    def __init__(self, track: Track) -> None:
        super().__init__(track)
        self._encoder = AudioEncoder()

    def feed(self, packet: AnyPacket, shift_s: Fraction) -> list[AnyPacket]:
        out: list[AnyPacket] = []
        for frame in cast(list[av.AudioFrame], packet.decode()):
            if frame.pts is None:
                continue
            at_s = frame.pts * (frame.time_base or packet.time_base) + shift_s
            out += self._encoder.encode(frame, round(at_s / AUDIO_CLOCK))
        return out


class ContainerSource(Source):
    """A file at its own pace (looped if asked), or a live input as it comes."""

    def __init__(self, options: InputOptions) -> None:
        self._options = options
        self._container = _open_container(options.name)
        self._live = is_live(options.name)
        self._lanes: dict[int, _Lane] = {}
        self._untimed = 0
        video = next(iter(self._container.streams.video), None)
        audio = next(iter(self._container.streams.audio), None)
        try:
            if video is not None:
                self._lanes[video.index] = self._video_lane(video)
            if audio is not None:
                self._lanes[audio.index] = _audio_lane(audio)
        except (av.FFmpegError, ValueError) as error:
            self._container.close()
            raise CodecUnsupported(f"cannot decode {shown(options.name)}: {error}") from error
        if not self._lanes:
            self._container.close()
            raise CodecUnsupported(f"neither picture nor sound in {shown(options.name)}")
        super().__init__(tuple(lane.track for lane in self._lanes.values()))

    def want_keyframe(self) -> None:
        for lane in self._lanes.values():
            if isinstance(lane, _EncodedVideo):
                lane.encoder.want_keyframe()

    def want_bits_per_s(self, bits_per_s: int) -> None:
        for lane in self._lanes.values():
            if isinstance(lane, _EncodedVideo):
                lane.encoder.want_bits_per_s(bits_per_s)

    def _close(self) -> None:
        self._container.close()

    def _video_lane(self, stream: VideoStream) -> _Lane:
        context, choice = stream.codec_context, self._options.codec
        about = f"{context.name} {context.width}x{context.height}"
        passes = _passed_codec(stream)
        if passes is not None and choice in ("auto", passes.lower()):
            return _Passed(Track("video", passes, passed=True, about=about), stream)
        if not context.width or not context.height:
            raise CodecUnsupported(f"no picture size in {shown(self._options.name)}")
        codec: VideoCodec = "VP8" if choice == "vp8" else "H264"
        track = Track("video", codec, passed=False, about=about)
        return _EncodedVideo(track, stream, codec, self._options.bits_per_s)

    def _run(self, deliver: Deliver) -> None:
        start_s = time.monotonic()
        offset_s = Fraction(0)
        while True:
            length_s = self._play(deliver, start_s, offset_s)
            if self._live and length_s is not None:
                raise InputLost(f"{shown(self._options.name)} sends no more")
            if length_s is None or not self._options.loop:
                return
            offset_s += length_s
            self._container.close()
            self._container = _open_container(self._options.name)
            for index, lane in self._lanes.items():
                lane.attach(cast(VideoStream | AudioStream, self._container.streams[index]))

    def _play(self, deliver: Deliver, start_s: float, offset_s: Fraction) -> Fraction | None:
        """Once through the input; its length, or None if the source is to stop."""
        origin_s: Fraction | None = None
        self._untimed = 0
        end_s = Fraction(0)
        streams = [self._container.streams[index] for index in self._lanes]
        for packet in self._container.demux(streams):
            if self._stopping.is_set():
                return None
            if packet.size == 0:
                continue
            at_s = self._time_of(packet)
            if origin_s is None:
                origin_s = at_s
            at_s -= origin_s
            end_s = max(end_s, at_s + (packet.duration or 0) * packet.time_base)
            start_s = max(start_s, time.monotonic() - float(offset_s + at_s) - LATE_S_MAX)
            if not self._live and not self._sleep_until(start_s + float(offset_s + at_s)):
                return None
            lane = self._lanes[packet.stream_index]
            for out in lane.feed(packet, offset_s - origin_s):
                deliver(lane.track.kind, out)
        return end_s

    def _time_of(self, packet: AnyPacket) -> Fraction:
        """When the packet is to be decoded; a raw stream has no times, only a frame rate."""
        if packet.dts is None:
            if packet.pts is None:
                rate = packet.stream.codec_context.framerate or RATE_FALLBACK_FPS
                step_s = 1 / Fraction(rate)
                packet.pts = round(self._untimed * step_s / packet.time_base)
                self._untimed += 1
            packet.dts = packet.pts
        return packet.dts * packet.time_base


def _passed_codec(stream: VideoStream) -> VideoCodec | None:
    """The codec if its packets can go out as they are, else None."""
    context = stream.codec_context
    match context.name:
        case "vp8" | "libvpx":
            return "VP8"
        case "h264":
            # A B-frame is sent before the frame it is shown after; WebRTC receivers show them
            # in the order of arrival.
            ordered = not context.has_b_frames
            plain = context.pix_fmt in ("yuv420p", "yuvj420p")
            return "H264" if ordered and plain and context.profile in H264_PROFILES_PASSED else None
        case _:
            return None


def _audio_lane(stream: AudioStream) -> _Lane:
    context = stream.codec_context
    kind: Kind = "audio"
    about = f"{context.name} {context.sample_rate} Hz"
    if context.name in ("opus", "libopus") and context.channels <= 2:
        return _Passed(Track(kind, "opus", passed=True, about=about), stream)
    return _EncodedAudio(Track(kind, "opus", passed=False, about=about))
