"""What the rest of Parlour knows of media: configuration, events, errors, limits; plain types.

The engine itself is `media.server.MediaPlane`; this file has no behaviour, so that anybody may
import it without pulling in sockets or cryptography.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

SDP_BYTES_MAX = 32 * 1024
"""A browser's offer with every codec is about 8 KiB."""
SDP_MEDIA_SECTIONS_MAX = 10
"""One audio and one video are used; more is somebody looking for a limit."""
PEERS_MAX_DEFAULT = 4_000
"""Publishers and viewers of one process; beyond it offers are refused with `overloaded`."""
CONNECT_TIMEOUT_NS = 15_000_000_000
"""A peer without a finished DTLS handshake after this long is closed."""
CONSENT_TIMEOUT_NS = 30_000_000_000
"""RFC 7675 §5.1: no authenticated packet for this long means that nothing may be sent any more."""
SOURCE_STALE_NS = 2_000_000_000
"""A source without RTP for this long is stale: a frozen picture is not `live`. Silence is: Opus
sends one packet in 400 ms of it (DTX), so that four in a row may be lost."""
ADDRESSES_PER_PEER_MAX = 8
"""Interfaces times address families of a phone, with room; more is somebody filling the table."""


class Kind(enum.StrEnum):
    """A track's kind."""

    AUDIO = "audio"
    VIDEO = "video"


BOTH_KINDS = frozenset({Kind.AUDIO, Kind.VIDEO})


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """Where the media port listens and what it tells the world.

    `advertised` holds the IP addresses written into answers, the most reachable one first; empty
    means the listening address itself, or this machine's addresses when it listens on all.
    `listen_port` 0 takes any free port.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int = 8189
    advertised: tuple[str, ...] = ()
    peers_max: int = PEERS_MAX_DEFAULT


class RefusalCode(enum.StrEnum):
    """Why an offer was refused; stable, part of the public API's error codes."""

    BAD_SDP = "bad_sdp"
    CODEC_UNSUPPORTED = "codec_unsupported"
    TOO_MANY_TRACKS = "too_many_tracks"
    ALREADY_PUBLISHING = "already_publishing"
    OVERLOADED = "overloaded"


class SdpRefused(Exception):
    """An offer that will not be answered. `detail` is our own text and safe to show."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """An accepted offer: the answer to send back, complete with all candidates.

    `peer_id` names this one peer connection (unguessable). `etag` names its ICE session (RFC 9725
    §4.3.3), quotes not included.
    """

    sdp: str
    peer_id: str
    etag: str


@dataclass(frozen=True, slots=True)
class IceParameters:
    """One side's name of an ICE session, and its password (RFC 8445 §5.3)."""

    ufrag: str
    password: str


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """Both sides' names and passwords of one ICE session."""

    local_ufrag: str
    local_password: str
    remote_ufrag: str
    remote_password: str


@dataclass(frozen=True, slots=True)
class IceDescription:
    """Our side of a peer's newest ICE session. `candidates` are values of `a=candidate:`.

    `etag` names the session like `Answer.etag`; `remote_ufrag` is the peer's name of it. `mids` are
    those of the bundle, and `kind` is that of its first section.
    """

    ufrag: str
    password: str
    candidates: tuple[str, ...]
    remote_ufrag: str
    kind: Kind
    mids: tuple[str, ...]

    @property
    def etag(self) -> str:
        """RFC 9725 §4.3.1.1: another one for every ICE session."""
        return self.ufrag


# --- events, told by one synchronous callback ------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceUp:
    """First RTP packet of a source's publisher (also after a reconnect)."""

    source_id: str
    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class SourceStale:
    """No RTP for `SOURCE_STALE_NS`; the publisher may come back. `last_packet_ns` is monotonic."""

    source_id: str
    last_packet_ns: int


@dataclass(frozen=True, slots=True)
class SourceFresh:
    """RTP flows again after `SourceStale`."""

    source_id: str


