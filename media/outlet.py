"""One viewer's stream of one kind, and the row that feeds it from a source.

`Row` is the forwarding table's entry. It decides packet by packet whether the viewer gets it:
only while its gate is open, video only from a keyframe on. Once it is live and has no gate, its
packets go through the track's `FanOut` and no longer past this code.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from media import rtcp
from media.api import Kind
from media.batch import Lane
from media.codecs import pick
from media.gate import Gate
from media.links import ViewerLink, ViewerTrack
from media.nack import ResendBudget
from media.reported_loss import ReportedLoss
from media.rewrite import OutNumbering, Segment
from media.ring import RESEND_AGE_NS_MAX, Packet
from media.rtp import unwrap
from media.shape import PacketShape

if TYPE_CHECKING:
    from media.layers import Layers

REPLAY_BURST_PACKETS: Final = 32
"""Cached packets sent to a joining viewer at once, and again every tick: 14 Mbit/s, which a socket
buffer of 212 kB takes without loss."""
BEGIN_ANEW_NS: Final = 2_000_000_000
"""At most one keyframe in this time for what one viewer lost beyond repair: everybody gets it."""
SEGMENTS_MAX: Final = 32
"""Runs of packets that a NACK is looked up in: each ended by a closed gate or a new codec."""
CLOCK_RATE_HZ: Final = {Kind.AUDIO: 48_000, Kind.VIDEO: 90_000}


class RowState(enum.Enum):
    """What a row does with the next packet."""

    WAITING = enum.auto()  # for a viewer, a publisher, an open gate or a keyframe
    REPLAYING = enum.auto()  # sending cached packets, not yet at the newest
    LIVE = enum.auto()
    UNSUPPORTED = enum.auto()  # the viewer cannot decode what the source sends


class Outlet:
    """One viewer's stream of one kind: its numbers and counters, whoever feeds it."""

    def __init__(
        self, link: ViewerLink, track: ViewerTrack, random_bits: Callable[[int], int]
    ) -> None:
        self.link = link
        self.track = track
        # Below 2**15, so that the first packets cannot wrap: an SRTP receiver that misses those
        # would guess a wrong rollover counter (RFC 3711 §3.3.1).
        self.numbering = OutNumbering(CLOCK_RATE_HZ[track.kind], random_bits(15), random_bits(31))
        self.rtx_sequence = random_bits(15)
        self.description = rtcp.build_sdes(track.ssrc, link.cname)
        self.budget = ResendBudget()
        self.row: Row | None = None
        self.packets = 0
        self.octets = 0
        self.resent = 0
        self.asked_again = 0  # packets in the viewer's NACKs
        self.keyframes_asked = 0
        self.losses = ReportedLoss()
        self.fraction_lost: float | None = None
        self.jitter_ticks = 0
        self.round_trip_ns = 0
        self.began_anew_ns = 0


