"""The media plane: offers in, answers out, and the forwarding table that rooms write.

`MediaPlane` owns the port, the certificate and every peer. It knows nothing of rooms or money:
who may receive is what `forward`, `forward_gated`, `stop` and `seal` say, each of them synchronous.
All of it runs on one event loop.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from media.addresses import candidate_ips
from media.aiortc_seam import SrtpSessions
from media.api import (
    BOTH_KINDS,
    CONNECT_TIMEOUT_NS,
    SOURCE_STALE_NS,
    Answer,
    BusyReason,
    Direction,
    IceCredentials,
    IceDescription,
    IceParameters,
    Kind,
    MediaConfig,
    MediaEvent,
    MediaMetrics,
    OnMediaEvent,
    PeerFigures,
    RefusalCode,
    SdpRefused,
    SourceGone,
    SourceState,
    ViewerGone,
    ViewerUp,
)
from media.batch import BatchSender, Destination
from media.forward import Forwarder
from media.gate import Gate
from media.heap import Heap
from media.ice_lite import Address, IceLite
from media.links import PublisherLink, ViewerLink
from media.overload import Overload, Totals
from media.own_certificate import OwnCertificate
from media.peer import Peer, PeerNames, PeerState, Role, ignore_packet
from media.port import MediaPort, PortPeer
from media.sdp import parse_offer
from media.sdp_answer import Negotiated, negotiate_publish
from media.sdp_memo import WatchMemo
from media.sdp_write import AnswerForm, LocalTransport, candidate_values
from media.still import Still
from media.tcp_port import TcpPort, open_both

TICK_NS = 20_000_000
"""How often the forwarder may send what is due: NACKs, reports, keyframe requests."""
QUIET_TICK_NS = 100_000_000
"""The same while no datagram comes: nothing is due then but reports. A process that wakes up finds
its caches cold, which costs more than the tick itself (measured: 170 µs of CPU instead of 10)."""
SWEEP_NS = 500_000_000
"""Time-outs of seconds are looked at twice a second."""
ASK_AFTER_NS = 250_000_000
"""A paying viewer that was silent for so long is asked at the next of these looks: with the repeats
three questions at least before `HEARD_WINDOW_NS` is over."""

log = structlog.get_logger("media.server")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MediaPlane:
    """See the file's first lines.

    `on_event` is called synchronously, on the loop; it must not block and should not raise.
    """

    def __init__(
        self,
        config: MediaConfig,
        *,
        clock_ns: Callable[[], int],
        on_event: OnMediaEvent,
        utc_now: Callable[[], datetime] = _utc_now,
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._config = config
        self._cpu_ns = cpu_ns
        self._clock_ns = clock_ns
        self._on_event = on_event
        self._ice: IceLite[PortPeer] = IceLite()
        self._port = MediaPort(self._ice, clock_ns)
        self._tcp = TcpPort(self._port, self._ice, clock_ns)
        self._own_certificate = OwnCertificate(utc_now)
        self._candidates: tuple[tuple[str, int], ...] = ()
        self._memo = WatchMemo(self._candidates)
        self._publishers: dict[str, Peer] = {}
        self._viewers: dict[str, Peer] = {}
        self._shaking: dict[Peer, None] = {}
        self._sender: BatchSender | None = None
        self._forwarder: Forwarder | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._flusher: asyncio.TimerHandle | None = None
        self._tick_ns = self._sweep_ns = clock_ns()
        self._dtls_failures = 0
        self._heap = Heap()
        self._overload = Overload(self._totals(), peers_max=config.peers_max, now_ns=clock_ns())

    # --- life --------------------------------------------------------

    async def start(self) -> None:
        """Binds the port and begins to serve.

        OSError when the address is not free, with the protocol as its `filename`; ValueError when
        an advertised address is no IP.
        """
        ips = candidate_ips(self._config.listen_host, self._config.advertised)
        open_both(self._port, self._tcp, self._config.listen_host, self._config.listen_port)
        self._candidates = tuple((ip, self.port) for ip in ips)
        self._memo = WatchMemo(self._candidates)
        sender = self._sender = BatchSender(self._port.socket)
        self._forwarder = Forwarder(sender, self._clock_ns, self._emit)
        self._port.on_batch_end = self._batch_end
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        """Says goodbye to every peer and frees the port."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
            self._ticker = None
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        for peer in self._peers():
            self._close_peer(peer, "server_closed")
        if self._sender is not None:
            self._sender.close()
        self._tcp.close()
        self._port.close()

    @property
    def port(self) -> int:
        """The number that is really bound, for UDP and for TCP."""
        return int(self._port.socket.getsockname()[1])

    # --- offers ------------------------------------------------------

    async def publish(
        self,
        source_id: str,
        offer_sdp: str,
        *,
        allowed: frozenset[Kind],
        replace: bool = False,
    ) -> Answer:
        """Answers a publisher's offer; its packets become the source `source_id`.

        A publisher that still connects or sends is only replaced with `replace=True`. Raises
        SdpRefused.
        """
        negotiated = negotiate_publish(parse_offer(offer_sdp), allowed)
        current = self._publishers.get(source_id)
        if current is not None:
            if not replace and self._is_live(current):
                raise SdpRefused(
                    RefusalCode.ALREADY_PUBLISHING, "somebody is publishing here already"
                )
            self._close_peer(current, "replaced")
        form = AnswerForm(negotiated, self._candidates)
        peer, answer = self._accept(Role.PUBLISHER, source_id, negotiated, form)
        self._publishers[source_id] = peer
        return answer

    async def watch(self, viewer_id: str, offer_sdp: str) -> Answer:
        """Answers a viewer's offer; nothing flows before a row of the table says so.

        `viewer_id` must be new for every peer connection; ValueError when it is in use. Raises
        SdpRefused.
        """
        if viewer_id in self._viewers:
            raise ValueError(f"viewer {viewer_id!r} exists")
        negotiated, form = self._memo.negotiate(offer_sdp, _new_ssrc)
        peer, answer = self._accept(Role.VIEWER, viewer_id, negotiated, form)
        self._viewers[viewer_id] = peer
        return answer

    def _accept(
        self, role: Role, name: str, negotiated: Negotiated, form: AnswerForm
    ) -> tuple[Peer, Answer]:
        if len(self._publishers) + len(self._viewers) >= self._config.peers_max:
            raise SdpRefused(RefusalCode.OVERLOADED, "the server has no room for another peer")
        self._own_certificate.renew_if_due()
        credentials = _new_credentials(negotiated.remote.ice)
        text = secrets.token_hex(16)
        local = LocalTransport(
            ufrag=credentials.local_ufrag,
            password=credentials.local_password,
            sha256_fingerprint=self._own_certificate.sha256_fingerprint,
            session_id=secrets.randbits(62),
            cname=text[:16],
            stream_id=text[16:],
        )
        names = PeerNames(role, name, secrets.token_urlsafe(24), local.cname)
        peer = Peer(
            names,
            negotiated,
            self._own_certificate.certificate,
            self,
            credentials=credentials,
            now_ns=self._clock_ns(),
        )
        self._ice.add(peer.ice)
        answer_sdp = form.write(negotiated.watched, local)
        return peer, Answer(answer_sdp, names.peer_id, local.ufrag)

    # --- ICE sessions ------------------------------------------------

    def ice_session(
        self, direction: Direction, name: str, peer_id: str | None = None
    ) -> IceDescription | None:
        """Our side of a peer's newest ICE session; `name` is a source's or a viewer's.

        With `peer_id` only of that very peer connection. None when there is no such peer.
        """
        peer = self._peer(direction, name, peer_id)
        return None if peer is None else self._described(peer)

    def restart_ice(
        self, direction: Direction, name: str, remote: IceParameters, peer_id: str | None = None
    ) -> IceDescription | None:
        """New credentials for a peer that lost its way here; None when there is no such peer.

        DTLS, SRTP, rows and gates stay as they are, and so does the way in use until the peer
        checks with the new credentials. A restart is no consent: a peer that stays silent is
        closed as if it had not asked.
        """
        peer = self._peer(direction, name, peer_id)
        if peer is None:
            return None
        self._ice.restart(peer.ice, _new_credentials(remote))
        return self._described(peer)

    def _peer(self, direction: Direction, name: str, peer_id: str | None) -> Peer | None:
        peers = self._publishers if direction is Direction.PUBLISH else self._viewers
        peer = peers.get(name)
        return peer if peer is not None and peer_id in (None, peer.names.peer_id) else None

    def _described(self, peer: Peer) -> IceDescription:
        credentials, accepted = peer.ice.newest, peer.negotiated.accepted
        return IceDescription(
            credentials.local_ufrag,
            credentials.local_password,
            candidate_values(self._candidates),
            credentials.remote_ufrag,
            accepted[0].kind,
            tuple(section.mid for section in accepted if section.mid is not None),
        )

    def _is_live(self, peer: Peer) -> bool:
        """True while it connects or sends: an encoder that fell silent may be replaced."""
        now_ns = self._clock_ns()
        last_media_ns = None if peer.link is None else peer.link.last_media_ns
        if last_media_ns is None:
            return now_ns - peer.created_ns < CONNECT_TIMEOUT_NS
        return bool(now_ns - last_media_ns < SOURCE_STALE_NS)

    # --- what peers tell (media.peer.PeerHost) -----------------------

    def send(self, data: bytes, address: Address) -> None:
        """Puts one datagram on the wire."""
        self._port.send_to(data, address)

    def destination(self, address: Address) -> Destination:
        """Where packets for this address go."""
        return self._port.destination(address)

    def point(self, destination: Destination, address: Address) -> None:
        """Changes it in place."""
        self._port.point(destination, address)

    def shaking(self, peer: Peer) -> None:
        """What it sends in its handshake may have to be sent again."""
        self._shaking[peer] = None

    def moved(self, peer: Peer) -> None:
        """The peer's packets go elsewhere from now on."""
        if peer.names.role is Role.VIEWER and peer.link is not None:
            self._running().viewer_moved(peer.link)

    def connected(self, peer: Peer, srtp: SrtpSessions, destination: Destination) -> None:
        """The handshake is done: from now on the peer's packets go to the forwarder."""
        forwarder = self._running()
        self._shaking.pop(peer, None)
        match peer.names.role:
            case Role.PUBLISHER:
                link = PublisherLink(
                    source_id=peer.names.id,
                    peer_id=peer.names.peer_id,
                    srtp_rx=srtp.rx,
                    srtp_tx=srtp.tx,
                    destination=destination,
                    tracks=peer.negotiated.published,
                    rtcp_ssrc=_new_ssrc(),
                    cname=peer.names.cname,
                    keep_alive=srtp,
                )
                peer.link = link
                forwarder.attach_publisher(link)
                peer.on_rtp, peer.on_rtcp = forwarder.on_publisher_rtp, forwarder.on_publisher_rtcp
            case Role.VIEWER:
                viewer = ViewerLink(
                    viewer_id=peer.names.id,
                    srtp_rx=srtp.rx,
                    srtp_tx=srtp.tx,
                    destination=destination,
                    tracks=peer.negotiated.watched,
                    cname=peer.names.cname,
                    heard_ns=self._clock_ns(),
                    trailer_bytes=srtp.trailer_bytes,
                    keep_alive=srtp,
                )
                peer.link = viewer
                forwarder.attach_viewer(viewer)
                peer.on_rtp, peer.on_rtcp = ignore_packet, forwarder.on_viewer_rtcp
                self._emit(ViewerUp(peer.names.id))

    def failed(self, peer: Peer, reason: str) -> None:
        """The peer cannot go on."""
        if reason == "dtls_failed":
            self._dtls_failures += 1
        self._close_peer(peer, reason)

    # --- ending peers ------------------------------------------------

    def close_publisher(self, source_id: str, reason: str, peer_id: str | None = None) -> None:
        """Ends a source's publisher; with `peer_id` only that very peer connection."""
        peer = self._publishers.get(source_id)
        if peer is not None and peer_id in (None, peer.names.peer_id):
            self._close_peer(peer, reason)

    def close_viewer(self, viewer_id: str, reason: str) -> None:
        """Ends a viewer's peer connection."""
        peer = self._viewers.get(viewer_id)
        if peer is not None:
            self._close_peer(peer, reason)

    def _close_peer(self, peer: Peer, reason: str) -> None:
        if peer.state is PeerState.CLOSED:
            return
        self._shaking.pop(peer, None)
        link, peer.link = peer.link, None
        match peer.names.role:
            case Role.PUBLISHER:
                self._publishers.pop(peer.names.id, None)
                if link is not None:
                    self._running().detach_publisher(link)
            case Role.VIEWER:
                self._viewers.pop(peer.names.id, None)
                self._running().forget_viewer(peer.names.id)
        peer.close()
        self._ice.remove(peer.ice)
        self._emit(_gone(peer, reason))

    def _peers(self) -> list[Peer]:
        return [*self._publishers.values(), *self._viewers.values()]

    # --- the forwarding table ----------------------------------------

    def forward(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        """A free row: every packet of these kinds goes to the viewer. The source may come later."""
        self._running().forward(source_id, viewer_id, kinds)

    def forward_gated(self, source_id: str, viewer_id: str, kinds: frozenset[Kind]) -> Gate:
        """A paid row: closed until its gate is opened."""
        return self._running().forward_gated(source_id, viewer_id, kinds)

    def stop(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        """Removes these rows between the two; no packet passes them when this returns."""
        self._running().stop(source_id, viewer_id, kinds)

    def set_viewport(self, viewer_id: str, width: int, height: int) -> None:
        """The viewer's player has this size in device pixels: no larger layer is of use to it."""
        self._running().set_viewport(viewer_id, width, height)

    def seal(self, source_id: str) -> None:
        """Removes every row of a source and forgets what it sent so far."""
        self._running().seal(source_id)

    # --- looking in --------------------------------------------------

    def has_viewer(self, viewer_id: str) -> bool:
        """True while the viewer's peer connection exists, connected or not yet."""
        return viewer_id in self._viewers

    def source_state(self, source_id: str) -> SourceState | None:
        """What the source does now, None when it never had a publisher."""
        return self._running().source_state(source_id)

    def still(self, source_id: str) -> Still | None:
        """The source's last keyframe, not decoded; None when it has none at the moment.

        Whether it may be shown to anybody is the caller's to know.
        """
        return self._running().still(source_id)

    def figures(self, direction: Direction, name: str) -> PeerFigures | None:
        """What is known of a peer by its source's or viewer's id; None while it is not connected.

        Whom it may be told is the caller's to know.
        """
        return self._running().figures(direction, name)

    @property
    def busy(self) -> BusyReason | None:
        """Why another viewer would hurt those who are here, None while there is room.

        Nothing is refused because of it here: who counts as another viewer is the caller's to say.
        """
        return self._overload.load.busy

    def metrics(self) -> MediaMetrics:
        """Sums and gauges for a scrape."""
        port = self._port.counters
        forwarded = self._running().counters
        return MediaMetrics(
            publishers=len(self._publishers),
            viewers=len(self._viewers),
            tcp_connections=len(self._tcp),
            datagrams_in=port.datagrams,
            bytes_in=port.bytes,
            packets_forwarded=forwarded.packets_forwarded,
            bytes_forwarded=forwarded.bytes_forwarded,
            dropped_length=port.dropped_length,
            dropped_unknown_address=port.dropped_unknown_address,
            dropped_first_byte=port.dropped_first_byte,
            dropped_stun=port.dropped_stun,
            dropped_flood=port.dropped_flood + forwarded.dropped_flood,
            dropped_queue_full=port.dropped_queue_full,
            dropped_srtp=forwarded.dropped_srtp,
            dropped_send_full=forwarded.dropped_full,
            dropped_stream_full=forwarded.dropped_stream,
            dropped_receive_full=self._port.receive_dropped(),
            send_errors=port.send_errors + forwarded.send_errors,
            dtls_failures=self._dtls_failures,
            load=self._overload.load,
        )

    def _totals(self) -> Totals:
        forwarder = self._forwarder
        waited_ns = 0 if self._sender is None else self._sender.waited_ns
        return Totals(
            worked_ns=self._cpu_ns() + waited_ns,
            sent=0 if forwarder is None else forwarder.counters.packets_forwarded,
            send_dropped=0 if forwarder is None else forwarder.counters.dropped_full,
            received=self._port.counters.datagrams,
            receive_dropped=self._port.receive_dropped(),
        )

    # --- time --------------------------------------------------------

    def _batch_end(self, now_ns: int) -> None:
        """Sends what a receive batch brought; what else is due goes along, while all is warm."""
        self._flush(now_ns)
        if now_ns - self._tick_ns >= TICK_NS:
            self._tick_now(now_ns)

    def _flush(self, now_ns: int) -> None:
        wait_ns = self._running().flush(now_ns)
        if wait_ns is None:
            if self._flusher is not None:  # waking up for nothing costs as much as for something
                self._flusher.cancel()
                self._flusher = None
        elif self._flusher is None:
            loop = asyncio.get_running_loop()
            self._flusher = loop.call_later((wait_ns - now_ns) / 1_000_000_000, self._flush_rest)

    def _flush_rest(self) -> None:
        """The rest of a frame did not come in time."""
        self._flusher = None
        self._flush(self._clock_ns())

    async def _tick(self) -> None:
        """Time goes on when no datagram comes, too."""
        while True:
            wait_ns = TICK_NS if self._running().hurried else QUIET_TICK_NS
            due_ns = self._clock_ns() + wait_ns
            await asyncio.sleep(wait_ns / 1_000_000_000)
            now_ns = self._clock_ns()
            self._overload.late(now_ns - due_ns)
            if now_ns - self._tick_ns >= TICK_NS:
                self._tick_now(now_ns)

    def _tick_now(self, now_ns: int) -> None:
        self._tick_ns = now_ns
        sweep = now_ns - self._sweep_ns >= SWEEP_NS
        if sweep:
            self._sweep_ns = now_ns
        try:
            self.tick(now_ns, sweep=sweep)
        except Exception:  # one peer's trouble must not stop everybody's timer
            log.exception("tick_failed")

    def tick(self, now_ns: int, *, sweep: bool) -> None:
        """What is due at `now_ns`; with `sweep` also the peers that are overdue."""
        forwarder = self._running()
        forwarder.timer(now_ns)
        for question, address in self._ice.due(now_ns):
            self._port.send_to(question, address)
        for peer in tuple(self._shaking):
            peer.repeat()
        if self._overload.due(now_ns):
            self._weigh(now_ns)
        if not sweep:
            return
        self._tcp.sweep(now_ns)
        for peer in self._peers():
            last_media_ns = None if peer.link is None else peer.link.last_media_ns
            if last_media_ns is not None and peer.settle():
                self._heap.freed(now_ns)
            reason = peer.overdue(now_ns, last_media_ns)
            if reason is not None:
                self._close_peer(peer, reason)
        for peer in tuple(self._viewers.values()):
            self._ask_if_silent(peer, now_ns)
        self._heap.sweep(now_ns)

    def _ask_if_silent(self, peer: Peer, now_ns: int) -> None:
        """Who pays is asked whether they are there; others have half a minute (RFC 7675)."""
        link = peer.link
        if link is None or now_ns - link.heard_ns < ASK_AFTER_NS or not self._running().pays(link):
            return
        asked = self._ice.ask(peer.ice, now_ns)
        if asked is not None:
            self._port.send_to(*asked)

    def _weigh(self, now_ns: int) -> None:
        """Is there room for more? Said in the log when it changes."""
        peers = len(self._publishers) + len(self._viewers)
        if self._overload.judge(self._totals(), peers, now_ns):
            load = self._overload.load
            log.warning(
                "room_again" if load.busy is None else "overloaded",
                reason=load.busy,
                worked_share=round(load.worked_share, 2),
                lag_ms=load.lag_ns // 1_000_000,
                dropped_share=round(load.dropped_share, 4),
                peers_share=round(load.peers_share, 2),
            )

    def _running(self) -> Forwarder:
        if self._forwarder is None:
            raise RuntimeError("the media plane is not started")
        return self._forwarder

    def _emit(self, event: MediaEvent) -> None:
        try:
            self._on_event(event)
        except Exception:  # a listener's bug must not cut packets
            log.exception("listener_failed", event_type=type(event).__name__)


def _new_credentials(remote: IceParameters) -> IceCredentials:
    text = secrets.token_hex(24)
    return IceCredentials(text[:16], text[16:], remote.ufrag, remote.password)


def _new_ssrc() -> int:
    return 1 + secrets.randbits(32) % ((1 << 32) - 2)


def _gone(peer: Peer, reason: str) -> SourceGone | ViewerGone:
    match peer.names.role:
        case Role.PUBLISHER:
            return SourceGone(peer.names.id, peer.names.peer_id, reason)
        case Role.VIEWER:
            return ViewerGone(peer.names.id, reason)
