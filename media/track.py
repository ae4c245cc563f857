"""One encoding of one source: from a publisher's decrypted packet to everybody who gets it.

A track lives as long as its source has an id: publishers come and go, its numbers go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from media.api import Kind
from media.batch import BatchSender
from media.burst import Burst
from media.codecs import VP8
from media.fanout import FanOut
from media.keyframes import audio_start, detector, picture_size
from media.links import CodecFormat, ViewerTrack
from media.outlet import CLOCK_RATE_HZ, Row
from media.rewrite import PictureIds, PictureLine, Place, SourceNumbering
from media.ring import AUDIO_PACKETS, VIDEO_PACKETS, Packet, PacketRing
from media.rtcp import ntp_from_ns
from media.rtp import Header
from media.shape import PacketShape, ShapeKey

if TYPE_CHECKING:
    from media.publisher import Publisher

PLI_INTERVAL_NS: Final = 500_000_000
"""At most one keyframe request per source in this time however many ask, for whichever layers: a
keyframe costs as much as a second of pictures."""
PATIENT_NS: Final = 2_000_000_000
"""The same for who only wants a better picture: of a thousand viewers somebody always does."""
TAKEOVER_NS: Final = 500_000_000
"""Another stream of the same publisher takes the track over when the first was silent this long."""
SEAL_NS: Final = 2_000_000_000
"""How long a packet from before a seal may still come: longer than any repair is tried."""
SHAPES_MAX: Final = 64
"""Kinds of viewers per track whose shapes are kept; there are as many as browsers, about five."""


@dataclass(slots=True, eq=False)
class Shared:
    """What all tracks of a forwarder share: the way out, and who waits for what.

    `queued` waits for the end of the receive batch, the others for the next tick.
    """

    sender: BatchSender
    burst: Burst
    on_unsupported: Callable[[str, Kind], None]
    queued: set[FanOut] = field(default_factory=set)
    replaying: set[Row] = field(default_factory=set)
    wanting: dict[Track, bool] = field(default_factory=dict)  # in their order; True: patient


@dataclass(slots=True)
class KeyframePace:
    """When a source was asked for a keyframe last: browsers answer with one of every layer."""

    asked_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SenderClock:
    """A publisher's sender report: its clock showed `ntp_ns` at `timestamp` of the source."""

    ntp_ns: int
    timestamp: int
    arrived_ns: int