@dataclass(frozen=True, slots=True)
class SourceGone:
    """The publisher's peer connection is closed."""

    source_id: str
    peer_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceKinds:
    """The kinds that really arrive changed (a camera switched off, a microphone on)."""

    source_id: str
    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class ViewerUp:
    """The viewer's DTLS handshake is done: packets can reach it from now on."""

    viewer_id: str


@dataclass(frozen=True, slots=True)
class ViewerGone:
    """The viewer's peer connection is closed."""

    viewer_id: str
    reason: str


class Direction(enum.StrEnum):
    """Seen from the person: what they publish or what they watch."""

    PUBLISH = "publish"
    WATCH = "watch"


class QualityLevel(enum.StrEnum):
    """Coarse quality of a connection, as people see it."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class QualityChanged:
    """`id` is a source id for `PUBLISH`, a viewer id for `WATCH`."""

    id: str
    direction: Direction
    level: QualityLevel
    reason: str


MediaEvent = (
    SourceUp
    | SourceStale
    | SourceFresh
    | SourceGone
    | SourceKinds
    | ViewerUp
    | ViewerGone
    | QualityChanged
)
OnMediaEvent = Callable[[MediaEvent], None]


class Transport(enum.StrEnum):
    """What carries a peer connection's packets, as the server sees it: a relay looks like UDP."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream of a peer connection. Sums since it began; None where the server does not know.

    `octets` of payload; `fraction_lost` from 0 to 1 in the last report; `asked_again` packets that
    the receiving side missed, `repaired` those that were sent again (watching) or came again
    (publishing); `keyframes_asked` by the receiving side. `size` is width and height in pixels.
    """

    kind: Kind
    codec: str | None
    layer: str | None
    size: tuple[int, int] | None
    packets: int
    octets: int
    fraction_lost: float | None
    jitter_ns: int | None
    asked_again: int
    repaired: int
    keyframes_asked: int


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What the server knows of one connected peer.

    `estimate_bps` is what the viewer says its way carries, or what a publisher was allowed;
    `silent_ns` since the viewer's last report or the publisher's last packet.
    """

    transport: Transport
    level: QualityLevel
    reason: str
    round_trip_ns: int | None
    estimate_bps: int | None
    silent_ns: int | None
    streams: tuple[StreamFigures, ...]


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source is doing now. `codecs` are names as people write them: VP8, H264, opus."""

    kinds: frozenset[Kind]
    codecs: tuple[str, ...]
    fresh: bool
    bitrate_bps: int


class BusyReason(enum.StrEnum):
    """Why there is no room for another viewer."""

    CPU = "cpu"
    LAG = "lag"
    DROPS = "drops"
    PEERS = "peers"


@dataclass(frozen=True, slots=True)
class Load:
    """What the process measured of itself in the last second; `busy` while it has no more room.

    `worked_share` of the time the event loop was at work; `lag_ns` is the timer's mean lateness;
    `dropped_share` of the datagrams that the kernel dropped because a buffer was full;
    `peers_share` of `peers_max`.
    """

    busy: BusyReason | None = None
    worked_share: float = 0.0
    lag_ns: int = 0
    dropped_share: float = 0.0
    peers_share: float = 0.0


@dataclass(frozen=True, slots=True)
class MediaMetrics:
    """Sums since the start, and gauges of now, for a scrape."""

    publishers: int
    viewers: int
    tcp_connections: int
    datagrams_in: int
    bytes_in: int
    packets_forwarded: int
    bytes_forwarded: int
    dropped_length: int
    dropped_unknown_address: int
    dropped_first_byte: int
    dropped_stun: int
    dropped_flood: int
    dropped_queue_full: int
    dropped_srtp: int
    dropped_send_full: int
    dropped_stream_full: int
    dropped_receive_full: int
    send_errors: int
    dtls_failures: int
    load: Load
