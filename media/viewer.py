"""A viewer's peer connection: its streams, and what its RTCP says about them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from media import rtcp
from media.api import Kind
from media.batch import BatchSender, PacketBuffer
from media.bucket import TokenBucket
from media.choice import PROBE_NS, LayerChooser, Path
from media.links import ViewerLink
from media.outlet import Outlet, Row, RowState
from media.publisher import RTCP_BURST_MAX, RTCP_PER_S_MAX
from media.quality import Measured, QualityTrend
from media.track import Track

NACKED_PER_S_MAX: Final = 2_000
"""Packets asked for again that are looked up: five times a 2.5 Mbit/s stream with sound. Each costs
about 3 µs whether it is sent or not, and one compound can name thousands."""
NACKED_BURST_MAX: Final = 1_024
"""Two whole NACKs: the tail of an outage of three seconds."""
REPORTS_REMEMBERED: Final = 8
"""Sender reports whose echo gives the round trip: the last four seconds of two streams. Kept as
the middle of the NTP time and when it left."""


CHOOSE_INTERVAL_NS: Final = 90_000_000
"""Reports come with every NACK; a choice every 90 ms follows them closely enough."""
REPORT_AGE_NS: Final = 6_000_000_000
"""What is older says nothing of now; browsers report sound every five seconds."""


class Viewer:
    """A viewer by its id, with or without a link yet."""

    def __init__(self, viewer_id: str, sender: BatchSender) -> None:
        self.id = viewer_id
        self.link: ViewerLink | None = None
        self.rows: dict[Kind, Row] = {}
        self.outlets: dict[Kind, Outlet] = {}
        self.bucket = TokenBucket(RTCP_PER_S_MAX, RTCP_BURST_MAX)
        self.nacked = TokenBucket(NACKED_PER_S_MAX, NACKED_BURST_MAX)
        self.estimate_bps: int | None = None
        self.trend = QualityTrend()
        self.viewport: tuple[int, int] | None = None
        """Its player's size in device pixels, None when it did not tell."""
        self.limited = False  # the path stands in the way of a better picture
        self.chosen_ns = 0  # when its layer was looked at last
        self.news = False  # reports came since the last choice
        self._chooser: LayerChooser | None = None
        self._probe: tuple[int, int] | None = None  # until when, how many bits per second
        self._sender = sender
        self._by_ssrc: dict[int, Outlet] = {}
        self._reported_ns: int | None = None  # its last report to us
        self._reports_sent: deque[tuple[int, int]] = deque(maxlen=REPORTS_REMEMBERED)
        self._sent_octets = 0
        self._sent_ns: int | None = None
        self._estimated_bps = 0  # when it was measured last
        self._narrow = False

    def attach(self, link: ViewerLink, random_bits: Callable[[int], int]) -> None:
        """The viewer is connected."""
        self.link = link
        self.outlets = {t.kind: Outlet(link, t, random_bits) for t in link.tracks}
        self._by_ssrc = {outlet.track.ssrc: outlet for outlet in self.outlets.values()}

    def connect(self, row: Row, now_ns: int) -> None:
        """Let a row feed its stream, once both are there."""
        outlet = self.outlets.get(row.track.kind)
        if outlet is None:
            return
        if row.track.kind is Kind.VIDEO:
            self._begin_well(row, now_ns)
        row.connect(outlet, now_ns)

    def moved(self, now_ns: int) -> None:
        """It is elsewhere: what was known of the old way, and the gap in between, say nothing."""
        self.estimate_bps = None
        if self._chooser is not None:
            self._chooser = LayerChooser(now_ns)
        for row in self.rows.values():
            row.rerouted()

    # --- layers ------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """True while its way has no room for a picture."""
        row = self.rows.get(Kind.VIDEO)
        return row is not None and row.state is RowState.PAUSED

    @property
    def probes(self) -> bool:
        """True while padding is to be sent."""
        return self._probe is not None

    def _begin_well(self, row: Row, now_ns: int) -> None:
        """A new row begins in the layer that suits what is known of the path."""
        if self._chooser is None:
            self._chooser = LayerChooser(now_ns)
        else:
            self._chooser.restart(now_ns)
        place = self._chooser.first(row.layers.ladder, self._path(row, now_ns))
        if place is not None and row.layers.climb[place] is not row.track:
            row.move(row.layers.climb[place])

    def choose(self, now_ns: int) -> bool:
        """Decide anew which layer is sent; True when that is to be looked at again soon."""
        self.news, self.chosen_ns = False, now_ns
        row, chooser = self.rows.get(Kind.VIDEO), self._chooser
        if row is None or row.outlet is None or chooser is None:
            return False
        layers, track = row.layers, row.wanted or row.track
        current = None
        if row.state is not RowState.PAUSED:
            current = layers.climb.index(track) if track in layers.climb else -1
        choice = chooser.choose(layers.ladder, current, self._path(row, now_ns), now_ns)
        self.limited = choice.limited
        if choice.layer != current:
            # Where only loss speaks against it, what is lost is repaired until the change is made.
            row.relieved = choice.limited and self._is_short(row)
        if choice.probe_bps:
            self._probe = (now_ns + PROBE_NS, choice.probe_bps)
        if choice.layer is None:
            row.pause()
        elif choice.layer != current and choice.layer >= 0:
            better = current is not None and 0 <= current < choice.layer
            self._give(row, layers.climb[choice.layer], now_ns, better)
        return choice.again

    def _is_short(self, row: Row) -> bool:
        """True when its estimate says that the path is too narrow for what is sent."""
        places = row.layers.climb
        sent_bps = 0
        if row.track in places:
            sent_bps = row.layers.ladder[places.index(row.track)].bitrate_bps
        return self.estimate_bps is not None and self.estimate_bps < sent_bps

    @staticmethod
    def _give(row: Row, track: Track, now_ns: int, better: bool) -> None:
        if row.state is RowState.PAUSED:
            row.resume(track, now_ns)
        elif track is row.track:
            row.stay()
        else:
            row.want(track, now_ns, patient=better and row.layers.flows(row.track))

    def _path(self, row: Row, now_ns: int) -> Path:
        audio = self.rows.get(Kind.AUDIO)
        fraction_lost, reported_ns = 0.0, 0
        for kind, outlet in self.outlets.items():
            told_ns = outlet.reported_ns
            if outlet.fraction_lost is None or now_ns - told_ns >= REPORT_AGE_NS:
                continue
            # A pause makes the one speak of what was before; the other speaks seldom.
            if (kind is Kind.VIDEO) is (row.state is RowState.PAUSED):
                continue
            fraction_lost = max(fraction_lost, outlet.fraction_lost)
            reported_ns = max(reported_ns, told_ns)
        return Path(
            self.estimate_bps,
            fraction_lost,
            reported_ns,
            audio.layers.bitrate_bps if audio is not None and audio.live else 0,
            self.viewport,
            row.outlet is not None and row.outlet.track.rtx_ssrc is not None,
        )

    def probe(self, elapsed_ns: int, now_ns: int) -> bool:
        """Send the padding that is due after `elapsed_ns`; False when the probe is over."""
        row = self.rows.get(Kind.VIDEO)
        if self._probe is None or row is None or now_ns >= self._probe[0]:
            self._probe = None
            return False
        row.pad(self._probe[1] * min(elapsed_ns, PROBE_NS) // 8_000_000_000, now_ns)
        return True

    # --- RTCP --------------------------------------------------------------------------------

    def on_rtcp(self, buffer: PacketBuffer, size: int, now_ns: int) -> int:
        """A decrypted compound: how many packets it made us send again."""
        resent = 0
        for packet in rtcp.parse(buffer.data, size):
            match packet:
                case rtcp.Nack():
                    outlet = self._by_ssrc.get(packet.media_ssrc)
                    if outlet is not None and outlet.row is not None:
                        outlet.asked_again += len(packet.sequences)
                        looked_up = self.nacked.take_up_to(len(packet.sequences), now_ns)
                        resent += outlet.row.resend(packet.sequences[:looked_up], now_ns)
                case rtcp.KeyframeRequest():
                    outlet = self._by_ssrc.get(packet.media_ssrc)
                    if outlet is not None and outlet.row is not None and outlet.row.live:
                        outlet.keyframes_asked += 1
                        (outlet.row.wanted or outlet.row.track).request_keyframe(now_ns)
                case rtcp.Remb():
                    self.estimate_bps = packet.bitrate_bps
                    self._reported_ns = now_ns
                    self.news = True
                case rtcp.ReceiverReport() | rtcp.SenderReport():
                    self._on_blocks(packet.reports, now_ns)
                case rtcp.Bye() | rtcp.Echo():
                    pass  # the transport hears of the end; and viewers are never asked for echoes
        return resent

    def _on_blocks(self, blocks: tuple[rtcp.ReportBlock, ...], now_ns: int) -> None:
        for block in blocks:
            outlet = self._by_ssrc.get(block.ssrc)
            if outlet is None:
                continue
            self._reported_ns = now_ns
            outlet.fraction_lost = outlet.losses.report(block, now_ns)
            outlet.reported_ns = now_ns
            self.news = True
            outlet.jitter_ticks = block.jitter
            for middle, sent_ns in self._reports_sent:
                if middle == block.last_sr:
                    waited_ns = rtcp.delay_ns(block.delay_since_sr)
                    outlet.round_trip_ns = max(now_ns - sent_ns - waited_ns, 0)
        lost = max((o.fraction_lost or 0.0 for o in self.outlets.values()), default=0.0)
        for outlet in self.outlets.values():
            outlet.path_lost = lost

    def report(self, now_ns: int) -> None:
        """One compound with a sender report for every stream that flows, once a second."""
        link = self.link
        if link is None:
            return
        reports = descriptions = b""
        for outlet in self.outlets.values():
            row = outlet.row
            clock = row.track.clock_at(now_ns) if row is not None and row.live else None
            if row is None or clock is None:
                continue
            row.count_fan()
            ntp, timestamp = clock
            stamp = row.out_timestamp(timestamp)
            if stamp is None:
                continue
            reports += rtcp.build_sr(outlet.track.ssrc, ntp, stamp, outlet.packets, outlet.octets)
            descriptions += outlet.description
            self._reports_sent.append((rtcp.middle(ntp), now_ns))
        if reports:
            self._sender.send_rtcp(link.srtp_tx, link.destination, reports + descriptions)

    def undecodable(self) -> Kind | None:
        """The kind of which the source sends a codec that this viewer does not know."""
        for kind, row in self.rows.items():
            if row.state is RowState.UNSUPPORTED:
                return kind
        return None

    def measured(self, now_ns: int) -> Measured:
        """What is known of the way to this viewer."""
        octets = sum(outlet.octets for outlet in self.outlets.values())
        elapsed_ns = now_ns - self._sent_ns if self._sent_ns is not None else 0
        stream_bps = (
            (octets - self._sent_octets) * 8_000_000_000 // elapsed_ns if elapsed_ns > 0 else 0
        )
        self._sent_ns, self._sent_octets = now_ns, octets
        losses = [o.fraction_lost for o in self.outlets.values() if o.fraction_lost is not None]
        trips_ns = [o.round_trip_ns for o in self.outlets.values() if o.round_trip_ns]
        reported_ns = self._reported_ns
        return Measured(
            fraction_lost=max(losses, default=None),
            round_trip_ms=max(trips_ns) / 1_000_000 if trips_ns else None,
            estimate_bps=self._telling_estimate_bps(stream_bps, now_ns),
            stream_bps=stream_bps,
            silent_ms=None if reported_ns is None else (now_ns - reported_ns) // 1_000_000,
        )

    def _telling_estimate_bps(self, stream_bps: int, now_ns: int) -> int | None:
        """The estimate where it says that the path is narrow; else no less than what is sent.

        A browser's estimate begins low and climbs 8 % a second, up to half more than what it gets:
        below the stream and climbing it tells of a young connection, or of a picture that has just
        become larger. A path that is full makes it fall.
        """
        estimate_bps = self.estimate_bps
        if estimate_bps is None:
            return None
        if estimate_bps >= stream_bps:
            self._narrow = False
        elif estimate_bps < self._estimated_bps:
            self._narrow = True
        self._estimated_bps = estimate_bps
        strained = self._chooser is None or self._chooser.strained(now_ns)
        return estimate_bps if self._narrow and strained else max(estimate_bps, stream_bps)
