"""All encodings of one kind of one source: one, or the layers of a simulcast (RFC 8853).

Each layer is a `Track` with numbers, a ring and rows of its own. A viewer's row sits in exactly
one of them at a time, so that a packet is still prepared once for everybody who gets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from media.api import Kind
from media.links import CodecFormat
from media.track import Shared, Track

if TYPE_CHECKING:
    from media.outlet import Row
    from media.publisher import Publisher


class Layers:
    """One source's audio or video, as one thing, whatever it consists of."""

    def __init__(self, source_id: str, kind: Kind, shared: Shared) -> None:
        self.source_id = source_id
        self.kind = kind
        self._shared = shared
        self.tracks: list[Track] = [Track(source_id, kind, shared)]

    # --- rows --------------------------------------------------------------------------------

    @property
    def rows(self) -> Iterator[Row]:
        """Every viewer's row, whichever layer it is in."""
        return (row for track in self.tracks for row in track.rows.values())

    def entry(self) -> Track:
        """The layer that a new row begins in."""
        return self.tracks[0]

    # --- the publisher -----------------------------------------------------------------------

    def attach(self, publisher: Publisher, rids: Sequence[str]) -> None:
        """Another peer connection sends this kind from now on."""
        del rids
        for track in self.tracks:
            track.attach(publisher)

    def detach(self, publisher: Publisher) -> None:
        """The peer connection is gone."""
        for track in self.tracks:
            track.detach(publisher)

    # --- looking in --------------------------------------------------------------------------

    @property
    def last_ns(self) -> int | None:
        """When the last packet of any layer came."""
        return max((t.last_ns for t in self.tracks if t.last_ns is not None), default=None)

    @property
    def format(self) -> CodecFormat | None:
        """The codec that arrives; layers have the same one."""
        return next((t.format for t in self.tracks if t.format is not None), None)