class Track:
    """One source's audio, video or layer of it: its numbers, its ring, and its rows."""

    def __init__(
        self,
        source_id: str,
        kind: Kind,
        shared: Shared,
        pictures: PictureLine | None = None,
        pace: KeyframePace | None = None,
    ) -> None:
        self.source_id = source_id
        self.kind = kind
        self.shared = shared
        self.clock_rate_hz = CLOCK_RATE_HZ[kind]
        self.numbering = SourceNumbering(self.clock_rate_hz)
        self.ring = PacketRing(VIDEO_PACKETS if kind is Kind.VIDEO else AUDIO_PACKETS)
        self.fan = FanOut(shared.sender, frames=kind is Kind.VIDEO)
        self.rows: dict[str, Row] = {}
        self.arrivals: dict[Row, None] = {}  # rows of other layers that come over at a keyframe
        self.rid: str | None = None  # the layer's name, None for an only encoding
        self.picture: tuple[int, int] | None = None  # width and height, when a keyframe told
        self.flowed_ns: int | None = None  # when the last packet with a payload came
        self.pictures = 0  # that ended, as their markers say
        self.format: CodecFormat | None = None
        self.newest: Packet | None = None
        self.publisher: Publisher | None = None
        self.ssrc: int | None = None
        self.last_ns: int | None = None
        self.clock: SenderClock | None = None
        self._clock_ns: int | None = None
        self._clock_now: tuple[int, int] | None = None
        self.octets = 0
        self.has_hole = False
        """True when a packet since the last keyframe is lost for good."""
        self._careful: dict[Row, None] = {}
        self._shapes: dict[ShapeKey, PacketShape] = {}
        self._pictures = PictureIds(pictures)
        self._pace = pace or KeyframePace()
        self._starts_keyframe: Callable[[bytes], bool] = audio_start
        self._sealed_timestamp = self._sealed_until_ns = 0

    # --- packets in --------------------------------------------------------------------------

    def on_packet(
        self,
        ssrc: int,
        codec: CodecFormat,
        header: Header,
        payload: bytes,
        extensions: Mapping[str, bytes],
        now_ns: int,
    ) -> None:
        """One packet of the publisher's primary stream, in whatever order it came."""
        if ssrc != self.ssrc:
            if self.ssrc is not None and now_ns - (self.last_ns or 0) < TAKEOVER_NS:
                return
            self.ssrc = ssrc
            self.numbering.running = False
        place = self._place(codec, header, payload, now_ns)
        self.last_ns = now_ns
        if place is None:
            return
        self.octets += len(payload)
        if not payload and place.newest:
            self.numbering.withdraw()  # padding: viewers have no use for it
            return
        keyframe = self._starts_keyframe(payload)
        if codec.name == VP8:
            payload = self._pictures.rewrite(
                payload, place.index, newest=place.newest, keyframe=keyframe
            )
        packet = Packet(
            place.index,
            place.timestamp,
            header.marker,
            payload,
            extensions,
            codec,
            now_ns,
            keyframe,
        )
        self._deliver(packet, place.newest, now_ns)

    def _place(
        self, codec: CodecFormat, header: Header, payload: bytes, now_ns: int
    ) -> Place | None:
        numbering = self.numbering
        if codec is not self.format:
            if codec != self.format:
                self._change_format(codec)
            self.format = codec  # the same one of another publisher: compared once
        if numbering.running and numbering.restarted(header.sequence):
            numbering.running = False
        if numbering.running:
            place = numbering.place(header.sequence, header.timestamp)
            if place is None or self._is_sealed(place.timestamp, now_ns):
                return None
            known = not place.newest and self.ring.get(place.index) is not None
            return None if known else place
        if not payload or not self._starts_keyframe(payload):
            self.request_keyframe(now_ns)
            return None
        self._pictures.start()
        self.clock = None
        elapsed_ns = now_ns - (self.last_ns or now_ns)
        return numbering.start(header.sequence, header.timestamp, elapsed_ns)

    def _is_sealed(self, timestamp: int, now_ns: int) -> bool:
        """True for what was taken before the seal and comes after it."""
        return timestamp <= self._sealed_timestamp and now_ns < self._sealed_until_ns

    def _deliver(self, packet: Packet, newest: bool, now_ns: int) -> None:
        self.ring.put(packet)
        if packet.keyframe and (newest or not self.arrivals):
            self.shared.wanting.pop(self, None)
            self.has_hole = False
        if not newest:
            for row in tuple(self.rows.values()):
                row.offer_late(packet, now_ns)
            return
        self.newest = packet
        self.flowed_ns = now_ns
        self.pictures += packet.marker
        if len(self.fan):
            size, index, stamp = len(packet.payload), packet.index, packet.timestamp
            self.fan.queue(packet, index, stamp, size, now_ns, complete=packet.marker)
            self.shared.queued.add(self.fan)
        if self._careful:
            for row in tuple(self._careful):
                row.offer(packet, now_ns)
        if packet.keyframe:
            self.picture = picture_size(packet.format.name, packet.payload) or self.picture
            for row in tuple(self.arrivals):
                row.admit(packet, now_ns)

    def _change_format(self, codec: CodecFormat) -> None:
        self.format = codec
        self._starts_keyframe = detector(codec.name) if self.kind is Kind.VIDEO else audio_start
        self.numbering.running = False
        self._shapes.clear()
        for row in tuple(self.rows.values()):
            row.codec_changed()
        self.newest = None
        self.ring.clear()

    # --- rows --------------------------------------------------------------------------------

    def add_row(self, row: Row) -> None:
        """A new entry of the forwarding table; a former one of the same viewer was removed."""
        self.rows[row.viewer_id] = row
        self._careful[row] = None

    def remove_row(self, viewer_id: str) -> None:
        """Nothing of this track goes to this viewer any more when this returns."""
        row = self.rows.pop(viewer_id, None)
        if row is not None:
            row.close()
            self._careful.pop(row, None)
        if not self.rows and not self.arrivals:
            self.shared.wanting.pop(self, None)

    def leave(self, row: Row) -> None:
        """The row does not want to come over any more."""
        self.arrivals.pop(row, None)
        if not self.rows and not self.arrivals:
            self.shared.wanting.pop(self, None)

    def release(self, row: Row) -> None:
        """The row goes over to another layer."""
        self.rows.pop(row.viewer_id, None)
        self._careful.pop(row, None)

    def viewers_loss(self) -> float:
        """The share of packets lost on the way to a viewer, from 0 to 1; the mean of all."""
        told = [row.outlet.path_lost for row in self.rows.values() if row.outlet is not None]
        return sum(told) / len(told) if told else 0.0

    def went_live(self, row: Row) -> None:
        """The row needs no packet offered: the fan-out serves it, or it pauses."""
        self._careful.pop(row, None)

    def left_live(self, row: Row) -> None:
        """The row decides for itself again."""
        self._careful[row] = None

    def seal(self, now_ns: int) -> None:
        """Forget every packet so far; what is still on its way from before is not taken either."""
        self.ring.clear()
        if self.newest is not None:
            self._sealed_timestamp = self.newest.timestamp
            self._sealed_until_ns = now_ns + SEAL_NS
        self.newest = None

    def shape(self, codec: CodecFormat, track: ViewerTrack) -> PacketShape:
        """The shape for a viewer, shared with those who negotiated the same."""
        key = PacketShape.key(codec, track)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= SHAPES_MAX:
                self._shapes.clear()
            shape = self._shapes[key] = PacketShape(codec, track)
        return shape

    # --- the publisher -----------------------------------------------------------------------

    def attach(self, publisher: Publisher) -> None:
        """Another peer connection sends this track from now on."""
        self.publisher = publisher
        self.ssrc = None
        self.numbering.running = False
        self._pace.asked_ns = None

    def detach(self, publisher: Publisher) -> None:
        """The peer connection is gone."""
        if self.publisher is publisher:
            self.publisher = None
            self.shared.wanting.pop(self, None)

    def retire(self) -> None:
        """The publisher that there is now has no such layer."""
        self.publisher = None
        self.numbering.running = False
        self.shared.wanting.pop(self, None)

    def request_keyframe(self, now_ns: int, *, patient: bool = False) -> None:
        """Ask the publisher, now or when the interval is over, until a keyframe comes.

        `patient` is who has a picture and wants a better one.
        """
        if self.kind is not Kind.VIDEO or self.publisher is None:
            return
        wanting = self.shared.wanting
        wanting[self] = patient and wanting.get(self, True)
        self.ask(now_ns)

    def ask(self, now_ns: int) -> None:
        """Tell the publisher which layer has waited longest, as soon as it may be asked again."""
        wanting, pace = self.shared.wanting, self._pace
        passed_ns = PATIENT_NS if pace.asked_ns is None else now_ns - pace.asked_ns
        if passed_ns < PLI_INTERVAL_NS:
            return
        for track, patient in tuple(wanting.items()):
            if track._pace is not pace or track.publisher is None:
                continue
            if passed_ns < PATIENT_NS and patient:
                continue
            if track.publisher.send_pli(track):
                pace.asked_ns = now_ns
                del wanting[track]
                wanting[track] = patient
                return

    def lost(self, noticed_ns: int, now_ns: int) -> None:
        """A packet that was missed then will never come: a keyframe, if it matters to anybody.

        It does not when a keyframe began since, nor while nobody watches; whoever comes then is
        told by `has_hole` that the cached pictures break off.
        """
        keyframe = self.ring.keyframe(now_ns)
        if keyframe is not None and keyframe.arrived_ns >= noticed_ns:
            return
        self.has_hole = True
        if self.rows:
            self.request_keyframe(now_ns)

    def on_sender_report(self, ntp_ns: int, timestamp: int, now_ns: int) -> None:
        """The publisher's clock, already shifted to ours, at a timestamp of its stream."""
        if self.numbering.running:
            stamp = self.numbering.timestamp_of(timestamp)
            self.clock = SenderClock(ntp_ns, stamp, now_ns)

    def clock_at(self, now_ns: int) -> tuple[int, int] | None:
        """(NTP time, timestamp of the source) at this moment, None while nothing flows.

        NTP time is 32.32 fixed point seconds. Worked out once for all viewers of a tick.
        """
        if self._clock_ns == now_ns:
            return self._clock_now
        clock, newest = self.clock, self.newest
        if clock is None and newest is not None:
            clock = SenderClock(newest.arrived_ns, newest.timestamp, newest.arrived_ns)
        if clock is None:
            return None
        passed_ns = now_ns - clock.arrived_ns
        ticks = passed_ns * self.clock_rate_hz // 1_000_000_000
        self._clock_ns = now_ns
        self._clock_now = ntp_from_ns(clock.ntp_ns + passed_ns), clock.timestamp + ticks
        return self._clock_now