class Row:
    """Source → viewer, of one kind. Exists from `forward` to `stop`, with or without its ends."""

    def __init__(self, layers: Layers, viewer_id: str, gate: Gate | None) -> None:
        self.layers = layers
        self.track = layers.entry()
        self.viewer_id = viewer_id
        self.gate = gate
        self.state = RowState.WAITING
        self.outlet: Outlet | None = None
        self._lane: Lane | None = None
        self._shape: PacketShape | None = None
        self._segments: deque[Segment] = deque(maxlen=SEGMENTS_MAX)
        self._cursor = 0  # the next index to send
        self._last_stamp = self._last_ns = 0  # of what was sent last
        self._not_before = 0
        self._in_fan = False
        self._fan_packets = self._fan_octets = 0

    # --- its two ends ----------------------------------------------------------------------

    def connect(self, outlet: Outlet, now_ns: int) -> None:
        """The viewer is there: packets may go to its stream."""
        self.outlet = outlet
        outlet.row = self
        self.choose_format()
        self.start(now_ns)

    def close(self) -> None:
        """Nothing is sent any more when this returns, and nothing is sent again."""
        self._end_segment()
        self._segments.clear()
        self.state = RowState.WAITING
        if self.outlet is not None and self.outlet.row is self:
            self.outlet.row = None
        self.outlet = None
        self._lane = None

    def choose_format(self) -> None:
        """Match the source's codec with the viewer's."""
        source = self.track.format
        outlet = self.outlet
        if source is None or outlet is None:
            return
        codec = pick(source, outlet.track.formats)
        if codec is None:
            self.state = RowState.UNSUPPORTED
            self.track.shared.on_unsupported(self.viewer_id, self.track.kind)
            return
        self.state = RowState.WAITING
        link = outlet.link
        self._shape = self.track.shape(codec, outlet.track)
        self._lane = Lane(
            link.srtp_tx, link.destination, outlet.track.ssrc, self._shape, link.trailer_bytes
        )
        self._lane.urgent = self.track.kind is Kind.AUDIO

    def codec_changed(self) -> None:
        """The source sends another codec from now on."""
        self._end_segment()
        self._lane = None
        self.choose_format()

    # --- packets ---------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """True when the row sends every packet as it comes."""
        return self.state is RowState.LIVE

    def offer(self, packet: Packet, now_ns: int) -> None:
        """The newest packet of the track."""
        if self._shut(now_ns):
            return
        match self.state:
            case RowState.LIVE:
                self._send(packet, self._segments[-1], now_ns)
                self._cursor = packet.index + 1
            case RowState.REPLAYING:
                self.replay(now_ns)
            case RowState.WAITING:
                self.start(now_ns)
            case RowState.UNSUPPORTED:
                pass

    def offer_late(self, packet: Packet, now_ns: int) -> None:
        """A packet older than the newest: repaired or reordered on its way to us."""
        if self.gate is not None and now_ns >= self.gate.open_until_ns:
            return
        if self.state is RowState.REPLAYING and packet.index >= self._cursor:
            return  # its turn comes
        segment = self._segment_of(packet.index)
        if segment is not None:
            self._send(packet, segment, now_ns)
        elif self.state is RowState.WAITING and packet.keyframe:
            self.start(now_ns)

    def start(self, now_ns: int) -> None:
        """Begin with what the cache holds, or ask for a keyframe."""
        lane, outlet, newest = self._lane, self.outlet, self.track.newest
        if self.state is not RowState.WAITING or lane is None or self._shut(now_ns):
            return
        if outlet is None:
            return
        if newest is None:
            self.track.request_keyframe(now_ns)
            return
        first: Packet | None = newest
        if self.track.kind is Kind.VIDEO:
            first = self.track.ring.keyframe(now_ns)
        if first is None or first.index < self._not_before:
            self.track.request_keyframe(now_ns)
            return
        segment = outlet.numbering.begin(first.index, first.timestamp, newest.timestamp, now_ns)
        self._segments.append(segment)
        lane.sequence_offset = segment.sequence_offset
        lane.timestamp_offset = segment.timestamp_offset
        self._cursor = first.index
        self.state = RowState.REPLAYING
        if self.track.has_hole:
            self.track.request_keyframe(now_ns)  # what is cached breaks off
        self.replay(now_ns)

    def replay(self, now_ns: int) -> None:
        """Send the next cached packets; live when there are no more."""
        if self.state is not RowState.REPLAYING or self._shut(now_ns):
            return
        track = self.track
        end = min(track.numbering.last_index + 1, self._cursor + REPLAY_BURST_PACKETS)
        while self._cursor < end:
            packet = track.ring.get(self._cursor)
            self._cursor += 1
            if packet is not None:
                self._send(packet, self._segments[-1], now_ns)
        if self._cursor <= track.numbering.last_index:
            track.shared.replaying.add(self)
            return
        self.state = RowState.LIVE
        track.shared.replaying.discard(self)
        self._join_fan()

    def _join_fan(self) -> None:
        lane, track = self._lane, self.track
        if self.gate is not None or lane is None or lane.destination.stream is not None:
            return
        track.went_live(self)
        track.fan.add(lane)
        self._in_fan = True
        self._fan_packets, self._fan_octets = track.fan.packets, track.fan.octets

    def _leave_fan(self) -> None:
        lane, newest = self._lane, self.track.newest
        if not self._in_fan or lane is None:
            return
        self.count_fan()
        self.track.fan.remove(lane)
        self._in_fan = False
        self._cursor = self.track.numbering.last_index + 1
        if newest is not None:
            self._last_stamp, self._last_ns = newest.timestamp, newest.arrived_ns

    def rerouted(self) -> None:
        """The viewer went from UDP to TCP or back: only what goes out as datagrams is fanned out.

        Its numbers go on; no packet is lost or sent twice by the change.
        """
        if self._in_fan:
            self._leave_fan()
            self.track.left_live(self)
        elif self.live:
            self._join_fan()

    def _shut(self, now_ns: int) -> bool:
        gate = self.gate
        if gate is None or now_ns < gate.open_until_ns:
            return False
        if self.state in (RowState.LIVE, RowState.REPLAYING):
            self._end_segment()
            self.state = RowState.WAITING
        if gate.first_forwarded_ns is not None:
            # What comes while an opened gate is shut was not paid for: it is never made up for.
            self._not_before = self.track.numbering.last_index + 1
        return True

    def _send(self, packet: Packet, segment: Segment, now_ns: int) -> None:
        lane, outlet = self._lane, self.outlet
        if lane is None or outlet is None:
            return
        template, word = lane.shape.render(packet, now_ns)
        sequence = packet.index + segment.sequence_offset
        stamp = segment.out_timestamp(packet.timestamp)
        self._last_stamp = max(packet.timestamp, self._last_stamp)
        self._last_ns = now_ns
        if self.track.shared.sender.send_rtp(lane, template, word, sequence, stamp):
            outlet.packets += 1
            outlet.octets += len(packet.payload)
            if self.gate is not None:
                self.gate.note(now_ns)

    def _end_segment(self) -> None:
        self.track.shared.replaying.discard(self)
        if self.state not in (RowState.LIVE, RowState.REPLAYING):
            return
        self._leave_fan()
        if self.outlet is not None:
            last = (self._cursor - 1, self._last_stamp, self._last_ns)
            self.outlet.numbering.end(self._segments[-1], *last)
        self.track.left_live(self)

    def count_fan(self) -> None:
        """Bring the outlet's counters up to date with what the fan-out sent."""
        if self._in_fan and self.outlet is not None:
            fan = self.track.fan
            self.outlet.packets += fan.packets - self._fan_packets
            self.outlet.octets += fan.octets - self._fan_octets
            self._fan_packets, self._fan_octets = fan.packets, fan.octets

    # --- repair ----------------------------------------------------------------------------

    def resend(self, sequences: tuple[int, ...], now_ns: int) -> int:
        """Answer a NACK on the RTX stream: how many packets were sent again.

        Only what this viewer was really sent is found, only while the gate is open. Without a
        negotiated RTX stream nothing is sent again: the same sequence number must never be
        encrypted twice with different bytes (AES-GCM), and keeping every viewer's ciphertext
        would cost more than a keyframe.
        """
        lane, outlet = self._lane, self.outlet
        if lane is None or outlet is None or outlet.track.rtx_ssrc is None or not self._segments:
            return 0
        if self.gate is not None and now_ns >= self.gate.open_until_ns:
            return 0
        self.count_fan()
        segment = self._segments[-1]
        highest = self._last_sent(segment) + segment.sequence_offset
        count = 0
        for sequence in sequences:
            if self._resend_one(unwrap(sequence, highest), lane, outlet, now_ns):
                count += 1
        outlet.resent += count
        return count

    def _resend_one(self, sequence: int, lane: Lane, outlet: Outlet, now_ns: int) -> bool:
        for segment in reversed(self._segments):
            index = sequence - segment.sequence_offset
            if segment.first_index <= index <= self._last_sent(segment):
                break
        else:
            return False
        packet = self.track.ring.get(index)
        if packet is None:
            return False
        if now_ns - packet.arrived_ns > RESEND_AGE_NS_MAX:
            self._begin_anew(packet, outlet, now_ns)
            return False
        shape = self._shape
        rendered = shape.render_rtx(packet, sequence, now_ns) if shape is not None else None
        if rendered is None or not outlet.budget.allow(
            sequence,
            len(rendered[0]),
            now_ns,
            sent_octets=outlet.octets,
            round_trip_ns=outlet.round_trip_ns,
        ):
            if outlet.budget.beyond_repair:
                self._begin_anew(packet, outlet, now_ns)
            return False
        outlet.rtx_sequence += 1
        stamp = segment.out_timestamp(packet.timestamp)
        template, word = rendered
        return self.track.shared.sender.send_rtp(
            lane, template, word, outlet.rtx_sequence, stamp, ssrc=outlet.track.rtx_ssrc
        )

    def _begin_anew(self, lost: Packet, outlet: Outlet, now_ns: int) -> None:
        """What is lost stays lost: a keyframe, unless one began since.

        The browser would come to ask for it too, after a picture that stood still for 3 s.
        """
        keyframe = self.track.ring.keyframe(now_ns)
        if keyframe is not None and keyframe.index > lost.index:
            return
        if now_ns - outlet.began_anew_ns >= BEGIN_ANEW_NS:
            outlet.began_anew_ns = now_ns
            self.track.request_keyframe(now_ns)

    def _segment_of(self, index: int) -> Segment | None:
        for segment in reversed(self._segments):
            if segment.first_index <= index <= self._last_sent(segment):
                return segment
        return None

    def _last_sent(self, segment: Segment) -> int:
        if segment.last_index is not None:
            return segment.last_index
        if self._in_fan:
            return self.track.numbering.last_index
        return self._cursor - 1

    # --- reports ---------------------------------------------------------------------------

    def out_timestamp(self, timestamp: int) -> int | None:
        """The viewer's timestamp for one of the source, None while nothing flows."""
        return self._segments[-1].out_timestamp(timestamp) if self.live else None
