"""Every private name of aiortc, pylibsrtp and pyOpenSSL that we lean on, in one place.

aiortc 1.16.0 gives certificates, the DTLS handshake with its fingerprint check, and SRTP sessions.
It is used over our own transport object, fed only with DTLS datagrams from validated addresses.
Its packet loop never runs: once the handshake is done, `DtlsSrtp.feed` handles the rare DTLS
record (an alert, a repeated flight) synchronously, and SRTP goes past it altogether. Once the peer
has shown that it is done too, `DtlsSrtp.settle` lets OpenSSL go.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTP_PROFILES,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from aiortc.rtcicetransport import RTCIceTransport
from OpenSSL import SSL
from pylibsrtp import Session

from media.dtls_tail import CIPHER_SUITES, EXPLICIT_NONCE_BYTES, VERSION, DtlsTail

DTLS_QUEUE_DATAGRAMS_MAX = 512
"""A handshake needs a handful; when it is full the newest is dropped."""

PREFERRED_PROFILES: tuple[SRTPProtectionProfile, ...] = tuple(
    profile
    for profile in (SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80)
    if profile in SRTP_PROFILES
)
"""AES-128-GCM first: with hardware AES it costs less than half of AES-CM with SHA-1."""

_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
)


class Certificate(RTCCertificate):
    """One self-signed certificate and one TLS context for the whole process."""

    _context: SSL.Context | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            context = super()._create_ssl_context(srtp_profiles)
            # A shared context must not resume sessions: every peer shows its own certificate.
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            # Ours first, AES-128-GCM: the suite protects a handshake and a goodbye, and with this
            # one a settled association needs no OpenSSL.
            context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            context.set_cipher_list(_CIPHERS)
            self._context = context
        return self._context

    def sha256_fingerprint(self) -> str:
        """Upper-case hex with colons, as `a=fingerprint:sha-256` wants it."""
        return next(f.value for f in self.getFingerprints() if f.algorithm == "sha-256")


CERTIFICATE_VALID = timedelta(days=30)
"""What aiortc writes into it."""


def new_certificate() -> Certificate:
    """A fresh P-256 key and a certificate valid for `CERTIFICATE_VALID`."""
    return Certificate.generateCertificate()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate digest from an offer, `algorithm` lower case."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class SrtpSessions:
    """Both directions' libsrtp contexts. `rx` and `tx` are cffi `srtp_t`, owned by `keep_alive`."""

    rx: Any
    tx: Any
    profile: str
    keep_alive: object

    @property
    def trailer_bytes(self) -> int:
        """What encryption adds to an RTP packet: the authentication tag (RFC 3711, RFC 7714)."""
        return 10 if self.profile == "SRTP_AES128_CM_SHA1_80" else 16


class _DatagramPipe:
    """Stands where aiortc expects an ICE transport: a bounded queue in, a callback out."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._out = send
        self._queue: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def push(self, data: bytes) -> bool:
        if self._closed or len(self._queue) >= DTLS_QUEUE_DATAGRAMS_MAX:
            return False
        self._queue.append(data)
        self._wake()
        return True

    def close(self) -> None:
        self._closed = True
        self._queue.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _recv(self) -> bytes:
        while not self._queue:
            if self._closed:
                raise ConnectionError
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    async def _send(self, data: bytes) -> None:
        self._out(data)


class _HandshakeOnly(RTCDtlsTransport):
    """aiortc's DTLS transport without the loop that it starts after the handshake."""

    async def _RTCDtlsTransport__run(self) -> None:  # aiortc calls it by its mangled name
        return


class DtlsSrtp:
    """One peer's DTLS association: a handshake, then SRTP keys, then only alerts.

    `send` puts one datagram on the wire. Feed it only with DTLS datagrams (first byte 20..63)
    from an address that ICE validated.
    """

    def __init__(
        self, certificate: Certificate, *, server: bool, send: Callable[[bytes], None]
    ) -> None:
        self._pipe = _DatagramPipe(send)
        self._send = send
        self._server = server
        self._tail: DtlsTail | None = None  # once settled: all that is left of `_dtls`
        self._dtls = _HandshakeOnly(cast(RTCIceTransport, self._pipe), [certificate])
        self._dtls._srtp_profiles = list(PREFERRED_PROFILES)
        self._dtls._set_role("server" if server else "client")
        self._established = False
        self._closed = False

    async def handshake(self, fingerprints: Sequence[Fingerprint]) -> SrtpSessions | None:
        """Runs to the end of the handshake; None when it failed or the peer is not who it said.

        Has no timer of its own beyond DTLS retransmission: wrap it in `asyncio.timeout`.
        """
        parameters = RTCDtlsParameters(
            fingerprints=[RTCDtlsFingerprint(f.algorithm, f.value) for f in fingerprints]
        )
        await self._dtls.start(parameters)
        if self._closed or self._dtls._state is not State.CONNECTED:
            return None
        self._established = True
        return _srtp_sessions(self._dtls)

    def feed(self, data: bytes) -> bool:
        """Takes one datagram; False when the queue was full or the association is closed."""
        if self._closed:
            return False
        if not self._established:
            return self._pipe.push(data)
        self._after_handshake(data)
        return True

    @property
    def _connection(self) -> SSL.Connection:
        return cast(SSL.Connection, self._dtls._ssl)

    def settle(self) -> None:
        """The peer has shown that it finished the handshake: keep what a goodbye needs, no more.

        Not earlier: until then it may repeat its last flight, and OpenSSL must answer with ours.
        """
        if self._tail is not None or not self._established or self._closed:
            return
        connection = self._connection
        version, suite = connection.get_protocol_version(), connection.get_cipher_name()
        master = connection.master_key()
        client, server = connection.client_random(), connection.server_random()
        if version != VERSION or suite not in CIPHER_SUITES:
            return
        if master is None or client is None or server is None:  # only before a handshake
            return
        self._tail = DtlsTail.derive(master, client, server, server=self._server)
        del self._dtls

    def _after_handshake(self, data: bytes) -> None:
        if self._tail is not None:
            self._closed = self._tail.ends(data)
            return
        connection = self._connection
        connection.bio_write(data)
        try:
            connection.recv(1_500)
        except SSL.ZeroReturnError:
            self._closed = True
        except SSL.Error:
            pass  # a repeated flight or a bad record: nothing to hand on
        self._flush()

    @property
    def closed_by_peer(self) -> bool:
        """True once a close_notify alert came in."""
        return self._closed

    def close(self) -> None:
        """Says close_notify when there is somebody to hear it, and ends a running handshake."""
        if self._tail is not None and not self._closed:
            self._send(self._tail.close_notify(secrets.token_bytes(EXPLICIT_NONCE_BYTES)))
        elif self._established and not self._closed:
            # An error means that the association is broken already: nobody will read the alert.
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()
            self._flush()
        self._closed = True
        self._pipe.close()

    def _flush(self) -> None:
        try:
            data = self._connection.bio_read(1_500)
        except SSL.Error:
            return
        if data:
            self._send(data)


def _srtp_sessions(dtls: RTCDtlsTransport) -> SrtpSessions:
    rx: Session = dtls._rx_srtp
    tx: Session = dtls._tx_srtp
    profile = cast(SSL.Connection, dtls._ssl).get_selected_srtp_profile().decode()
    return SrtpSessions(rx._srtp[0], tx._srtp[0], profile, (rx, tx))
