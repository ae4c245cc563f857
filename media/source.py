"""A source by its id: its two kinds, and what is known of whoever sends them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from media.api import SOURCE_STALE_NS, Kind
from media.layers import Layers
from media.publisher import Publisher
from media.quality import QualityTrend
from media.track import Shared, Track


@dataclass(slots=True)
class Counters:
    """Sums since the start."""

    packets_forwarded: int = 0
    bytes_forwarded: int = 0
    dropped_flood: int = 0
    dropped_srtp: int = 0
    dropped_malformed: int = 0
    dropped_full: int = 0
    dropped_stream: int = 0
    send_errors: int = 0
    resent: int = 0


class Source:
    """A source by its id: audio and video, and the publisher who sends them now."""

    def __init__(self, source_id: str, shared: Shared) -> None:
        self.id = source_id
        self.layers = {kind: Layers(source_id, kind, shared) for kind in Kind}
        self.publisher: Publisher | None = None
        self.known = False  # a publisher was attached once
        self.up = False  # its first packet came
        self.stale = False
        self.kinds: frozenset[Kind] = frozenset()
        self.last_ns: int | None = None
        self.trend = QualityTrend()

    def kinds_at(self, now_ns: int) -> frozenset[Kind]:
        """The kinds of which packets came lately."""
        return frozenset(
            kind
            for kind, layers in self.layers.items()
            if (last_ns := layers.last_ns) is not None and now_ns - last_ns < SOURCE_STALE_NS
        )

    @property
    def tracks(self) -> Iterator[Track]:
        """Every encoding of every kind."""
        return (track for layers in self.layers.values() for track in layers.tracks)
