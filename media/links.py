"""The seam between the transport (ICE, DTLS, SDP) and the forwarder: what a peer negotiated.

The transport builds one link per connected peer once DTLS is up, and hands it to the forwarder:

- `forwarder.attach_publisher(link)` / `detach_publisher(link)`
- `forwarder.attach_viewer(link)` / `detach_viewer(link)`
- `forwarder.on_publisher_rtp(link, buffer, length, now_ns)`, `on_publisher_rtcp(...)` and
  `on_viewer_rtcp(...)` for every datagram that came from the peer's validated address, still
  SRTP-protected, in a reusable `PacketBuffer`. Nothing is kept of the buffer after the call.
- `forwarder.flush(now_ns)` after the last datagram of every receive batch, and again when it says.
- `forwarder.timer(now_ns)` every 20 ms, or every 100 ms while nothing is in a hurry.

A datagram that SRTP authenticated sets the link's `last_media_ns`; a viewer's, and its ICE, also
`heard_ns`.

A peer that moves to another address writes it into its link's `destination` in place; of a viewer,
`forwarder.viewer_moved(link)` is told.

The forwarder emits SourceUp, SourceStale, SourceFresh, SourceKinds and QualityChanged of
`media.api`; the transport emits SourceGone, ViewerUp and ViewerGone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from media.api import Kind

if TYPE_CHECKING:
    from media.batch import Destination


LAYERS_MAX: Final = 4
"""Simulcast layers taken of one publisher: browsers send three, OBS up to four."""


@dataclass(frozen=True, slots=True)
class CodecFormat:
    """One negotiated payload type.

    `name` is as in an rtpmap, lower case ("vp8", "vp9", "h264", "av1", "opus"); `parameters` are
    the fmtp pairs, keys lower case; `rtx_payload_type` is the one whose `apt` names this payload
    type, None when retransmission on its own stream (RFC 4588) was not negotiated; `feedback`
    holds the negotiated rtcp-fb values ("nack", "nack pli", "ccm fir", "goog-remb").
    """

    name: str
    payload_type: int
    clock_rate_hz: int
    rtx_payload_type: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    feedback: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PublishedTrack:
    """One media section that a publisher sends on, as negotiated.

    `formats` in order of preference; `extension_ids` maps a header extension's URI to its id in
    this session; `rids` are the simulcast layers in the order of the offer (empty: one encoding);
    `ssrcs` and `rtx_ssrcs` (RTX stream → the stream it repairs) only when the SDP named them:
    otherwise streams are told apart by mid and payload type.
    """

    kind: Kind
    mid: str
    formats: tuple[CodecFormat, ...]
    extension_ids: Mapping[str, int] = field(default_factory=dict)
    rids: tuple[str, ...] = ()
    ssrcs: tuple[int, ...] = ()
    rtx_ssrcs: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ViewerTrack:
    """One media section that a viewer receives on, as negotiated.

    `ssrc` is ours, announced in the answer and fixed for the life of the peer connection;
    `rtx_ssrc` is None when no format has an `rtx_payload_type`. `formats` lists every codec both
    sides know, so that a source may change codec without renegotiation.
    """

    kind: Kind
    mid: str
    ssrc: int
    rtx_ssrc: int | None
    formats: tuple[CodecFormat, ...]
    extension_ids: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class PublisherLink:
    """A connected publisher. Compared by identity: a reconnect is another link.

    `srtp_rx` and `srtp_tx` are cffi `srtp_t` pointers; `keep_alive` is whatever owns them and
    must outlive the link. `rtcp_ssrc` (random) is our own SSRC in the RTCP that we send, `cname`
    our random canonical name (RFC 7022).
    """

    source_id: str
    peer_id: str
    srtp_rx: Any
    srtp_tx: Any
    destination: Destination
    tracks: tuple[PublishedTrack, ...]
    rtcp_ssrc: int
    cname: str
    keep_alive: object = None
    last_media_ns: int | None = None


@dataclass(slots=True, eq=False)
class ViewerLink:
    """A connected viewer. `viewer_id` is unique per peer connection; at most one track per kind.

    `cname` is the one announced in the answer's `a=ssrc` lines, random. `trailer_bytes` is what
    the negotiated SRTP profile adds to a packet. `heard_ns` is its last sign of life: an ICE
    check, an answer to ours, or SRTCP.
    """

    viewer_id: str
    srtp_rx: Any
    srtp_tx: Any
    destination: Destination
    tracks: tuple[ViewerTrack, ...]
    cname: str
    heard_ns: int
    trailer_bytes: int = 16  # AES-GCM
    keep_alive: object = None
    last_media_ns: int | None = None

    def track(self, kind: Kind) -> ViewerTrack | None:
        """The track of this kind, None when the viewer did not offer to receive it."""
        return next((track for track in self.tracks if track.kind is kind), None)
