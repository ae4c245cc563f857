"""One peer connection: an ICE session, a DTLS handshake, then a link that the forwarder knows.

A peer goes OFFERED → HANDSHAKING (first authenticated check) → CONNECTED (keys) → CLOSED, and never
back. It owns no timer and no task: the plane asks `repeat` and `overdue`.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from media.aiortc_seam import Certificate, DtlsSrtp, DtlsState, SrtpSessions
from media.api import CONNECT_TIMEOUT_NS, CONSENT_TIMEOUT_NS, IceCredentials
from media.batch import Destination, PacketBuffer
from media.ice_lite import Address, IceSession
from media.port import OnPacket, PortPeer
from media.sdp_answer import Negotiated

PUBLISHER_PACKETS_PER_S = 3_000
"""Some 25 Mbit/s of full packets; more is a flood, dropped before it costs cryptography."""
VIEWER_PACKETS_PER_S = 500
"""Feedback only: a report a second, and NACKs while packets are lost."""
EARLY_PACKETS_MAX = 64
"""A keyframe and its sound. Who is the DTLS server may send as soon as its handshake is done, which
is a moment before ours; an encoder that is deaf to PLI would lose its first picture for seconds."""

log = structlog.get_logger("media.peer")


class PeerState(enum.Enum):
    """How far a peer is."""

    OFFERED = "offered"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    CLOSED = "closed"


class Role(enum.Enum):
    """Which way media flows, seen from the person."""

    PUBLISHER = "publisher"
    VIEWER = "viewer"


class PeerHost(Protocol):
    """What a peer needs of the plane."""

    def send(self, data: bytes, address: Address) -> None:
        """Puts one datagram on the wire."""

    def destination(self, address: Address) -> Destination:
        """Where packets for this address go."""

    def point(self, destination: Destination, address: Address) -> None:
        """Changes it in place."""

    def shaking(self, peer: "Peer") -> None:
        """Its handshake begins; the plane calls `repeat` until it is over."""

    def moved(self, peer: "Peer") -> None:
        """The peer's packets go elsewhere from now on."""

    def connected(self, peer: "Peer", srtp: SrtpSessions, destination: Destination) -> None:
        """The handshake is done; the plane attaches the peer to the forwarder."""

    def failed(self, peer: "Peer", reason: str) -> None:
        """The peer cannot go on; the plane closes it."""


def ignore_packet(link: Any, buffer: PacketBuffer, length: int, now_ns: int) -> None:
    """What a peer does with packets that it does not want (yet)."""


@dataclass(frozen=True, slots=True)
class PeerNames:
    """Who a peer is: `id` is a source id or a viewer id, the others are random."""

    role: Role
    id: str
    peer_id: str
    cname: str


