"""A connection on the wire: which one it is, and the figures that its own person may see of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Feed = Literal["stream", "private"]
"""`stream` is the expert's pictures and sound; `private` is the member's, inside a session."""
Direction = Literal["publish", "watch"]
"""Seen from the person: what they send or what they receive."""
QualityLevel = Literal["good", "fair", "poor", "unknown"]
MediaKind = Literal["audio", "video"]
Transport = Literal["udp", "tcp"]


class StreamFigures(Struct, kw_only=True):
    """One stream of a connection, by the server's own counters; sums since the connection began.

    `lost_permille` and `jitter_us` are of the last report; `asked_again` packets that the receiving
    side missed, `repaired` those that came all the same; `keyframes_asked` by the receiving side;
    `layer` is the simulcast layer. Null is not known.
    """

    kind: MediaKind
    codec: str | None
    layer: str | None
    width: int | None
    height: int | None
    bitrate_bps: int | None
    packets: int
    lost_permille: int | None
    jitter_us: int | None
    asked_again: int
    repaired: int
    keyframes_asked: int


class ConnectionFigures(Struct, kw_only=True):
    """One connection of this visitor. `silent_ms` since the server heard from it.

    `estimate_bps` is what the way carries as far as the receiving browser can tell, or what the
    server allows a publisher to send. A relay looks like `udp` to the server.
    """

    feed: Feed
    direction: Direction
    level: QualityLevel
    reason: str
    transport: Transport
    round_trip_us: int | None
    estimate_bps: int | None
    silent_ms: int | None
    streams: list[StreamFigures]
