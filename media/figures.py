"""What the server knows of one peer connection, for the person at its other end. Pure.

Everything here is read from counters that are kept anyway; nothing is computed unless somebody
looks, and a viewer of a row-less stream (a walled room) learns nothing of what its source sends.
"""

from __future__ import annotations

from media.api import PeerFigures, StreamFigures, Transport
from media.codecs import public_name
from media.links import CodecFormat, PublisherLink, ViewerLink
from media.outlet import CLOCK_RATE_HZ, Outlet
from media.publisher import Publisher, Stream
from media.source import Source
from media.track import Track
from media.viewer import Viewer

SECOND_NS = 1_000_000_000


def viewer_figures(viewer: Viewer, link: ViewerLink, now_ns: int) -> PeerFigures:
    """The way to a viewer; the far end's part of it is from the viewer's own reports."""
    level, reason = viewer.trend.told
    outlets = [viewer.outlets[kind] for kind in sorted(viewer.outlets)]
    return PeerFigures(
        transport=_transport(link),
        level=level,
        reason=reason,
        round_trip_ns=max((outlet.round_trip_ns for outlet in outlets), default=0) or None,
        estimate_bps=viewer.estimate_bps,
        silent_ns=None if link.last_media_ns is None else now_ns - link.last_media_ns,
        streams=tuple(_sent(outlet) for outlet in outlets),
    )


def _sent(outlet: Outlet) -> StreamFigures:
    kind, row = outlet.track.kind, outlet.row
    codec = None
    if row is not None:
        row.count_fan()
        codec = row.track.format
    reported = outlet.fraction_lost is not None
    return StreamFigures(
        kind=kind,
        codec=None if codec is None else public_name(codec.name),
        layer=None if row is None or not row.live else row.track.rid,
        size=None if row is None or not row.live else row.track.picture,
        packets=outlet.packets,
        octets=outlet.octets,
        fraction_lost=outlet.fraction_lost,
        jitter_ns=outlet.jitter_ticks * SECOND_NS // CLOCK_RATE_HZ[kind] if reported else None,
        asked_again=outlet.asked_again,
        repaired=outlet.resent,
        keyframes_asked=outlet.keyframes_asked,
    )


def publisher_figures(source: Source, publisher: Publisher, now_ns: int) -> PeerFigures:
    """The way from a publisher, as its packets arrive here."""
    level, reason = source.trend.told
    told_estimate = any(
        "goog-remb" in codec.feedback for track in publisher.link.tracks for codec in track.formats
    )
    streams = [
        _received(stream, stream.track, stream.meaning.codec)
        for stream in publisher.streams.values()
        if stream.track is not None and stream.meaning is not None and not stream.meaning.is_rtx
    ]
    return PeerFigures(
        transport=_transport(publisher.link),
        level=level,
        reason=reason,
        round_trip_ns=publisher.round_trip.smoothed_ns,
        estimate_bps=publisher.estimate_bps if told_estimate else None,
        silent_ns=None if source.last_ns is None else now_ns - source.last_ns,
        streams=tuple(sorted(streams, key=lambda stream: stream.kind)),
    )


def _received(stream: Stream, track: Track, codec: CodecFormat) -> StreamFigures:
    reception = stream.reception
    return StreamFigures(
        kind=track.kind,
        codec=public_name(codec.name),
        layer=track.rid,
        size=track.picture,
        packets=reception.received,
        octets=track.octets,
        fraction_lost=reception.fraction_lost,
        jitter_ns=reception.jitter_ns,
        asked_again=stream.asked_again,
        repaired=reception.repairs,
        keyframes_asked=stream.keyframes_asked,
    )


def _transport(link: PublisherLink | ViewerLink) -> Transport:
    return Transport.UDP if link.destination.stream is None else Transport.TCP