class Peer:
    """See the file's first lines. Made for one accepted offer; closed exactly once."""

    __slots__ = (
        "_destination",
        "_dtls",
        "_early",
        "_host",
        "created_ns",
        "flood_at_ns",
        "ice",
        "link",
        "names",
        "negotiated",
        "on_rtcp",
        "on_rtp",
        "packet_cost_ns",
        "state",
    )

    def __init__(
        self,
        names: PeerNames,
        negotiated: Negotiated,
        certificate: Certificate,
        host: PeerHost,
        *,
        credentials: IceCredentials,
        now_ns: int,
    ) -> None:
        rate = PUBLISHER_PACKETS_PER_S if names.role is Role.PUBLISHER else VIEWER_PACKETS_PER_S
        self.names = names
        self.negotiated = negotiated
        self.created_ns = now_ns
        self.state = PeerState.OFFERED
        self.packet_cost_ns = 1_000_000_000 // rate
        self.flood_at_ns = 0
        self.link: Any = None
        self.on_rtp: OnPacket = ignore_packet
        self.on_rtcp: OnPacket = ignore_packet
        self.ice: IceSession[PortPeer] = IceSession(self, credentials)
        self._host = host
        self._early: list[tuple[bytes, int]] = []
        if names.role is Role.PUBLISHER and not negotiated.remote.we_are_server:
            self.on_rtp = self._keep_early
        remote = negotiated.remote
        self._dtls = DtlsSrtp(
            certificate, remote.fingerprints, server=remote.we_are_server, send=self._send
        )
        self._destination: Destination | None = None

    def _send(self, data: bytes) -> None:
        if self.ice.selected is not None:
            self._host.send(data, self.ice.selected)

    # --- from the port ---------------------------------------------------------------------

    def on_check(self, moved: bool, now_ns: int) -> None:
        """An authenticated check: begins the handshake, and follows the peer when it moves."""
        if self.link is not None and self.names.role is Role.VIEWER:
            self.link.heard_ns = now_ns
        if self.state is PeerState.OFFERED:
            self.state = PeerState.HANDSHAKING
            self._host.shaking(self)
            self._shake(self._dtls.begin)
        if moved:
            self._follow()

    def on_address_lost(self) -> None:
        """A TCP connection is gone, and media went there."""
        self._follow()

    def _follow(self) -> None:
        if self._destination is None or self.ice.selected is None:
            return
        self._host.point(self._destination, self.ice.selected)
        self._host.moved(self)

    def on_dtls(self, data: bytes) -> bool:
        """A DTLS datagram from one of our addresses; False when it was dropped."""
        match self.state:
            case PeerState.HANDSHAKING:
                self._shake(partial(self._dtls.feed, data))
            case PeerState.CONNECTED:
                self._dtls.feed(data)
                if self._dtls.state is DtlsState.CLOSED:
                    self._host.failed(self, "closed_by_peer")
            case PeerState.OFFERED | PeerState.CLOSED:
                return False
        return True

    def repeat(self) -> None:
        """Sends the last flight of a handshake again when it is due."""
        if self.state is PeerState.HANDSHAKING:
            self._shake(self._dtls.repeat)

    def _shake(self, step: Callable[[], object]) -> None:
        """One step of the handshake, and what comes of it."""
        try:
            step()
            match self._dtls.state:
                case DtlsState.CONNECTED:
                    self._connect()
                case DtlsState.FAILED | DtlsState.CLOSED:
                    self._host.failed(self, "dtls_failed")
                case DtlsState.SHAKING:
                    pass
        except Exception as error:  # noqa: BLE001 whatever a peer sends costs only itself
            # The peer id is also the name of a resource: whole, it is nothing for a log.
            log.warning("handshake_failed", peer=self.names.peer_id[:6], error=repr(error))
            self._host.failed(self, "dtls_failed")

    def _connect(self) -> None:
        address, srtp = self.ice.selected, self._dtls.srtp
        if srtp is None or address is None:
            self._host.failed(self, "dtls_failed")
            return
        self.state = PeerState.CONNECTED
        self._destination = self._host.destination(address)
        self._host.connected(self, srtp, self._destination)
        if self._early:
            self._take_early()

    def _keep_early(self, link: Any, buffer: PacketBuffer, length: int, now_ns: int) -> None:
        if self.state is PeerState.HANDSHAKING and len(self._early) < EARLY_PACKETS_MAX:
            self._early.append((bytes(buffer.view[:length]), now_ns))

    def _take_early(self) -> None:
        early, self._early = self._early, []
        buffer = PacketBuffer()
        for data, arrived_ns in early:
            buffer.view[: len(data)] = data
            self.on_rtp(self.link, buffer, len(data), arrived_ns)

    # --- from the plane --------------------------------------------------------------------

    def settle(self) -> bool:
        """Packets came that only a peer with the keys can send: free what the handshake took.

        True when there was something.
        """
        return self._dtls.settle()

    def overdue(self, now_ns: int, last_media_ns: int | None) -> str | None:
        """Why this peer must be closed now, None while all is well.

        `last_media_ns` is when its last authenticated SRTP packet came, None for never.
        """
        if self.state is not PeerState.CONNECTED:
            late = now_ns - self.created_ns >= CONNECT_TIMEOUT_NS
            return "connect_timeout" if late else None
        seen_ns = max(self.ice.last_check_ns or 0, last_media_ns or 0)
        return "consent_lost" if now_ns - seen_ns >= CONSENT_TIMEOUT_NS else None

    def close(self) -> None:
        """Says goodbye when possible and stops; nothing is sent or taken afterwards."""
        if self.state is PeerState.CLOSED:
            return
        self.state = PeerState.CLOSED
        self.on_rtp = self.on_rtcp = ignore_packet
        self._early.clear()
        self._dtls.close()
