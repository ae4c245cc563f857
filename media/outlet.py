"""One viewer's stream of one kind, and the row that feeds it from a source.

`Row` is the forwarding table's entry. It decides packet by packet whether the viewer gets it:
only while its gate is open, video only from a keyframe on. Once it is live and has no gate, its
packets go through the track's `FanOut` and no longer past this code.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from media import rtcp
from media.api import Kind
from media.batch import Lane
from media.burst import written
from media.codecs import pick
from media.gate import Gate
from media.links import ViewerLink, ViewerTrack
from media.nack import ResendBudget, is_gap
from media.reported_loss import ReportedLoss
from media.rewrite import OutNumbering, Segment
from media.ring import RESEND_AGE_NS_MAX, Packet
from media.rtp import unwrap
from media.shape import PacketShape

if TYPE_CHECKING:
    from media.layers import Layers
    from media.track import Track

REPLAY_BURST_PACKETS: Final = 32
"""Cached packets sent to a joining viewer at once, and again every tick: 14 Mbit/s, which a socket
buffer of 212 kB takes without loss."""
BEGIN_ANEW_NS: Final = 2_000_000_000
"""At most one keyframe in this time for what one viewer lost beyond repair: everybody gets it."""
HEARD_WINDOW_NS: Final = 1_500_000_000
"""A paying viewer that gave no sign of life for so long is gone, and does not pay. Browsers report
on pictures every second, on sound alone every five; in between the transport asks, from
`media.server.ASK_AFTER_NS` on."""
SEGMENTS_MAX: Final = 32
"""Runs of packets that a NACK is looked up in: each ended by a closed gate, a new codec or a change
of layer."""
PADDING_BYTES: Final = 240
"""Of one probing packet; its last byte tells the number (RFC 3550 §5.1), so 255 at most."""
CLOCK_RATE_HZ: Final = {Kind.AUDIO: 48_000, Kind.VIDEO: 90_000}


class RowState(enum.Enum):
    """What a row does with the next packet."""

    WAITING = enum.auto()  # for a viewer, a publisher, an open gate or a keyframe
    REPLAYING = enum.auto()  # sending cached packets, not yet at the newest
    LIVE = enum.auto()
    PAUSED = enum.auto()  # the way to the viewer has no room for it
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
        self.path_lost = 0.0
        """The worst of all streams of this viewer: what loses pictures loses sound, of which
        browsers report five times less often."""
        self.reported_ns = 0  # when that was told
        self.jitter_ticks = 0
        self.round_trip_ns = 0
        self.began_anew_ns = 0
        self.given_up: Packet | None = None
        """The newest packet of a NACK that will not be sent again."""

    def take_given_up(self) -> Packet | None:
        """`given_up`, once."""
        lost, self.given_up = self.given_up, None
        return lost


@dataclass(slots=True)
class Run:
    """Packets that a viewer got one after another, and the encoding that they came from."""

    track: Track
    segment: Segment


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
        self.wanted: Track | None = None  # the layer to go over to at its next keyframe
        self.relieved = False  # the path was too narrow for what was sent before
        self._runs: deque[Run] = deque(maxlen=SEGMENTS_MAX)
        self._cursor = 0  # the next index to send
        self._last_stamp = self._last_ns = 0  # of what was sent last
        # Nobody pays for what came before the row: whoever laid it anew every few seconds would
        # else get from the cache what passed in between.
        self._not_before = 0 if gate is None else self._next_index()
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
        self._end_run()
        self._runs.clear()
        self.stay()
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
            self.track.left_live(self)
            self.track.shared.on_unsupported(self.viewer_id, self.track.kind)
            return
        if self.state is not RowState.PAUSED:
            self.state = RowState.WAITING
        link = outlet.link
        self._shape = self.track.shape(codec, outlet.track)
        self._lane = Lane(
            link.srtp_tx, link.destination, outlet.track.ssrc, self._shape, link.trailer_bytes
        )
        self._lane.urgent = self.track.kind is Kind.AUDIO

    def codec_changed(self) -> None:
        """The source sends another codec from now on."""
        self._end_run()
        self._lane = None
        self.choose_format()

    # --- layers ----------------------------------------------------------------------------

    def want(self, track: Track, now_ns: int, *, patient: bool = False) -> None:
        """Go over to another layer at its next keyframe; at once when nothing is being sent."""
        if track is self.wanted:
            return
        self.stay()
        if track is self.track:
            return
        if self.state in (RowState.LIVE, RowState.REPLAYING):
            self.wanted = track
            track.arrivals[self] = None
            track.request_keyframe(now_ns, patient=patient)
            return
        self.move(track)
        self.start(now_ns)

    def admit(self, packet: Packet, now_ns: int) -> None:
        """The wanted layer's newest packet starts a keyframe: from here on this one is sent."""
        track = self.wanted
        if track is None:
            return
        shut = self._shut(now_ns)
        exact = None if shut else self._same_moment(track, packet)
        self.move(track)
        if not shut and self.state is RowState.WAITING and self._lane is not None:
            self._begin(packet, packet.timestamp, now_ns, exact)

    def move(self, track: Track) -> None:
        """Leave one layer's table for another's; nothing is sent before `start`."""
        paused = self.state is RowState.PAUSED
        self._end_run()
        self.stay()
        self.track.release(self)
        self.track, self._lane = track, None
        # What another layer sent while a gate was shut was not paid for either, and to a viewer who
        # saw pictures already, older ones of another layer would be a step back.
        fresh = self.gate is None and not self._runs
        self._not_before = 0 if fresh else self._next_index()
        track.add_row(self)
        self.state = RowState.WAITING
        if paused:
            self.state = RowState.PAUSED
            track.went_live(self)
        self.choose_format()

    def pause(self) -> None:
        """Send nothing of this kind until `resume`: what there is room for is left to sound."""
        if self.state in (RowState.PAUSED, RowState.UNSUPPORTED):
            return
        self._end_run()
        self.stay()
        self.state = RowState.PAUSED
        self.track.went_live(self)

    def resume(self, track: Track, now_ns: int) -> None:
        """Begin again, with a keyframe that is still to come: old ones would be a burst."""
        if self.state is not RowState.PAUSED:
            return
        self.state = RowState.WAITING
        self.track.left_live(self)
        if track is not self.track:
            self.move(track)
        self._not_before = max(self._not_before, self._next_index())
        track.request_keyframe(now_ns)

    def stay(self) -> None:
        """No other layer is wanted any more."""
        if self.wanted is not None:
            self.wanted.leave(self)
            self.wanted = None

    def _same_moment(self, track: Track, packet: Packet) -> int | None:
        """The viewer's timestamp for another layer's packet, by the publisher's own clock."""
        old, new, rate_hz = self.track.clock, track.clock, self.track.clock_rate_hz
        if not self.live or old is None or new is None:
            return None
        taken_ns = new.ntp_ns + (packet.timestamp - new.timestamp) * 1_000_000_000 // rate_hz
        stamp = old.timestamp + (taken_ns - old.ntp_ns) * rate_hz // 1_000_000_000
        return self._runs[-1].segment.out_timestamp(stamp)

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
                self._send(packet, self._runs[-1].segment, now_ns)
                self._cursor = packet.index + 1
            case RowState.WAITING:
                self.start(now_ns)
            case RowState.REPLAYING | RowState.UNSUPPORTED | RowState.PAUSED:
                pass  # the next tick goes on with a replay, at its own pace

    def offer_late(self, packet: Packet, now_ns: int) -> None:
        """A packet older than the newest: repaired or reordered on its way to us."""
        if self.gate is not None and self._is_shut(self.gate, now_ns):
            return
        if self.state is RowState.PAUSED:
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
        self._begin(first, newest.timestamp, now_ns)

    def _begin(self, first: Packet, live_stamp: int, now_ns: int, exact: int | None = None) -> None:
        lane, outlet = self._lane, self.outlet
        if lane is None or outlet is None:
            return
        numbering = outlet.numbering
        segment = numbering.begin(first.index, first.timestamp, live_stamp, now_ns, exact)
        self._runs.append(Run(self.track, segment))
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
        packets = track.ring.run(self._cursor, end)
        self._cursor = end
        self._send_burst(packets, self._runs[-1].segment, now_ns)
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
        self._cursor = self._next_index()
        if newest is not None:
            self._last_stamp, self._last_ns = newest.timestamp, newest.arrived_ns

    def rerouted(self) -> None:
        """The viewer is elsewhere, on UDP or TCP: only what goes out as datagrams is fanned out.

        Its numbers go on; no packet is lost or sent twice by the change.
        """
        lane = self._lane
        if lane is not None and lane.destination.stream is not None and self._in_fan:
            self._leave_fan()
            self.track.left_live(self)
        elif self.live and not self._in_fan:
            self._join_fan()

    def _next_index(self) -> int:
        """Of the packet that the track's source will send next."""
        return self.track.numbering.last_index + 1

    def _shut(self, now_ns: int) -> bool:
        gate = self.gate
        if gate is None or not self._is_shut(gate, now_ns):
            return False
        if self.state in (RowState.LIVE, RowState.REPLAYING):
            self._end_run()
            self.state = RowState.WAITING
        if gate.first_forwarded_ns is not None:
            # What comes while an opened gate is shut was not paid for: it is never made up for.
            self._not_before = self._next_index()
        return True

    def _is_shut(self, gate: Gate, now_ns: int) -> bool:
        """Nothing more is paid for, or nobody is there to receive it."""
        if now_ns >= gate.open_until_ns:
            return True
        outlet = self.outlet
        return outlet is not None and now_ns - outlet.link.heard_ns > HEARD_WINDOW_NS

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

    def _send_burst(self, packets: list[Packet], segment: Segment, now_ns: int) -> None:
        lane, outlet = self._lane, self.outlet
        if lane is None or outlet is None or not packets:
            return
        self._last_stamp = max(self._last_stamp, *[packet.timestamp for packet in packets])
        self._last_ns = now_ns
        sent = self.track.shared.burst.send(lane, written(lane, segment, packets, now_ns))
        if sent:
            outlet.packets += sent
            outlet.octets += sum([len(packet.payload) for packet in packets]) * sent // len(packets)
            if self.gate is not None:
                self.gate.note(now_ns)

    def _end_run(self) -> None:
        self.track.shared.replaying.discard(self)
        if self.state not in (RowState.LIVE, RowState.REPLAYING):
            return
        self._leave_fan()
        if self.outlet is not None:
            last = (self._cursor - 1, self._last_stamp, self._last_ns)
            self.outlet.numbering.end(self._runs[-1].segment, *last)
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
        if lane is None or outlet is None or outlet.track.rtx_ssrc is None or not self._runs:
            return 0
        if self.gate is not None and self._is_shut(self.gate, now_ns):
            return 0
        if self.state is RowState.PAUSED or (self.relieved and self.wanted is not None):
            return 0  # there is no room
        self.count_fan()
        segment = self._runs[-1].segment
        highest = self._last_sent(segment) + segment.sequence_offset
        count = 0
        for sequence in sequences:
            if self._resend_one(unwrap(sequence, highest), lane, outlet, now_ns):
                count += 1
        outlet.resent += count
        lost = outlet.take_given_up()
        if lost is not None and is_gap(sequences):
            self._begin_anew(lost, outlet, now_ns)
        return count

    def pad(self, octets: int, now_ns: int) -> None:
        """Send about this much padding on the RTX stream, to see what the path takes.

        There is nothing of the source in it; still a closed gate stops it, like all the rest.
        """
        lane, outlet, shape = self._lane, self.outlet, self._shape
        if lane is None or outlet is None or shape is None or outlet.track.rtx_ssrc is None:
            return
        if self.gate is not None and self._is_shut(self.gate, now_ns):
            return
        rendered = shape.render_padding(PADDING_BYTES, now_ns)
        if rendered is None:
            return
        for _ in range(0, octets, PADDING_BYTES):
            outlet.rtx_sequence += 1
            self.track.shared.sender.send_rtp(
                lane,
                *rendered,
                outlet.rtx_sequence,
                outlet.numbering.timestamp,
                ssrc=outlet.track.rtx_ssrc,
            )

    def _resend_one(self, sequence: int, lane: Lane, outlet: Outlet, now_ns: int) -> bool:
        for run in reversed(self._runs):
            segment = run.segment
            index = sequence - segment.sequence_offset
            if segment.first_index <= index <= self._last_sent(segment):
                break
        else:
            return False
        if self.relieved and run is not self._runs[-1]:
            return False  # a keyframe came since, and what it came for was to send less
        packet = run.track.ring.get(index)
        if packet is None:
            return False
        if now_ns - packet.arrived_ns > RESEND_AGE_NS_MAX:
            if run.track is self.track:  # another layer began with a keyframe
                outlet.given_up = packet
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
            if outlet.budget.beyond_repair and run.track is self.track:
                outlet.given_up = packet
            return False
        outlet.rtx_sequence += 1
        stamp = segment.out_timestamp(packet.timestamp)
        template, word = rendered
        return self.track.shared.sender.send_rtp(
            lane, template, word, outlet.rtx_sequence, stamp, ssrc=outlet.track.rtx_ssrc
        )

    def _begin_anew(self, lost: Packet, outlet: Outlet, now_ns: int) -> None:
        """What is lost stays lost: a keyframe, unless one began since.

        The browser would come to ask for it too, after a picture that stood still for 3 s. Only
        after a gap: a path that loses packets all the time is too narrow, and a keyframe, which
        everybody gets, is the last thing that it needs.
        """
        keyframe = self.track.ring.keyframe(now_ns)
        if keyframe is not None and keyframe.index > lost.index:
            return
        if now_ns - outlet.began_anew_ns >= BEGIN_ANEW_NS:
            outlet.began_anew_ns = now_ns
            self.track.request_keyframe(now_ns)

    def _segment_of(self, index: int) -> Segment | None:
        for run in reversed(self._runs):
            segment = run.segment
            ours = run.track is self.track
            if ours and segment.first_index <= index <= self._last_sent(segment):
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
        return self._runs[-1].segment.out_timestamp(timestamp) if self.live else None
