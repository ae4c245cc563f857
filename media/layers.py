"""All encodings of one kind of one source: one, or the layers of a simulcast (RFC 8853).

Each layer is a `Track` with numbers, a ring and rows of its own. A viewer's row sits in exactly
one of them at a time, so that a packet is still prepared once for everybody who gets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from media.api import Kind
from media.choice import Layer
from media.links import LAYERS_MAX, CodecFormat
from media.rewrite import PictureLine
from media.track import KeyframePace, Shared, Track

if TYPE_CHECKING:
    from media.outlet import Row
    from media.publisher import Publisher

GONE_PICTURES: Final = 6
"""A layer that sent nothing while another sent so many pictures was switched off, as browsers do
when their uplink is narrow: a fifth of a second of a frozen picture."""
GONE_NS: Final = 150_000_000
"""And nothing for this long: layers come one after the other, and in bursts."""
RATE_SAMPLES: Final = 21
"""Measurements, ten a second, that a layer's bitrate is taken over: two seconds, in which a
keyframe does not look like a stream twice as wide."""
BACK_NS: Final = 2_000_000_000
"""After this a layer that came back counts again: as long as its bitrate is taken over."""
HEADER_BYTES: Final = 24
"""RTP header, extensions and tag per packet, which count in a receiver's estimate."""


class Rate:
    """What one encoding costs per second, over the last two."""

    __slots__ = ("_samples", "bitrate_bps")

    def __init__(self) -> None:
        self.bitrate_bps = 0
        self._samples: deque[tuple[int, int]] = deque(maxlen=RATE_SAMPLES)

    def measure(self, octets: int, now_ns: int) -> None:
        """`octets` are all that were sent since the beginning."""
        self._samples.append((now_ns, octets))
        first_ns, first_octets = self._samples[0]
        if now_ns > first_ns:
            self.bitrate_bps = (octets - first_octets) * 8_000_000_000 // (now_ns - first_ns)


class Layers:
    """One source's audio or video, as one thing, whatever it consists of."""

    def __init__(self, source_id: str, kind: Kind, shared: Shared) -> None:
        self.source_id = source_id
        self.kind = kind
        self._shared = shared
        self._pictures = PictureLine()
        self._pace = KeyframePace()
        self.tracks: list[Track] = []
        self._rates: list[Rate] = []
        self.by_rid: dict[str, Track] = {}  # empty: one encoding
        self._silences: dict[Track, tuple[int, list[int]]] = {}  # since when; all pictures then
        self._away: dict[Track, int] = {}  # layers that were gone; since when they are back, or 0
        self.ladder: tuple[Layer, ...] = ()
        """The layers in use as they were measured last, the smallest first."""
        self.climb: tuple[Track, ...] = ()
        """The track of each of these."""
        self._add()

    def _add(self) -> None:
        track = Track(self.source_id, self.kind, self._shared, self._pictures, self._pace)
        self.tracks.append(track)
        self._rates.append(Rate())

    # --- rows --------------------------------------------------------------------------------

    @property
    def rows(self) -> Iterator[Row]:
        """Every viewer's row, whichever layer it is in."""
        return (row for track in self.tracks for row in track.rows.values())

    def entry(self) -> Track:
        """The layer that a new row begins in: the best that flows."""
        return self.best_first()[0]

    def flows(self, track: Track) -> bool:
        """True while packets of this layer come."""
        both = zip(self.climb, self.ladder, strict=True)
        return any(other is track and layer.flowing for other, layer in both)

    def best_first(self) -> list[Track]:
        """What flows, the largest layer first; the first encoding when nothing does."""
        both = zip(reversed(self.climb), reversed(self.ladder), strict=True)
        return [track for track, layer in both if layer.flowing] or self.tracks[:1]

    # --- the publisher -----------------------------------------------------------------------

    def attach(self, publisher: Publisher, rids: Sequence[str]) -> None:
        """Another peer connection sends this kind from now on; no `rids` for one encoding."""
        rids = rids[:LAYERS_MAX]
        while len(self.tracks) < len(rids):
            self._add()
        self.by_rid = dict(zip(rids, self.tracks, strict=False))
        for number, track in enumerate(self.tracks):
            track.rid = rids[number] if number < len(rids) else None
        used = max(len(rids), 1)
        self.climb, self.ladder = (), ()
        for track in self.tracks[:used]:
            track.attach(publisher)
        for track in self.tracks[used:]:
            track.retire()
            for row in tuple(track.rows.values()):
                row.move(self.tracks[0])
        for row in self.rows:
            row.stay()

    def detach(self, publisher: Publisher) -> None:
        """The peer connection is gone."""
        for track in self.tracks:
            track.detach(publisher)

    # --- looking in --------------------------------------------------------------------------

    def measure(self, now_ns: int) -> bool:
        """Bring the ladder up to date; True when other layers flow than before."""
        before = {t for t, layer in zip(self.climb, self.ladder, strict=True) if layer.flowing}
        found: list[tuple[int, int, int, Layer]] = []
        for number, (track, rate) in enumerate(zip(self.tracks, self._rates, strict=True)):
            packets = track.numbering.last_index
            rate.measure(track.octets + packets * HEADER_BYTES, now_ns)
            if track.publisher is None or track.flowed_ns is None:
                continue
            flowing = len(self.tracks) == 1 or self._flows_still(track, now_ns)
            width, height = track.picture or (0, 0)
            layer = Layer(rate.bitrate_bps, width, height, flowing)
            found.append((width * height, rate.bitrate_bps, number, layer))
        found.sort(key=lambda item: item[:3])
        self.climb = tuple(self.tracks[item[2]] for item in found)
        self.ladder = tuple(item[3] for item in found)
        return before != {
            t for t, layer in zip(self.climb, self.ladder, strict=True) if layer.flowing
        }

    def _flows_still(self, track: Track, now_ns: int) -> bool:
        """False when other layers went on without this one."""
        flowed_ns, pictures = track.flowed_ns or 0, [other.pictures for other in self.tracks]
        then = self._silences.get(track)
        if then is None or then[0] != flowed_ns or len(then[1]) != len(pictures):
            self._silences[track] = (flowed_ns, pictures)
            if track in self._away:
                since_ns = self._away[track] = self._away[track] or now_ns
                if now_ns - since_ns >= BACK_NS:
                    del self._away[track]
        else:
            missed = max(now - before for now, before in zip(pictures, then[1], strict=True))
            if missed >= GONE_PICTURES and now_ns - flowed_ns >= GONE_NS:
                self._away[track] = 0
        return track not in self._away

    @property
    def bitrate_bps(self) -> int:
        """What arrives of all layers together."""
        if len(self._rates) == 1:
            return self._rates[0].bitrate_bps
        return sum(rate.bitrate_bps for rate in self._rates)

    @property
    def last_ns(self) -> int | None:
        """When the last packet of any layer came."""
        return max((t.last_ns for t in self.tracks if t.last_ns is not None), default=None)

    @property
    def format(self) -> CodecFormat | None:
        """The codec that arrives; layers have the same one."""
        return next((t.format for t in self.tracks if t.format is not None), None)
