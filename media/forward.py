"""The forwarder: who sends, who watches, and the table between them. No sockets of its own.

An RTP packet's way: `on_publisher_rtp` here (limits, decryption) → `Publisher.on_rtp` (parsing,
repair streams) → `Track.on_packet` (numbers, ring) → `FanOut.queue` for rows that get everything,
`Row.offer` for those that must be asked. All of it is synchronous; when `flush` returns, at the
end of the same receive batch, the packet is with the kernel.

The table changes synchronously too: when `stop` or `seal` returns, no packet passes any more.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable

from media.api import (
    BOTH_KINDS,
    SOURCE_STALE_NS,
    Direction,
    Kind,
    OnMediaEvent,
    PeerFigures,
    QualityChanged,
    QualityLevel,
    SourceFresh,
    SourceKinds,
    SourceStale,
    SourceState,
    SourceUp,
)
from media.batch import BatchSender, PacketBuffer
from media.burst import Burst
from media.codecs import public_name
from media.figures import publisher_figures, viewer_figures
from media.gate import Gate
from media.links import PublisherLink, ViewerLink
from media.outlet import Row
from media.publisher import Publisher
from media.quality import Measured, judge
from media.rtp import RtpError
from media.source import Counters, Source
from media.still import Still, still_of
from media.track import Shared
from media.viewer import CHOOSE_INTERVAL_NS, Viewer

REPORT_INTERVAL_NS = 1_000_000_000
"""Sender and receiver reports, REMB and quality: as often as browsers do it."""
REPORT_EARLY_NS = 200_000_000
"""Whose report is due within this gets it along with others: alone it costs 70 µs, next to another,
with all that it needs still in the caches, a third of that."""
REPORTS_AT_ONCE_MAX = 32
"""Packets of media wait while reports are sent: with this many a third of a millisecond."""

FRESHNESS_INTERVAL_NS = 100_000_000
"""A twentieth of the time after which a source is stale."""


class Forwarder:
    """Publishers, viewers and rows of one media port. `media.links` says who calls what."""

    def __init__(
        self,
        sender: BatchSender,
        clock_ns: Callable[[], int],
        on_event: OnMediaEvent,
        *,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._sender = sender
        self._clock_ns = clock_ns
        self._on_event = on_event
        self._random_bits = random_bits
        self._shared = Shared(sender, Burst(sender), self._unsupported)
        self._sources: dict[str, Source] = {}
        self._viewers: dict[str, Viewer] = {}
        self._publishers: dict[PublisherLink, tuple[Source, Publisher]] = {}
        self._reports: deque[tuple[int, Publisher | Viewer]] = deque()
        self._counters = Counters()
        self._look_ns = 0  # when sources are looked at for staleness next
        self._timer_ns = 0
        self._uneasy: set[Viewer] = set()  # whose layer is looked at again soon
        self._probing: set[Viewer] = set()

    # --- peers -------------------------------------------------------------------------------

    def attach_publisher(self, link: PublisherLink) -> None:
        """A publisher is connected; it replaces a former one of the same source."""
        source = self._source(link.source_id)
        if source.publisher is not None:
            self.detach_publisher(source.publisher.link)
            source = self._source(link.source_id)
        publisher = Publisher(link, source.layers, self._sender)
        source.publisher = publisher
        source.known = True
        source.up = False
        self._publishers[link] = (source, publisher)
        now_ns = self._clock_ns()
        publisher.report(now_ns)  # the REMB in it lets a browser start at full rate
        self._reports.append((now_ns + REPORT_INTERVAL_NS, publisher))

    def detach_publisher(self, link: PublisherLink) -> None:
        """The publisher is gone; rows and numbers stay for the next one."""
        source, publisher = self._publishers.pop(link, (None, None))
        if source is None or publisher is None:
            return
        publisher.detach()
        if source.publisher is publisher:
            source.publisher = None
        self._forget_if_unused(source)

    def attach_viewer(self, link: ViewerLink) -> None:
        """A viewer is connected: rows that wait for it begin."""
        viewer = self._viewer(link.viewer_id)
        viewer.attach(link, self._random_bits)
        now_ns = self._clock_ns()
        for row in tuple(viewer.rows.values()):
            viewer.connect(row, now_ns)
        self._reports.append((now_ns + REPORT_INTERVAL_NS, viewer))

    def detach_viewer(self, link: ViewerLink) -> None:
        """The viewer is gone, with all of its rows."""
        viewer = self._viewers.get(link.viewer_id)
        if viewer is not None and viewer.link is link:
            self.forget_viewer(link.viewer_id)

    def viewer_moved(self, link: ViewerLink) -> None:
        """Its packets go elsewhere from now on, and perhaps over TCP instead of UDP."""
        viewer = self._viewers.get(link.viewer_id)
        if viewer is not None and viewer.link is link:
            viewer.moved(self._clock_ns())

    def pays(self, link: ViewerLink) -> bool:
        """Whether a row behind a gate feeds this viewer, and its signs of life are counted on."""
        viewer = self._viewers.get(link.viewer_id)
        return viewer is not None and any(row.gate is not None for row in viewer.rows.values())

    def forget_viewer(self, viewer_id: str) -> None:
        """Drop a viewer's rows, whether it ever connected or not."""
        viewer = self._viewers.pop(viewer_id, None)
        if viewer is None:
            return
        for row in tuple(viewer.rows.values()):
            self._remove_row(viewer, row)
        viewer.link = None
        self._uneasy.discard(viewer)
        self._probing.discard(viewer)

    # --- the table ---------------------------------------------------------------------------

    def forward(self, source_id: str, viewer_id: str, kinds: Iterable[Kind] = BOTH_KINDS) -> None:
        """Free rows: every packet of these kinds goes to the viewer.

        A row that exists stays as it is; another row that feeds the same stream of the viewer is
        removed first.
        """
        self._add_rows(source_id, viewer_id, kinds, None)

    def forward_gated(self, source_id: str, viewer_id: str, kinds: Iterable[Kind]) -> Gate:
        """Paid rows behind one new gate, closed until it is opened."""
        gate = Gate()
        self._add_rows(source_id, viewer_id, kinds, gate)
        return gate

    def _add_rows(
        self, source_id: str, viewer_id: str, kinds: Iterable[Kind], gate: Gate | None
    ) -> None:
        source = self._source(source_id)
        viewer = self._viewer(viewer_id)
        for kind in kinds:
            layers = source.layers[kind]
            old = viewer.rows.get(kind)
            if old is not None:
                if old.layers is layers and old.gate is None and gate is None:
                    continue
                self._remove_row(viewer, old)
            row = Row(layers, viewer_id, gate)
            row.track.add_row(row)
            viewer.rows[kind] = row
            viewer.connect(row, self._clock_ns())
        self._sources[source_id] = source  # an old row may have been its last

    def stop(self, source_id: str, viewer_id: str, kinds: Iterable[Kind] = BOTH_KINDS) -> None:
        """Remove these rows between the two; nothing passes them any more when this returns."""
        source = self._sources.get(source_id)
        viewer = self._viewers.get(viewer_id)
        if source is None or viewer is None:
            return
        for kind in kinds:
            row = viewer.rows.get(kind)
            if row is not None and row.layers in source.layers.values():
                self._remove_row(viewer, row)
        if viewer.link is None and not viewer.rows:
            del self._viewers[viewer_id]
        self._forget_if_unused(source)

    def seal(self, source_id: str) -> None:
        """Remove every row of a source and forget what it sent so far, for good."""
        source = self._sources.get(source_id)
        if source is None:
            return
        now_ns = self._clock_ns()
        for track in source.tracks:
            for viewer_id in tuple(track.rows):
                viewer = self._viewers.get(viewer_id)
                if viewer is not None:
                    self._remove_row(viewer, track.rows[viewer_id])
            track.seal(now_ns)
            if source.publisher is not None:
                source.publisher.forget_losses(track)
        self._forget_if_unused(source)

    def _remove_row(self, viewer: Viewer, row: Row) -> None:
        row.track.remove_row(viewer.id)
        if viewer.rows.get(row.track.kind) is row:
            del viewer.rows[row.track.kind]
        source = self._sources.get(row.track.source_id)
        if source is not None:
            self._forget_if_unused(source)

    def _source(self, source_id: str) -> Source:
        source = self._sources.get(source_id)
        if source is None:
            source = self._sources[source_id] = Source(source_id, self._shared)
        return source

    def _viewer(self, viewer_id: str) -> Viewer:
        viewer = self._viewers.get(viewer_id)
        if viewer is None:
            viewer = self._viewers[viewer_id] = Viewer(viewer_id, self._sender)
        return viewer

    def _forget_if_unused(self, source: Source) -> None:
        if source.publisher is None and not any(t.rows for t in source.tracks):
            self._sources.pop(source.id, None)

    # --- packets in --------------------------------------------------------------------------

    def on_publisher_rtp(
        self, link: PublisherLink, buffer: PacketBuffer, length: int, now_ns: int
    ) -> None:
        """One protected packet from a publisher's validated address."""
        entry = self._publishers.get(link)
        if entry is None:
            return
        source, publisher = entry
        if not publisher.bucket.take(now_ns):
            self._counters.dropped_flood += 1
            return
        size = 0
        if publisher.may_decrypt(int.from_bytes(buffer.data[8:12])):
            size = buffer.unprotect(link.srtp_rx, length)
        if not size:
            self._counters.dropped_srtp += 1
            return
        link.last_media_ns = now_ns
        try:
            track = publisher.on_rtp(buffer, size, now_ns)
        except RtpError:
            self._counters.dropped_malformed += 1
            return
        if track is not None:
            source.last_ns = now_ns
            if source.stale or not source.up or track.kind not in source.kinds:
                self._source_revived(source, track.kind, now_ns)

    def on_publisher_rtcp(
        self, link: PublisherLink, buffer: PacketBuffer, length: int, now_ns: int
    ) -> None:
        """One protected RTCP compound from a publisher."""
        entry = self._publishers.get(link)
        if entry is None:
            return
        publisher = entry[1]
        if not publisher.bucket.take(now_ns) or not publisher.rtcp_bucket.take(now_ns):
            self._counters.dropped_flood += 1
            return
        size = buffer.unprotect_rtcp(link.srtp_rx, length)
        if not size:
            self._counters.dropped_srtp += 1
            return
        link.last_media_ns = now_ns
        publisher.on_rtcp(buffer, size, now_ns)

    def on_viewer_rtcp(
        self, link: ViewerLink, buffer: PacketBuffer, length: int, now_ns: int
    ) -> None:
        """One protected RTCP compound from a viewer."""
        viewer = self._viewers.get(link.viewer_id)
        if viewer is None or viewer.link is not link:
            return
        if not viewer.bucket.take(now_ns):
            self._counters.dropped_flood += 1
            return
        size = buffer.unprotect_rtcp(link.srtp_rx, length)
        if not size:
            self._counters.dropped_srtp += 1
            return
        link.last_media_ns = now_ns
        link.heard_ns = max(link.heard_ns, now_ns)
        self._counters.resent += viewer.on_rtcp(buffer, size, now_ns)
        if viewer.news:
            if now_ns >= viewer.chosen_ns + CHOOSE_INTERVAL_NS:
                self._choose(viewer, now_ns)
            else:
                self._uneasy.add(viewer)

    def flush(self, now_ns: int) -> int | None:
        """Send what the packets since the last flush have queued: the receive batch is over.

        When the rest of a frame is waited for: until when, and `flush` is wanted again then.
        """
        wait_ns: int | None = None
        for fan in tuple(self._shared.queued):
            if fan.waits_until_ns > now_ns:
                wait_ns = min(wait_ns or fan.waits_until_ns, fan.waits_until_ns)
                continue
            self._shared.queued.discard(fan)
            fan.flush()
        return wait_ns

    def _source_revived(self, source: Source, kind: Kind, now_ns: int) -> None:
        kinds = source.kinds_at(now_ns) | {kind}
        if not source.up:
            source.up, source.stale, source.kinds = True, False, kinds
            self._on_event(SourceUp(source.id, kinds))
            return
        if source.stale:
            source.stale = False
            self._on_event(SourceFresh(source.id))
        if kinds != source.kinds:
            source.kinds = kinds
            self._on_event(SourceKinds(source.id, kinds))

    # --- time --------------------------------------------------------------------------------

    @property
    def hurried(self) -> bool:
        """True while somebody waits for what only `timer` does."""
        return bool(self._shared.replaying or self._shared.wanting)

    def timer(self, now_ns: int) -> None:
        """Everything that is due: repairs, keyframe requests, replays, reports, staleness."""
        self.flush(now_ns)
        for row in tuple(self._shared.replaying):
            row.replay(now_ns)
        for track in tuple(self._shared.wanting):
            track.ask(now_ns)
        look = now_ns >= self._look_ns
        if look:
            self._look_ns = now_ns + FRESHNESS_INTERVAL_NS
        for source, publisher in tuple(self._publishers.values()):
            publisher.ask_again(now_ns)
            publisher.tell_arrivals(now_ns)
            if look:
                self._measure(source, now_ns)
                if source.up and not source.stale:
                    self._check_freshness(source, now_ns)
        self._adapt(look, now_ns)
        if self._reports and self._reports[0][0] <= now_ns:
            self._report_some(now_ns)

    def _adapt(self, look: bool, now_ns: int) -> None:
        """Probe paths, and choose anew for viewers whose case is open."""
        for viewer in tuple(self._probing):
            if not viewer.probe(now_ns - self._timer_ns, now_ns):
                self._probing.discard(viewer)
        self._timer_ns = now_ns
        if look:
            for viewer in tuple(self._uneasy):
                self._choose(viewer, now_ns)

    def _measure(self, source: Source, now_ns: int) -> None:
        """What its encodings cost now; viewers of a layer that vanished fall to another."""
        source.layers[Kind.AUDIO].measure(now_ns)
        layers = source.layers[Kind.VIDEO]
        if layers.measure(now_ns):
            for row in tuple(layers.rows):
                viewer = self._viewers.get(row.viewer_id)
                if viewer is not None:
                    self._choose(viewer, now_ns)

    def _choose(self, viewer: Viewer, now_ns: int) -> None:
        """Give a viewer the layer that suits it now."""
        if viewer.choose(now_ns):
            self._uneasy.add(viewer)
        else:
            self._uneasy.discard(viewer)
        if viewer.probes:
            self._probing.add(viewer)

    def set_viewport(self, viewer_id: str, width: int, height: int) -> None:
        """A viewer's player has this size in device pixels from now on."""
        viewer = self._viewers.get(viewer_id)
        if viewer is not None:
            viewer.viewport = (width, height)
            self._choose(viewer, self._clock_ns())

    def _check_freshness(self, source: Source, now_ns: int) -> None:
        last_ns = source.last_ns
        if last_ns is not None and now_ns - last_ns >= SOURCE_STALE_NS:
            source.stale = True
            source.kinds = frozenset()
            self._on_event(SourceStale(source.id, last_ns))
            return
        kinds = source.kinds_at(now_ns)
        if kinds != source.kinds:
            source.kinds = kinds
            self._on_event(SourceKinds(source.id, kinds))

    def _report_some(self, now_ns: int) -> None:
        """The peers whose time has come, and those whose time comes soon."""
        reports, soon_ns = self._reports, now_ns + REPORT_EARLY_NS
        for _ in range(REPORTS_AT_ONCE_MAX):
            if not reports or reports[0][0] > soon_ns:
                return
            _, peer = reports.popleft()
            if self._report(peer, now_ns):
                reports.append((now_ns + REPORT_INTERVAL_NS, peer))

    def _report(self, peer: Publisher | Viewer, now_ns: int) -> bool:
        """Send the peer's reports; False when it is gone."""
        match peer:
            case Publisher():
                entry = self._publishers.get(peer.link)
                if entry is None or entry[1] is not peer:
                    return False
                peer.report(now_ns)
                self._judge_publisher(entry[0], peer, now_ns)
            case Viewer():
                if peer.link is None:
                    return False
                peer.report(now_ns)
                if now_ns >= peer.chosen_ns + REPORT_INTERVAL_NS:
                    self._choose(peer, now_ns)  # one whose reports come was chosen for with them
                judged, kind = judge(peer.measured(now_ns)), peer.undecodable()
                if peer.paused:
                    judged = (QualityLevel.POOR, "video_paused")
                elif peer.limited and judged[0] is QualityLevel.GOOD:
                    judged = (QualityLevel.FAIR, "bandwidth")
                if kind is not None:  # however good the way is, the picture stays black
                    judged = (QualityLevel.POOR, f"codec_unsupported:{kind}")
                if peer.trend.update(judged):
                    self._on_event(QualityChanged(peer.id, Direction.WATCH, *judged))
        return True

    def _judge_publisher(self, source: Source, publisher: Publisher, now_ns: int) -> None:
        last_ns = source.last_ns
        silent_ms = None if last_ns is None else (now_ns - last_ns) // 1_000_000
        round_trip_ns = publisher.round_trip.smoothed_ns
        round_trip_ms = None if round_trip_ns is None else round_trip_ns / 1_000_000
        incoming_bps = publisher.incoming_bps
        judged = judge(
            Measured(publisher.fraction_lost, round_trip_ms, None, incoming_bps, silent_ms)
        )
        if source.trend.update(judged):
            self._on_event(QualityChanged(source.id, Direction.PUBLISH, *judged))

    def _unsupported(self, viewer_id: str, kind: Kind) -> None:
        self._on_event(
            QualityChanged(
                viewer_id, Direction.WATCH, QualityLevel.POOR, f"codec_unsupported:{kind}"
            )
        )

    # --- looking in --------------------------------------------------------------------------

    def still(self, source_id: str) -> Still | None:
        """The source's last keyframe; when there is none to be had, one is asked for."""
        source = self._sources.get(source_id)
        if source is None or not source.up or source.stale:
            return None
        layers, now_ns = source.layers[Kind.VIDEO], self._clock_ns()
        for track in layers.best_first():
            still = still_of(track.ring, now_ns)
            if still is not None:
                return still
        layers.entry().request_keyframe(now_ns)
        return None

    def figures(self, direction: Direction, name: str) -> PeerFigures | None:
        """What is known of a connected peer, by its source's or its viewer's id."""
        now_ns = self._clock_ns()
        match direction:
            case Direction.PUBLISH:
                source = self._sources.get(name)
                if source is None or source.publisher is None:
                    return None
                return publisher_figures(source, source.publisher, now_ns)
            case Direction.WATCH:
                viewer = self._viewers.get(name)
                if viewer is None or viewer.link is None:
                    return None
                return viewer_figures(viewer, viewer.link, now_ns)

    def source_state(self, source_id: str) -> SourceState | None:
        """What a source does now, None when it has neither publisher nor rows."""
        source = self._sources.get(source_id)
        if source is None or not source.known:
            return None
        formats = [source.layers[kind].format for kind in sorted(source.kinds)]
        return SourceState(
            kinds=source.kinds,
            codecs=tuple(public_name(codec.name) for codec in formats if codec is not None),
            fresh=source.up and not source.stale and source.publisher is not None,
            bitrate_bps=source.publisher.incoming_bps if source.publisher is not None else 0,
        )

    @staticmethod
    def last_media_ns(link: PublisherLink | ViewerLink) -> int | None:
        """When the peer's last authentic SRTP or SRTCP packet came, None for never."""
        return link.last_media_ns

    @property
    def counters(self) -> Counters:
        """The sums of now."""
        counters, sender = self._counters, self._sender
        counters.packets_forwarded = sender.packets
        counters.bytes_forwarded = sender.octets
        counters.dropped_full = sender.dropped_full
        counters.dropped_stream = sender.dropped_stream
        counters.send_errors = sender.send_errors + sender.protect_failures
        return counters
