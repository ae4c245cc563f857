"""A publisher of simulcast layers for the forwarder's tests: real VP8 headers, real clocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from media import rtcp
from media.rtp import URI_REPAIRED_RID, URI_RID
from tests.media.farends import MS, SECOND_NS, FarPublisher, World

RID_ID, REPAIRED_RID_ID = 10, 11
EXTENSION_IDS = {URI_RID: RID_ID, URI_REPAIRED_RID: REPAIRED_RID_ID}
SIZES: Mapping[str, tuple[int, int]] = {"q": (320, 180), "h": (640, 360), "f": (1280, 720)}
FRAME_MS = 40
BYTES: Mapping[str, int] = {"q": 500, "h": 1_000, "f": 1_100}
"""Payload bytes per packet; `PACKETS` says how many make a picture."""
PACKETS: Mapping[str, int] = {"q": 1, "h": 2, "f": 6}
"""Together with `BYTES` 100, 400 and 1,320 kbit/s at 25 pictures a second."""


@dataclass
class Encoder:
    """One layer's numbers; nothing starts at zero, and no layer where another one does."""

    rid: str
    ssrc: int
    sequence: int
    stamp_offset: int
    picture: int
    tl0: int
    wants_keyframe: bool = True
    sent: list[tuple[int, bytes]] = field(default_factory=list)  # sequence, payload


def vp8_payloads(encoder: Encoder, packets: int, size: int, *, keyframe: bool) -> list[bytes]:
    """One picture in packets: a descriptor with both ids, then a frame header and its size."""
    ids = bytes((0x80 | encoder.picture >> 8 & 0x7F, encoder.picture & 0xFF, encoder.tl0 & 0xFF))
    width, height = SIZES[encoder.rid]
    head = bytes((0 if keyframe else 1, 0, 0))
    if keyframe:
        head += b"\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")
    mark = b"%s%d " % (encoder.rid.encode(), encoder.picture)
    first = b"\x90\xc0" + ids + head + mark
    rest = b"\x80\xc0" + ids + mark
    starts = [first] + [rest] * (packets - 1)
    return [start.ljust(size, b".") for start in starts]


class LayeredPublisher:
    """Three layers of one camera, which answer keyframe requests with their next picture."""

    def __init__(self, world: World, source_id: str = "s", rids: Sequence[str] = "qhf") -> None:
        self.world = world
        self.end: FarPublisher = world.publisher(source_id, extension_ids=EXTENSION_IDS, rids=rids)
        self.layers = {
            rid: Encoder(
                rid, 0x100 + n, 65_500 + 7_000 * n, 0xFFFFF000 * n, 32_760 + 99 * n, 250 + n
            )
            for n, rid in enumerate(rids)
        }
        self.on = set(rids)
        self.began_ns = world.now_ns
        self.audio_sequence = 500

    def stamp(self, rid: str, ago_ms: int = 0) -> int:
        """The layer's timestamp of now, or of a moment ago."""
        ticks = (self.world.now_ns - self.began_ns - ago_ms * MS) * 90_000 // SECOND_NS
        return ticks + self.layers[rid].stamp_offset & 0xFFFFFFFF

    def picture(
        self, rid: str, *, keyframe: bool = False, drop: bool = False, ago_ms: int = 0
    ) -> None:
        """One picture of one layer, taken a moment ago; `drop` loses its first packet."""
        encoder = self.layers[rid]
        keyframe = keyframe or encoder.wants_keyframe
        encoder.wants_keyframe = False
        encoder.picture += 1
        encoder.tl0 += 1
        payloads = vp8_payloads(encoder, PACKETS[rid], BYTES[rid], keyframe=keyframe)
        for number, payload in enumerate(payloads):
            encoder.sequence = encoder.sequence + 1 & 0xFFFF
            encoder.sent.append((encoder.sequence, payload))
            if drop and number == 0:
                continue
            self.end.video(
                payload,
                encoder.sequence,
                self.stamp(rid, ago_ms),
                ssrc=encoder.ssrc,
                marker=number == len(payloads) - 1,
                extensions=[(RID_ID, rid.encode())],
            )
            self.world.gather()

    def reports(self) -> None:
        """A sender report of every layer."""
        ntp = rtcp.ntp_from_ns(self.world.now_ns + 5_000 * SECOND_NS)
        for rid in self.on:
            ssrc = self.layers[rid].ssrc
            self.end.rtcp(rtcp.build_sr(ssrc, ntp, self.stamp(rid), 0, 0))

    def run_ms(self, time_ms: int, *, audio: bool = True) -> None:
        """Let that much time pass with every layer that is on, and sound."""
        for _ in range(time_ms // FRAME_MS):
            for asked in self.end.asked():
                if isinstance(asked, rtcp.KeyframeRequest):
                    for encoder in self.layers.values():
                        encoder.wants_keyframe |= encoder.ssrc == asked.media_ssrc
            for rid in self.layers:
                if rid in self.on:
                    self.picture(rid)
            if audio:
                for _ in range(2):
                    self.audio_sequence = self.audio_sequence + 1 & 0xFFFF
                    self.end.audio(b"a" * 80, self.audio_sequence, self.audio_sequence * 960)
            if (self.world.now_ns - self.began_ns) // MS % 1_000 < FRAME_MS:
                self.reports()
            self.world.pass_ms(FRAME_MS)
